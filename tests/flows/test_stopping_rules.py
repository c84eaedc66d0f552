"""Stopping rules in a campaign: the lemma's picks, the control, limits, mistakes, and the plan before it opens."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from flows.audit_plan import plan_audit
from flows.cli import app
from tasks.errors import UserError

LEAST = [{"strategy": "least-confidence", "share": 1.0}]
CLASSES = {"readout__kind": "binary", "readout__threshold": 0.0, "batch__slots": LEAST}


def look_of(pilot, number):
    """What the rules of a round read."""
    uri = pilot.ledger.runs(number)[-1].lock.nodes["decide"].outputs["evidence"].uri
    return json.loads((pilot.folder / "campaigns/pilot" / uri).read_text())


def test_the_lemma_counts_the_newest_picks_by_the_model_before(make_pilot):
    pilot = make_pilot(stopping__rule="audit or lemma", **CLASSES)
    result = pilot.through(1)
    folder = pilot.folder / "campaigns/pilot"
    batch = pd.read_csv(folder / "rounds/0001/design/batch.csv")
    picked = batch.loc[batch["arm"] == "strategy", "perturbation"]
    forward = pd.read_parquet(folder / pilot.ledger.runs(1)[-1].lock.nodes["forward"].outputs["table"].uri)
    assert set(forward["perturbation"]) == set(picked)
    right = ((forward["predicted"] > 0.5) == (forward["measured"] > 0.5)).sum()
    assert look_of(pilot, 1)["picks"] == {"strategies": ["least-confidence"], "picks": len(picked), "right": right}
    found = result.decision["rules"]["lemma"]
    assert found["decides"]
    assert "conditional on calibration" in found["reason"]
    assert found["risk"] == result.decision["risk_this_look"] / 2


def test_every_round_has_its_control_and_all_rules_are_shown(two):
    looks = [look_of(two, number) for number in (0, 1)]
    assert [[control["round_index"] for control in look["controls"]] for look in looks] == [[0], [0, 1]]
    assert looks[1]["controls"][0] == looks[0]["controls"][0]
    assert looks[0]["picks"] is None
    assert looks[1]["picks"]["strategies"] == ["eigenspace-clusters"]
    decision = two.round().decision
    assert set(decision["rules"]) == {"audit", "lemma", "budget", "plateau", "manual"}
    assert decision["rules"]["lemma"]["reason"].startswith("Does not apply: it needs picks of least-confidence")
    assert decision["control"] == looks[1]["controls"][1]


def test_a_budget_stops_and_no_batch_follows(make_pilot):
    result = make_pilot(stopping__rule="audit or budget", stopping__max_wells=150).through(0)
    assert result.decision["stop"]
    assert not result.decision["certified"]
    assert result.decision["reason"].startswith("Stopped without a certificate: ")
    assert result.proposal is result.released is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stopping__rule": "audit or hope"}, ["stopping.rule", "'hope'", "plateau"]),
        ({"stopping__rule": "audit or budget and manual"}, ["cannot be joined"]),
        ({"stopping__rule": "budget"}, ["rule budget needs stopping.max_wells"]),
        ({"stopping__max_wells": 10}, ["stopping.max_wells is read by rule budget alone"]),
        ({"stopping__stop_because": "flood"}, ["stopping.stop_because is read by rule manual alone"]),
        ({"stopping__rule": "lemma"}, ["rule lemma needs batches", "eigenspace-clusters"]),
        ({"stopping__rule": "lemma", "batch__hits": {"share": 0.5}, **CLASSES}, ["rule lemma needs", "ucb"]),
    ],
)
def test_a_mistake_is_found_before_anything_is_written(pilot, change, words):
    pilot.write(**change)
    with pytest.raises(UserError) as caught:
        pilot.open()
    for word in words:
        assert word in str(caught.value)
    assert not (pilot.folder / "campaigns").exists()


class TestPlan:
    def test_tells_sizes_and_writes_nothing(self, pilot):
        before = sorted(pilot.folder.rglob("*"))
        found = CliRunner().invoke(app, ["open", str(pilot.path), "--plan-audit"])
        assert found.exit_code == 0, found.output
        assert "240 perturbations, γ = 0.97, risk 0.05, 4 rounds at most. Nothing was written." in found.output
        assert found.output.count("→") == 2  # the configured size, and what the arrow means
        assert sorted(pilot.folder.rglob("*")) == before

    def test_as_json(self, pilot):
        found = CliRunner().invoke(app, ["open", str(pilot.path), "--plan-audit", "--json"])
        options = json.loads(found.output)["options"]
        assert options == [option.model_dump() for option in plan_audit(str(pilot.path)).options]
        assert [option["audit"] for option in options if option["configured"]] == [36]
