"""What the decision says, how rules are joined, and the record's frozen schema."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.errors import UserError
from tasks.stopping import rules
from tasks.stopping.audit_rule import audit_accuracy
from tasks.stopping.decision import decide
from tasks.stopping.evidence import AuditEvidence, ControlEvidence, Look, PickEvidence, Wells
from tasks.stopping.record import SCHEMA_VERSION, Decision
from tasks.stopping.risk import equal_share
from tasks.stopping.rule import Found
from tasks.stopping.rules import RULES, read_rule

STOPPING = StoppingSection(gamma=0.9, risk=0.05, max_rounds=8)
SCHEMA = Path(__file__).parent / "decision_schema.json"


def look(round_index=2, picks=None, controls=(), wells=None, **changes):
    counts = {"library": 1000, "chosen": 300, "pending": 0, "audit": 100, "measured": 100, "errors": 5}
    return Look(
        round_index=round_index,
        audit=AuditEvidence(**(counts | changes)),
        wells=wells or Wells(used=400, full=1000, next_round=100),
        picks=picks,
        controls=controls,
    )


def decided(found, stopping, looks):
    """With an equal share of the risk."""
    return decide(found, stopping, looks, equal_share(stopping, found.round_index, looks))


class TestDecide:
    def test_certifies(self):
        decision = decided(look(errors=2), STOPPING, [(0, 0.005), (1, 0.005)])
        assert (decision.stop, decision.certified, decision.certificate) == (True, True, "audit")
        assert decision.reason.startswith("Certified: at least 9")
        assert decision.look == 3
        assert decision.risk_spent == pytest.approx(0.015)
        assert decision.risk_left == pytest.approx(0.035)
        assert decision.wells_saved == 600
        assert decision.bound == audit_accuracy(look(errors=2).audit, decision.risk_this_look).accuracy

    def test_goes_on(self):
        decision = decided(look(errors=30), STOPPING, [])
        assert (decision.stop, decision.certified) == (False, False)
        assert decision.reason.startswith("Go on: so far at least 7")
        assert decision.estimate == pytest.approx(1 - 600 * 0.3 / 1000)

    def test_the_last_round_stops_without_a_certificate(self):
        decision = decided(look(8, errors=30), STOPPING, [])
        assert (decision.stop, decision.certified) == (True, False)
        assert decision.reason.startswith("Stopped without a certificate: round 8 was the last. So far at least 7")

    def test_an_empty_pool_stops_and_names_what_is_awaited(self):
        decision = decided(look(3, chosen=900, pending=150), STOPPING, [])
        assert (decision.stop, decision.certified) == (True, False)
        assert "nothing is left to choose" in decision.reason
        assert "150 perturbations still wait" in decision.reason

    def test_no_audit_readout_no_estimate(self):
        decision = decided(look(measured=0, errors=0), STOPPING, [])
        assert decision.estimate is None
        assert decision.wells_random is None
        assert decision.bound == pytest.approx(0.3)

    def test_overspent_risk_certifies_only_certainties(self):
        looks = [(0, 0.05)]
        decision = decided(look(1), STOPPING, looks)
        assert decision.risk_this_look == 0
        assert decision.bound == pytest.approx(1 - 600 / 1000)
        assert decided(look(1, chosen=930, audit=70, measured=70), STOPPING, looks).certified

    def test_every_rule_is_shown_whoever_decides(self):
        decision = decided(look(), STOPPING, [])
        assert set(decision.rules) == set(RULES)
        assert [name for name, found in decision.rules.items() if found.decides] == ["audit"]
        assert decision.rules["audit"].bound == decision.bound
        assert decision.rules["budget"].bound is None
        assert all(found.assumption and found.reason and found.would_change for found in decision.rules.values())

    def test_another_rule_is_one_line(self, monkeypatch):
        never = RULES["audit"]._replace(find=lambda *_: Found(False, "Never.", "Nothing.", 0.0))
        monkeypatch.setitem(rules.RULES, "never", never)
        decision = decided(look(errors=0), StoppingSection(rule="never"), [])
        assert (decision.stop, decision.certificate, decision.bound) == (False, "never", 0.0)


PICKS = PickEvidence(strategies=("least-confidence",), picks=300, right=300)


class TestJoined:
    def test_one_of_several_is_enough_and_they_share_the_risk(self):
        joint = decided(look(errors=30, picks=PICKS), StoppingSection(rule="audit or lemma"), [])
        assert (joint.stop, joint.certified, joint.certificate) == (True, True, "lemma")
        assert "conditional on calibration" in joint.reason
        assert "Conditional on calibration" in joint.assumption
        assert joint.rules["audit"].risk == joint.rules["lemma"].risk == joint.risk_this_look / 2
        alone = decided(look(errors=30, picks=PICKS), StoppingSection(), [])
        assert alone.rules["audit"].bound > joint.rules["audit"].bound

    def test_all_of_several_take_the_weakest_bound_at_the_whole_risk(self):
        joint = decided(look(errors=30, picks=PICKS), StoppingSection(rule="audit and lemma"), [])
        assert (joint.stop, joint.certificate) == (False, "audit")
        assert joint.rules["lemma"].stop
        assert joint.rules["audit"].risk == joint.risk_this_look

    def test_a_rule_without_a_bound_leaves_the_certificate_to_the_audit(self):
        decision = decided(look(errors=30), StoppingSection(rule="budget", max_wells=450), [])
        assert (decision.stop, decision.certified, decision.certificate) == (True, False, "audit")
        assert decision.reason.startswith("Stopped without a certificate: 400 sample wells are used")
        assert decision.rules["budget"].decides
        assert not decision.rules["audit"].decides

    def test_budget_alone_goes_on_though_the_audit_would_stop(self):
        decision = decided(look(errors=0), StoppingSection(rule="budget", max_wells=900), [])
        assert (decision.stop, decision.certified) == (False, True)
        assert "Rule budget does not stop: 400 sample wells" in decision.reason

    def test_a_certificate_may_wait_for_another_rule(self):
        controls = tuple(ControlEvidence(round_index=k, n=30, right=20, error=1.0) for k in range(3))
        stopping = StoppingSection(rule="audit and plateau", patience=3)
        waiting = decided(look(errors=0, controls=controls), stopping, [])
        assert (waiting.stop, waiting.certified) == (False, True)
        assert "Rule plateau does not stop: For 2 rounds" in waiting.reason
        again = decided(look(errors=0, controls=controls), stopping.model_copy(update={"patience": 2}), [])
        assert (again.stop, again.certified) == (True, True)
        assert again.reason.startswith("Certified")

    def test_the_last_round_ends_it_whatever_rules_say(self):
        decision = decided(look(8, errors=0), StoppingSection(rule="manual"), [])
        assert (decision.stop, decision.certified) == (True, True)
        assert "Round 8 was the last" in decision.reason

    @pytest.mark.parametrize(
        ("text", "names", "every"),
        [("audit", ("audit",), False), ("audit or budget", ("audit", "budget"), False),
         ("budget and plateau and manual", ("budget", "plateau", "manual"), True)],
    )  # fmt: skip
    def test_reads(self, text, names, every):
        found = read_rule(text)
        assert (found.names, found.every) == (names, every)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("hope", "unknown stopping rule; got 'hope', expected one of audit"),
            ("  ", "unknown stopping rule"),
            ("audit or budget and plateau", "cannot be joined so"),
            ("audit or", "cannot be joined so"),
            ("audit, budget", "unknown stopping rule; got 'audit,'"),
            ("audit xor budget", "cannot be joined so"),
            ("audit or audit", "cannot be joined so"),
        ],
    )
    def test_refuses(self, text, words):
        with pytest.raises(UserError, match=r"stopping\.rule: ") as caught:
            read_rule(text)
        assert words in str(caught.value)


@st.composite
def looks(draw):
    library = draw(st.integers(1, 400))
    chosen = draw(st.integers(0, library))
    audit = draw(st.integers(0, library - chosen))
    measured = draw(st.integers(0, audit))
    counts = {"pending": draw(st.integers(0, chosen)), "errors": draw(st.integers(0, measured))}
    counts |= {"library": library, "chosen": chosen, "audit": audit, "measured": measured}
    number = draw(st.integers(0, 4))
    n = draw(st.integers(1, 100))
    controls = tuple(
        ControlEvidence(round_index=k, n=n, right=draw(st.integers(0, n)), error=draw(st.floats(0, 1e6)))
        for k in range(draw(st.integers(0, number)), number + 1)
    )
    picks = draw(st.integers(0, 50))
    newest = PickEvidence(strategies=("query-by-committee",), picks=picks, right=draw(st.integers(0, picks)))
    wells = Wells(used=draw(st.integers(0, 500)), full=library, next_round=draw(st.integers(0, 50)))
    return look(number, draw(st.sampled_from([None, newest])), controls, wells, **counts)


class TestRecord:
    @given(looks(), st.sampled_from(["audit", "lemma", "audit or lemma", "audit and plateau", "budget or manual"]))
    def test_round_trip(self, found, rule):
        decision = decided(found, StoppingSection(rule=rule, max_wells=100), [])
        assert Decision.model_validate_json(decision.model_dump_json()) == decision
        assert Decision.model_validate(json.loads(json.dumps(decision.model_dump(mode="json")))) == decision
        assert Look.model_validate_json(found.model_dump_json()) == found
        assert 0 <= decision.bound <= 1
        assert decision.certified == (decision.bound >= decision.gamma)
        assert decision.bound == decision.rules[decision.certificate].bound

    def test_the_schema_is_frozen(self):
        """A change of the schema needs a new SCHEMA_VERSION, and then this file anew; readers go by the version."""
        assert Decision.model_json_schema() == json.loads(SCHEMA.read_text())
        assert Decision.model_fields["schema_version"].default == SCHEMA_VERSION

    @pytest.mark.parametrize("change", [{"schema_version": 1}, {"more": 1}, {"bound": float("nan")}])
    def test_another_schema_is_refused(self, change):
        content = decided(look(), STOPPING, []).model_dump() | change
        with pytest.raises(ValueError, match=next(iter(change))):
            Decision.model_validate(content)
