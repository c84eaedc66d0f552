"""Evidence, the system bound, risk spending, and what the decision says."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.campaigns.config import StoppingSection
from tasks.campaigns.membership import Membership
from tasks.errors import NumericalError, UserError
from tasks.stopping.audit import audit_bound
from tasks.stopping.decision import RULES, Decision, audit_rule, decide, risk_of_look
from tasks.stopping.evidence import AuditEvidence, gather_evidence

STOPPING = StoppingSection(gamma=0.9, risk=0.05, max_rounds=8)


def evidence(**changes):
    values = {"library": 1000, "chosen": 300, "pending": 0, "audit": 100, "measured": 100, "errors": 5}
    return AuditEvidence(**(values | changes))


class TestEvidence:
    def test_counts_masks(self):
        mask = np.zeros(10, dtype=bool)
        chosen, hidden, measured, correct = (mask.copy() for _ in range(4))
        chosen[:4] = True
        hidden[4:8] = True
        measured[[0, 1, 2, 4, 5, 6]] = True
        correct[[0, 4, 7]] = True
        found = gather_evidence(Membership(chosen, hidden), measured, correct)
        assert found == AuditEvidence(library=10, chosen=4, pending=1, audit=4, measured=3, errors=2)
        assert (found.population, found.unmeasured, found.open) == (6, 1, 2)

    @pytest.mark.parametrize(
        "changes", [{"pending": 301}, {"errors": 101}, {"measured": 101}, {"audit": 701}, {"chosen": 1001}]
    )
    def test_impossible_counts(self, changes):
        with pytest.raises(ValidationError):
            evidence(**changes)

    def test_masks_must_agree(self):
        ten, nine = np.zeros(10, dtype=bool), np.zeros(9, dtype=bool)
        with pytest.raises(NumericalError, match="masks differ in length"):
            gather_evidence(Membership(ten, ten), nine, ten)


class TestAuditRule:
    def test_known_errors_are_published_as_measured(self):
        found = audit_rule(evidence(), 0.01)
        assert found.errors == audit_bound(700, 100, 5, 0.01) - 5
        assert found.accuracy == pytest.approx(1 - found.errors / 1000)

    def test_what_was_chosen_but_not_measured_counts_as_wrong(self):
        assert audit_rule(evidence(pending=40), 0.01).errors == audit_rule(evidence(), 0.01).errors + 40

    def test_an_unmeasured_member_is_worse_than_one_in_error(self):
        """It counts as an error in the sample and is not corrected in the screen."""
        lost = audit_rule(evidence(measured=99, errors=5), 0.01).errors
        wrong = audit_rule(evidence(errors=6), 0.01).errors
        assert lost == wrong + 1

    def test_a_library_measured_whole_is_right(self):
        everything = evidence(chosen=1000, audit=0, measured=0, errors=0)
        assert audit_rule(everything, 0.01).accuracy == 1.0
        hidden_rest = evidence(chosen=900, audit=100, measured=100, errors=60)
        assert audit_rule(hidden_rest, 0.01).accuracy == 1.0

    def test_truth_under_any_missingness(self):
        """Enumerate: the bound holds with the risk whichever members go missing, even the right ones only."""
        population, sample, risk = 8, 4, 0.25
        for bad in range(population + 1):
            wrong = 0
            draws = list(itertools.combinations(range(population), sample))
            for draw in draws:
                right_members = [i for i in draw if i >= bad]
                gone = set(right_members[:1])
                kept = [i for i in draw if i not in gone]
                errors = sum(i < bad for i in kept)
                found = audit_rule(
                    AuditEvidence(
                        library=population, chosen=0, pending=0, audit=sample, measured=len(kept), errors=errors
                    ),
                    risk,
                )
                wrong += found.errors < bad - errors
            assert wrong / len(draws) <= risk


class TestRisk:
    def test_rounds_without_reruns_spend_equal_shares(self):
        looks = []
        for round_index in range(9):
            looks.append((round_index, risk_of_look(STOPPING, round_index, looks)))
        assert [risk for _, risk in looks] == pytest.approx([0.05 / 10] * 9)

    @given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 10), st.floats(0.001, 0.5))
    def test_never_spends_more_than_allowed(self, rounds, max_rounds, risk):
        stopping = StoppingSection(risk=risk, max_rounds=max_rounds)
        looks = []
        for round_index in sorted(rounds):
            share = risk_of_look(stopping, round_index, looks)
            assert share > 0
            looks.append((round_index, share))
        assert sum(share for _, share in looks) <= risk * (1 + 1e-12)

    def test_a_rerun_spends_only_what_is_left(self):
        first = risk_of_look(STOPPING, 4, [])
        rerun = risk_of_look(STOPPING, 4, [(4, first)])
        assert rerun < first
        assert rerun == pytest.approx((0.05 - first) / 6)

    def test_overspent_risk_certifies_only_certainties(self):
        looks = [(0, 0.05)]
        assert risk_of_look(STOPPING, 1, looks) == 0.0
        decision = decide(evidence(), STOPPING, 1, looks, 400, 1000)
        assert decision.bound == pytest.approx(1 - 600 / 1000)
        assert decide(evidence(chosen=930, audit=70, measured=70), STOPPING, 1, looks, 999, 1000).certified

    def test_negative_risk(self):
        with pytest.raises(UserError, match="negative risk"):
            risk_of_look(STOPPING, 1, [(0, -0.1)])


class TestDecide:
    def test_certifies(self):
        decision = decide(evidence(errors=2), STOPPING, 2, [(0, 0.005), (1, 0.005)], 400, 1000)
        assert decision.stop
        assert decision.certified
        assert decision.reason.startswith("Certified: at least 9")
        assert decision.look == 3
        assert decision.risk_spent == pytest.approx(0.015)
        assert decision.risk_left == pytest.approx(0.035)
        assert decision.wells_saved == 600
        assert decision.bound == audit_rule(evidence(errors=2), decision.risk_this_look).accuracy

    def test_goes_on(self):
        decision = decide(evidence(errors=30), STOPPING, 2, [], 400, 1000)
        assert not decision.stop
        assert not decision.certified
        assert decision.reason.startswith("Go on: so far at least 7")
        assert decision.estimate == pytest.approx(1 - 600 * 0.3 / 1000)

    def test_the_last_round_stops_without_a_certificate(self):
        decision = decide(evidence(errors=30), STOPPING, 8, [], 400, 1000)
        assert (decision.stop, decision.certified) == (True, False)
        assert "round 8 was the last" in decision.reason

    def test_an_empty_pool_stops_and_names_what_is_awaited(self):
        decision = decide(evidence(chosen=900, pending=150), STOPPING, 3, [], 400, 1000)
        assert (decision.stop, decision.certified) == (True, False)
        assert "nothing is left to choose" in decision.reason
        assert "150 perturbations still wait" in decision.reason

    def test_no_audit_readout_no_estimate(self):
        decision = decide(evidence(measured=0, errors=0), STOPPING, 1, [], 0, 1000)
        assert decision.estimate is None
        assert decision.bound == pytest.approx(0.3)

    def test_json_round_trip(self):
        decision = decide(evidence(), STOPPING, 1, [(0, 0.005)], 400, 1000)
        assert Decision.model_validate_json(decision.model_dump_json()) == decision

    def test_unknown_rule(self):
        with pytest.raises(UserError, match="unknown stopping rule; got hope, expected one of audit"):
            decide(evidence(), StoppingSection(rule="hope"), 1, [], 0, 1)

    def test_another_rule_is_one_line(self, monkeypatch):
        monkeypatch.setitem(RULES, "never", lambda found, risk: audit_rule(found, risk)._replace(accuracy=0.0))
        assert not decide(evidence(errors=0), StoppingSection(rule="never"), 1, [], 0, 1).stop


class TestWouldChange:
    """The sentence names the nearest counts on the other side; check them by deciding there."""

    @pytest.mark.parametrize("errors", [0, 3, 30])
    def test_errors_on_the_other_side(self, errors):
        sentence = decide(evidence(errors=errors), STOPPING, 1, [], 0, 1000).would_change
        certified = decide(evidence(errors=errors), STOPPING, 1, [], 0, 1000).certified
        words = sentence.split()
        named = int(words[0]) if certified else int(words[2])
        limit = named if certified else named + 1
        assert decide(evidence(errors=limit - 1), STOPPING, 1, [], 0, 1000).certified
        assert not decide(evidence(errors=limit), STOPPING, 1, [], 0, 1000).certified

    def test_pending_plates(self):
        sentence = decide(evidence(errors=0, pending=120), STOPPING, 1, [], 0, 1000).would_change
        assert "120 perturbations without a measurement count as errors" in sentence

    def test_audit_too_small(self):
        sentence = decide(evidence(audit=5, measured=5, errors=0), STOPPING, 1, [], 0, 1000).would_change
        assert "the audit is too small" in sentence

    def test_nothing_left_to_doubt(self):
        sentence = decide(evidence(chosen=950, audit=50, measured=50), STOPPING, 1, [], 0, 1000).would_change
        assert sentence.startswith("No number of audit errors")


def test_a_bound_is_never_rounded_up():
    decision = decide(evidence(errors=30), STOPPING, 1, [], 0, 1000)
    shown = float(decision.reason.split("at least ")[1].split("%")[0])
    assert shown <= decision.bound * 100 < shown + 0.1 + 1e-9
