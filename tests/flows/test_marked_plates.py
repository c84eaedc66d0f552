"""Plates that failed: waived or abandoned by a person, through the flows and the command."""

import json

import pytest
from pilots import computed

from flows.inspection import campaign_status, list_plates
from flows.plates import mark_plate, repeat_plates
from tasks.errors import UserError

FAILED = "pilot-R01-P02"


def test_several_plates_are_decided_together_or_not_at_all(two):
    with pytest.raises(UserError, match="no such plate"):
        repeat_plates(str(two.path), "abandon", [FAILED, "nobody"], "dropped")
    assert {row["state"] for row in list_plates(two.config).plates} == {"passed", "failed", "planned"}
    marked = repeat_plates(str(two.path), "abandon", [FAILED, "pilot-R02-P01", FAILED], "dropped")
    assert [(each.barcode, each.state) for each in marked] == [(FAILED, "abandoned"), ("pilot-R02-P01", "abandoned")]


def test_a_waived_plate_enters_the_labels_and_the_round_is_computed_again(two):
    before = two.ledger.runs(1)[-1]
    marked = mark_plate(str(two.path), "waive", FAILED, "a pipetting error of the controls alone")
    assert (marked.state, marked.attempt, marked.newly) == ("waived", 1, True)
    assert campaign_status(two.config).rounds[1].states == {"passed": 1, "waived": 1}
    result = two.round(1)
    assert result.status == "decided"
    assert (result.plates_passed, result.plates_planned, result.repeats, result.without) == (2, 2, [], [])
    assert "labels" in computed(result)
    after = two.ledger.runs(1)[-1]
    assert after.number == before.number + 1
    labels = two.ledger.storage.read(f"{after.folder}/plates.csv").decode()
    assert "waived: a pipetting error of the controls alone" in labels
    assert two.round(1).status == "unchanged"


def test_an_abandoned_plate_gives_its_perturbations_back(two):
    from tasks.campaigns.designs import read_table
    from tasks.checkpoints.store import CheckpointStore

    ledger = two.ledger
    platemap = read_table(ledger.storage.read("rounds/0001/design/platemap.csv").decode())
    lost = set(platemap.loc[(platemap["barcode"] == FAILED) & (platemap["role"] == "sample"), "perturbation"])
    mark_plate(str(two.path), "abandon", FAILED, "dropped")
    result = two.round(1)
    assert (result.plates_passed, result.plates_planned) == (1, 1)
    assert [plate["state"] for plate in result.without] == ["abandoned"]
    assert "abandoned: dropped" in result.without[0]["reason"]
    run = ledger.runs(1)[-1]
    evidence = CheckpointStore(ledger.storage).load(run.lock.nodes["decide"].outputs["evidence"])["audit"]
    assert evidence["audit"] > evidence["measured"]  # its audit members count as errors
    batch = CheckpointStore(ledger.storage).load(run.lock.nodes["propose"].outputs["batch"])
    again = batch[batch["perturbation"].isin(lost)]
    assert len(again), "what an abandoned plate held can be chosen again"
    assert set(again["action"]) == {"measure"}
    assert set(again["arm"]) == {"strategy"}
    first = ledger.runs(1)[0]
    earlier = CheckpointStore(ledger.storage).load(first.lock.nodes["propose"].outputs["batch"])
    chosen = set(platemap.loc[platemap["slot"] != "random", "perturbation"]) & lost
    assert not set(earlier["perturbation"]) & chosen, "those of a failed plate are pending"


def test_deciding_again_changes_nothing_and_the_first_note_stands(two):
    mark_plate(str(two.path), "abandon", FAILED, "dropped")
    again = mark_plate(str(two.path), "abandon", FAILED, "another reason")
    assert (again.newly, again.note) == (False, "dropped")
    with pytest.raises(UserError, match="only a failed plate can be waived"):
        mark_plate(str(two.path), "waive", FAILED, "it was fine after all")


def test_a_plate_that_never_came_can_be_abandoned_and_the_round_goes_on(pilot):
    pilot.open()
    pilot.answer(0)
    for path in pilot.ledger.storage.list("inbox"):
        if b"pilot-R00-P02" not in pilot.ledger.storage.read(path):
            (pilot.folder / "campaigns" / "pilot" / path).unlink()
    assert pilot.round().status == "waiting"
    mark_plate(str(pilot.path), "abandon", "pilot-R00-P01", "lost in the post")
    result = pilot.round()
    assert result.status == "decided"
    assert {p["barcode"]: p["state"] for p in result.without} == {
        "pilot-R00-P01": "abandoned",
        "pilot-R00-P03": "planned",
    }


def test_plates_are_listed_with_their_reasons(two):
    rows = {(row["barcode"], row["attempt"]): row for row in list_plates(two.config).plates}
    assert rows[FAILED, 1]["state"] == "failed"
    assert "zprime" in rows[FAILED, 1]["reason"]
    assert len(rows) == 3 + 2 + 2  # round 2 is designed already


def test_the_command_records_refuses_and_answers_as_json(two, monkeypatch, capsys):
    from flows import cli

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["hybridscreen", "plates", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr()

    status, said = run("waive", str(two.path), "nobody", "--note", "x")
    assert status == 2
    assert "no such plate" in said.err
    assert len(said.err.splitlines()) == 1
    status, said = run("abandon", str(two.path), FAILED, "--note", "dropped", "--json")
    assert status == 0
    assert json.loads(said.out)["state"] == "abandoned"
    status, said = run("list", str(two.path))
    assert status == 0
    assert "abandoned: dropped" in said.out
