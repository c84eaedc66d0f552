"""Evidence, the bound of the system accuracy from the audit, and the counts that would change it."""

import itertools

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.campaigns.membership import Membership
from tasks.campaigns.stopping_settings import StoppingSection
from tasks.errors import NumericalError
from tasks.stopping import audit_rule
from tasks.stopping.audit import audit_bound
from tasks.stopping.audit_rule import audit_accuracy
from tasks.stopping.evidence import AuditEvidence, Look, Wells, gather_evidence

STOPPING = StoppingSection(gamma=0.9, risk=0.05, max_rounds=8)
RISK = 0.00625


def evidence(**changes):
    values = {"library": 1000, "chosen": 300, "pending": 0, "audit": 100, "measured": 100, "errors": 5}
    return AuditEvidence(**(values | changes))


def look(**changes):
    return Look(round_index=1, audit=evidence(**changes), wells=Wells(used=0, full=1000))


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
        found = audit_accuracy(evidence(), 0.01)
        assert found.errors == audit_bound(700, 100, 5, 0.01) - 5
        assert found.accuracy == pytest.approx(1 - found.errors / 1000)

    def test_what_was_chosen_but_not_measured_counts_as_wrong(self):
        assert audit_accuracy(evidence(pending=40), 0.01).errors == audit_accuracy(evidence(), 0.01).errors + 40

    def test_an_unmeasured_member_is_worse_than_one_in_error(self):
        """It counts as an error in the sample and is not corrected in the screen."""
        lost = audit_accuracy(evidence(measured=99, errors=5), 0.01).errors
        wrong = audit_accuracy(evidence(errors=6), 0.01).errors
        assert lost == wrong + 1

    def test_a_library_measured_whole_is_right(self):
        everything = evidence(chosen=1000, audit=0, measured=0, errors=0)
        assert audit_accuracy(everything, 0.01).accuracy == 1.0
        hidden_rest = evidence(chosen=900, audit=100, measured=100, errors=60)
        assert audit_accuracy(hidden_rest, 0.01).accuracy == 1.0

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
                found = audit_accuracy(
                    AuditEvidence(
                        library=population, chosen=0, pending=0, audit=sample, measured=len(kept), errors=errors
                    ),
                    risk,
                )
                wrong += found.errors < bad - errors
            assert wrong / len(draws) <= risk


class TestWouldChange:
    """The sentence names the nearest counts on the other side; check them by looking there."""

    @pytest.mark.parametrize("errors", [0, 3, 30])
    def test_errors_on_the_other_side(self, errors):
        sentence = audit_rule.would_change(look(errors=errors), STOPPING, RISK)
        certified = audit_rule.find(look(errors=errors), STOPPING, RISK).stop
        words = sentence.split()
        named = int(words[0]) if certified else int(words[2])
        limit = named if certified else named + 1
        assert audit_rule.find(look(errors=limit - 1), STOPPING, RISK).stop
        assert not audit_rule.find(look(errors=limit), STOPPING, RISK).stop

    def test_pending_plates(self):
        sentence = audit_rule.would_change(look(errors=0, pending=120), STOPPING, RISK)
        assert "120 perturbations without a measurement count as errors" in sentence

    def test_audit_too_small(self):
        sentence = audit_rule.would_change(look(audit=5, measured=5, errors=0), STOPPING, RISK)
        assert "the audit is too small" in sentence

    def test_nothing_left_to_doubt(self):
        sentence = audit_rule.would_change(look(chosen=950, audit=50, measured=50), STOPPING, RISK)
        assert sentence.startswith("No number of audit errors")


def test_a_bound_is_never_rounded_up():
    found = audit_rule.find(look(errors=30), STOPPING, RISK)
    shown = float(found.reason.split("t least ")[1].split("%")[0])
    assert shown <= found.bound * 100 < shown + 0.1 + 1e-9
