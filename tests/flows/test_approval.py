"""A batch that waits for a person: approved, vetoed in part, rejected; and what stays as it was without an answer."""

import json

import pytest
from pilots import computed
from typer.testing import CliRunner

from flows.cli import app
from flows.release import release_batch
from flows.watching import why_not
from tasks.campaigns.designs import read_design, read_table
from tasks.checkpoints.store import CheckpointStore
from tasks.errors import UserError


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    from pilots import Pilot

    pilot = Pilot(tmp_path_factory.mktemp("approval") / "lab", approval="required")
    assert pilot.through(0).proposal
    return pilot


@pytest.fixture
def asked(decided, tmp_path):
    """Round 0 is decided, and its batch waits."""
    return decided.copy(tmp_path / "copy")


def proposal(pilot, run=None):
    folder = pilot.ledger.last_decided(0).folder if run is None else f"rounds/0000/runs/{run:02d}"
    return read_table(pilot.ledger.storage.read(f"{folder}/proposal/batch.csv").decode())


def test_no_answer_leaves_everything_as_it_was(asked):
    before = asked.files()
    again = asked.round()
    assert (again.status, again.released) == ("unchanged", None)
    assert asked.files() == before
    assert why_not(asked.ledger, again) == "the batch that round 0 proposes waits for approval"


def test_a_vetoed_perturbation_leaves_the_proposal_and_every_later_pool_at_no_look(asked):
    first = proposal(asked)
    gone = first.loc[first["action"] == "measure", "perturbation"].tolist()[:3]
    looks = asked.ledger.looks()
    answered = release_batch(str(asked.path), None, "veto", gone, "toxic")
    assert (answered.newly, answered.design, answered.vetoed) == (True, None, sorted(gone))
    assert read_design(asked.ledger.storage, 1) is None
    with pytest.raises(UserError, match="holds vetoed perturbations"):
        release_batch(str(asked.path))
    again = asked.round()
    assert computed(again) == {"propose"}
    assert (proposal(asked)["action"] == "measure").sum() == (first["action"] == "measure").sum()
    assert not set(gone) & set(proposal(asked)["perturbation"])
    report = asked.ledger.storage.read(f"{asked.ledger.last_decided(0).folder}/report.html").decode()
    assert "vetoed some of it" in report
    assert "toxic" in report
    evidence = {run.summary["evidence"] for run in asked.ledger.looks()}
    assert evidence == {run.summary["evidence"] for run in looks}, "a veto is no look at the audit"
    assert release_batch(str(asked.path)).source == "rounds/0000/runs/02"
    asked.answer(1)
    later = asked.round()
    standing = CheckpointStore(asked.ledger.storage).load(
        asked.ledger.runs(1)[-1].lock.nodes["membership"].outputs["table"]
    )
    assert set(standing.loc[standing["vetoed"], "perturbation"]) == set(gone)
    batch = read_table(asked.ledger.storage.read(f"{asked.ledger.last_decided(1).folder}/proposal/batch.csv").decode())
    assert not set(gone) & set(batch["perturbation"])
    assert later.decision["bound"] <= 1 - len(gone) / len(standing)


def test_a_rejected_batch_is_released_only_with_a_reason(asked):
    released = release_batch(str(asked.path), 0, "reject", (), "the library plate is at the vendor")
    assert (released.design, released.newly) == (None, True)
    assert "was rejected: the library plate" in why_not(asked.ledger, asked.round())
    with pytest.raises(UserError, match=r"was rejected; got 'the library plate.* say why"):
        release_batch(str(asked.path))
    assert release_batch(str(asked.path), note="it came back").design.endswith("rounds/0001/design")


def test_nothing_changes_a_released_design(asked):
    assert release_batch(str(asked.path)).newly
    before = asked.files()
    assert not release_batch(str(asked.path)).newly
    measured = proposal(asked).query("action == 'measure'")["perturbation"].tolist()
    for decision, veto in (("veto", measured[:1]), ("reject", ())):
        with pytest.raises(UserError, match=f"too late to {decision}"):
            release_batch(str(asked.path), None, decision, veto, "second thoughts")
    assert asked.files() == before


def test_answers_that_make_no_sense_are_refused_in_a_line(asked):
    first = proposal(asked)
    known = first.loc[first["action"] == "measure", "perturbation"].iloc[0]
    outside = sorted(set(asked.values["perturbation"]) - set(first["perturbation"]))[0]
    for decision, veto, note, words in (
        ("veto", [known], " ", "a note is needed"),
        ("veto", [], "why", "cannot veto with 0"),
        ("approve", [known], "", "cannot approve with 1"),
        ("veto", [outside], "why", f"does not measure it; got '{outside}'"),
        ("reject", [], "", "a note is needed"),
    ):
        with pytest.raises(UserError, match=words):
            release_batch(str(asked.path), None, decision, veto, note)
    assert not asked.ledger.storage.list("rounds/0000/answers")


def test_the_command_vetoes_and_answers_as_json(asked):
    known = proposal(asked).query("action == 'measure'")["perturbation"].iloc[0]
    words = ["release", str(asked.path), "--veto", known, "--note", "toxic"]
    said = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert json.loads(said.stdout)["vetoed"] == [known]
    again = CliRunner().invoke(app, words, catch_exceptions=False).stdout
    assert f"Vetoed: {known}. toxic (recorded before)" in again
    assert "Compute the round again" in again
