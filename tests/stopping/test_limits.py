"""Rules that bound nothing: budget, plateau, manual; and the random control that the plateau watches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.campaigns.config import ReadoutSection
from tasks.campaigns.stopping_settings import StoppingSection
from tasks.stopping import budget, manual, plateau
from tasks.stopping.control import random_control
from tasks.stopping.evidence import AuditEvidence, ControlEvidence, Look, Wells
from tasks.stopping.plateau import rounds_without_a_fall
from tasks.stopping.savings import random_campaign


def look(errors=(), right=30, used=400, next_round=100, last=None):
    audit = AuditEvidence(library=1000, chosen=300, pending=0, audit=100, measured=100, errors=10)
    controls = tuple(ControlEvidence(round_index=k, n=40, right=right, error=e) for k, e in enumerate(errors))
    wells = Wells(used=used, full=2000, next_round=next_round)
    return Look(round_index=len(errors) - 1 if last is None else last, audit=audit, wells=wells, controls=controls)


class TestBudget:
    @pytest.mark.parametrize(("wells", "stop"), [(500, False), (499, True), (300, True)])
    def test_stops_before_a_round_that_exceeds_it(self, wells, stop):
        stopping = StoppingSection(rule="budget", max_wells=wells)
        found = budget.find(look(last=2), stopping, 0.01)
        assert found.stop is stop
        assert found.bound is None
        assert f"{wells:,} wells" in found.reason
        assert "500 wells" in budget.would_change(look(last=2), stopping, 0.01)

    def test_none_is_set(self):
        assert not budget.find(look(last=2), StoppingSection(), 0.01).stop


class TestPlateau:
    @pytest.mark.parametrize(
        ("errors", "rested"),
        [([], 0), ([1.0], 0), ([1, 0.9, 0.8], 0), ([1, 1, 1], 2), ([1, 0.5, 0.6, 0.55], 2), ([1, 0.99, 0.985], 2)],
    )
    def test_counts_rounds_without_a_fall(self, errors, rested):
        assert rounds_without_a_fall(errors, 0.02) == rested

    def test_small_falls_add_up_to_one(self):
        assert rounds_without_a_fall([1, 0.99, 0.979], 0.02) == 0

    @given(st.lists(st.floats(0.01, 10), min_size=1, max_size=12), st.floats(0.1, 100))
    def test_the_unit_does_not_matter(self, errors, unit):
        scaled = [error * unit for error in errors]
        with_room = rounds_without_a_fall(errors, 0.02), rounds_without_a_fall(errors, 0.02 + 1e-9)
        assert rounds_without_a_fall(scaled, 0.02 + 5e-10) in with_room

    def test_stops_after_the_patience(self):
        stopping = StoppingSection(rule="plateau", patience=2)
        assert not plateau.find(look([1.0, 0.7, 0.7]), stopping, 0.01).stop
        found = plateau.find(look([1.0, 0.7, 0.7, 0.75]), stopping, 0.01)
        assert found.stop
        assert found.reason.startswith("For 2 rounds the error on the random control (40 perturbations), now 0.75,")
        assert "0.686" in plateau.would_change(look([1.0, 0.7, 0.7, 0.75]), stopping, 0.01)

    def test_the_newest_round_must_be_among_them(self):
        assert not plateau.find(look([1.0, 1.0, 1.0], last=3), StoppingSection(patience=1), 0.01).stop

    def test_says_what_it_is(self):
        assumption = plateau.find(look([1.0]), StoppingSection(), 0.01).assumption
        assert "rule of thumb" in assumption
        assert "No hidden readout" in assumption


def test_manual_stops_where_there_is_a_reason():
    assert not manual.find(look(last=1), StoppingSection(rule="manual"), 0.01).stop
    found = manual.find(look(last=1), StoppingSection(rule="manual", stop_because="compound store flooded."), 0.01)
    assert found.stop
    assert found.reason == "A person stopped the campaign: compound store flooded."


class TestControl:
    readout = ReadoutSection(kind="continuous", tolerance=0.5)

    def test_counts_only_what_was_drawn_and_is_predicted(self):
        predicted = np.array([0.0, 1.0, np.nan, 0.0, 3.0])
        measured = np.array([0.4, 0.0, 0.0, np.nan, 0.0])
        drawn = np.array([True, True, True, True, False])
        found = random_control(predicted, measured, drawn, self.readout, 2)
        assert (found.n, found.right, found.round_index) == (2, 1, 2)
        assert found.error == pytest.approx(np.sqrt((0.16 + 1) / 2))

    def test_classes_have_a_share(self):
        readout = ReadoutSection(kind="binary", threshold=0.0)
        found = random_control(np.array([0.9, 0.2, 0.7]), np.array([1.0, 1.0, 1.0]), np.ones(3, bool), readout, 0)
        assert found.error == pytest.approx(1 / 3)

    def test_nobody(self):
        assert random_control(np.ones(3), np.ones(3), np.zeros(3, bool), self.readout, 0) is None


class TestRandomCampaign:
    def test_random_order_with_this_accuracy(self):
        """Estimate 1 − 600·0.1/1000 = 0.94; with 30 of 40 right, n + (N − n)·0.75 = 940 at n = 760, two wells each."""
        found = random_campaign(look([0.5]))
        assert found.wells == 1520
        assert "75.0% right on 40" in found.note
        assert 0 < found.low < found.wells < found.high < 2000

    def test_a_larger_control_tells_it_better(self):
        many = ControlEvidence(round_index=0, n=4000, right=3000, error=1.0)
        wide, narrow = (
            random_campaign(look([0.5]).model_copy(update={"controls": controls}))
            for controls in (look([0.5]).controls, (many,))
        )
        assert narrow.wells == wide.wells
        assert wide.low < narrow.low < narrow.high < wide.high

    def test_a_model_that_is_right_enough_needs_none(self):
        found = random_campaign(look([0.5], right=38))
        assert (found.wells, found.low) == (0, 0)
        assert found.high > 0

    def test_none_right(self):
        assert random_campaign(look([0.5], right=0)).high == 1880

    @pytest.mark.parametrize(
        ("given_", "words"), [(look(last=1), "0 perturbations"), (look([0.5], right=40), "every perturbation")]
    )
    def test_says_why_not(self, given_, words):
        found = random_campaign(given_)
        assert found.wells is found.low is found.high is None
        assert found.note.startswith("Not estimated")
        assert words in found.note

    def test_a_small_control(self):
        small = ControlEvidence(round_index=0, n=19, right=10, error=1.0)
        assert random_campaign(look([0.5]).model_copy(update={"controls": (small,)})).wells is None
