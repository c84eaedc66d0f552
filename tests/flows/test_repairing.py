"""`verify --repair` and `gc`: what is lost is named and computed again; what nothing needs goes, and nothing else."""

import json
import os
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from pilots import computed
from typer.testing import CliRunner

from flows.cli import app
from flows.collection import collect_campaign
from flows.verifying import verify_campaign
from tasks.campaigns.references import folder_of, referenced_folders


def invoke(*arguments, status=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stdout


def outside_of_checkpoints(pilot):
    return {path: digest for path, digest in pilot.files().items() if not path.startswith("checkpoints/")}


def root(pilot):
    return pilot.folder / "campaigns/pilot"


def record(pilot, number, node, run=-1):
    return pilot.ledger.runs(number)[run].lock.nodes[node]


def flip(pilot, ref):
    path = root(pilot) / ref.uri
    path = next(p for p in sorted(path.rglob("*")) if p.is_file()) if path.is_dir() else path
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_repair_computes_again_what_several_rounds_have_lost_and_publishes_nothing(two):
    before, known = two.digests(0) | two.digests(1), outside_of_checkpoints(two)
    labels, lost = record(two, 0, "labels"), record(two, 1, "forward")
    flip(two, labels.outputs["training"])  # of an earlier round; the newest one cannot compute it
    flip(two, record(two, 1, "fit/000").outputs["tensors"])
    shutil.rmtree(root(two) / folder_of(lost))

    told = json.loads(invoke("verify", two.path, "--json", status=1))
    by_folder = {damage["folder"]: damage for damage in told["checkpoints"]}
    assert len(by_folder) == len(told["problems"]) == 3
    assert by_folder[folder_of(labels)]["used"] == ["labels of round 0 run 01"]
    fed = by_folder[folder_of(labels)]["feeds"]
    assert any("assess/replay" in line and line.endswith("further steps rest") for line in fed if "round 0" in line)
    assert [line for line in fed if "round 1 run 01" in line], "what another round reads is told too"
    assert by_folder[folder_of(lost)]["problems"] == [f"checkpoint {folder_of(lost)} is missing"]
    assert "omega/cobias" in by_folder[folder_of(lost)]["feeds"][0]
    assert json.loads(invoke("verify", two.path, "--json", status=1)) == told

    text = invoke("verify", two.path, "--repair")
    assert "all as recorded" in text
    for line in ("labels of round 0", "fit/000 of round 1", "forward of round 1"):
        assert f"repaired: {line}\n" in text
    assert two.digests(0) | two.digests(1) == before
    assert outside_of_checkpoints(two) == known
    assert computed(two.round()) == set()


def test_what_an_earlier_configuration_made_is_repaired_with_it(two):
    two.write(batch__operator="calibrated")
    two.round()
    first = record(two, 1, "omega/00000", run=0)
    assert first.key != record(two, 1, "omega/00000").key
    flip(two, first.outputs["diagonal"])
    known = outside_of_checkpoints(two)
    assert "repaired: omega/00000 of round 1\n" in invoke("verify", two.path, "--repair")
    assert outside_of_checkpoints(two) == known


def test_what_cannot_be_computed_again_stays_named(two):
    flip(two, record(two, 1, "fit/000").outputs["tensors"])
    (root(two) / "screens/0001/screen.csv").write_text("gone")
    (root(two) / two.ledger.designs()[0].platemap.uri).write_text("other")  # every round reads it
    text = invoke("verify", two.path, "--repair", status=1)
    assert "problems: 3" in text
    assert "screens/0001/screen.csv is damaged" in text
    assert "repaired" not in text


def make_old(pilot, days):
    """All checkpoints as if they had been written so many days ago."""
    then = datetime.now(UTC) - timedelta(days=days)
    for path in (root(pilot) / "checkpoints").rglob("*"):
        if path.is_file():
            if path.name.startswith("manifest"):
                told = json.loads(path.read_bytes())
                path.write_text(json.dumps(told | {"ended": then.isoformat()}))
            os.utime(path, (then.timestamp(), then.timestamp()))


def test_gc_tells_then_withdraws_then_removes_and_touches_only_what_no_run_names(two):
    stray = two.copy(two.folder.parent / "other")
    stray.write(ensemble__epochs=24)
    stray.round()
    shutil.rmtree(root(stray) / "rounds/0001/runs/02")  # as if it had died before it ended
    make_old(stray, 100)
    before, needed = stray.files(), referenced_folders(stray.ledger.storage)
    told = json.loads(invoke("gc", stray.path, "--json"))
    assert stray.files() == before
    assert not told["deleted"]
    assert told["removed"] == []
    assert {"fit", "predict"} <= {each["folder"].split("/")[1] for each in told["withdrawn"]}
    assert not {each["folder"] for each in told["withdrawn"]} & needed
    assert "Nothing was changed. To do it: hybridscreen gc" in invoke("gc", stray.path)

    now = datetime.now(UTC)
    collect_campaign(stray.config, 7, delete=True, now=now - timedelta(days=10))
    assert f"{len(told['withdrawn'])} withdrawn" not in invoke("gc", stray.path, "--delete")  # the clock says: just now
    gone = collect_campaign(stray.config, 7, delete=True, now=now + timedelta(days=10))
    assert [each["folder"] for each in gone.removed] == [each["folder"] for each in told["withdrawn"]]
    after = stray.files()
    kept = {path: digest for path, digest in before.items() if "/".join(path.split("/")[:4]) in needed}
    kept |= {path: digest for path, digest in before.items() if not path.startswith("checkpoints/")}
    assert {path: after.get(path) for path in kept} == kept
    assert len(after) < len(before)
    assert verify_campaign(stray.config).problems == []


@pytest.mark.slow
def test_a_round_beside_a_clean_up_that_never_rests_gives_the_same(two):
    """Half of what a dead round left is withdrawn, and due to be removed, when the round is started again."""
    two.answer(1)
    two.round()
    known = two.digests(1)
    shutil.rmtree(root(two) / "rounds/0001/runs/02")
    shutil.rmtree(root(two) / "screens/0003")
    make_old(two, 60)
    withdrawn = collect_campaign(two.config, 7, delete=True, now=datetime.now(UTC) - timedelta(days=20)).withdrawn
    assert len(withdrawn) > 10
    for each in withdrawn:  # by the storage's clock too
        for path in (root(two) / each["folder"]).iterdir():
            os.utime(path, (time.time() - 20 * 86400,) * 2)
    over, collected = threading.Event(), []

    def collect():
        while not over.is_set():
            collected.append(collect_campaign(two.config, 7, delete=True))

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        result = two.round()
    finally:
        over.set()
        thread.join()
    assert result.status == "decided"
    assert sum(len(each.removed) for each in collected) > 0
    assert two.digests(1) == known
    assert verify_campaign(two.config).problems == []
    assert two.round().status == "unchanged"
    assert computed(two.round()) == set()
