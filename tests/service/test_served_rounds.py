"""Rounds through the service: an upload starts one, a batch waits for its approval, a dead run is found out."""

import contextlib
import json
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from served import Api, Served, write_campaign

from tasks.campaigns.ledger import Ledger
from tasks.campaigns.reading import read_config
from tasks.checkpoints.storage import Storage
from tasks.labs.replay import LabConfig, ReplayLab
from tasks.labs.rounds import answer_round

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A campaign of its own that asks for approval, and its service."""
    folder = tmp_path_factory.mktemp("rounds")
    path = write_campaign(folder / "lab", approval="required")
    # The heartbeat is as quick as Prefect allows, for the run that dies.
    served = Served(folder / "service", path, PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30")
    try:
        served.wait_for("Ready")
        api = Api(served.url)
        watch = api.named("deployments")["watch"]
        (schedule,) = watch["schedules"]  # only what the tests announce may start anything
        api(f"/deployments/{watch['id']}/schedules/{schedule['id']}", {"active": False}, "PATCH")
        yield served, api, path
    finally:
        served.end()


def ended(api, deployment, count, seconds=400):
    """The newest of `count` runs of a deployment, ended."""
    deadline = time.monotonic() + seconds
    while len(runs := api.runs_of(deployment)) < count:
        assert time.monotonic() < deadline, f"{deployment}: {len(runs)} runs"
        time.sleep(1)
    return api.ended(runs[-1], seconds)


def measure(path, folder):
    """Plate files of what the lab was told to measure."""

    values = pd.read_csv(path.parent / "library.csv").rename(columns={"f0": "value"})[["perturbation", "value"]]
    lab = ReplayLab(values, LabConfig(seed=1, well_noise=0.2, poscon_value=6.0, negcon_value=0.0))
    storage = Ledger.of(read_config(path)).storage
    twin = Storage(str(folder))
    for name in storage.list("rounds"):
        twin.create(name, storage.read(name))
    answer_round(twin, lab, 0)
    return sorted(Path(folder, "inbox").iterdir())


def test_from_the_forms_to_a_released_batch(lab, tmp_path):
    served, api, path = lab
    run = api.start("open", campaign="pilot")
    assert api.ended(run)["state"]["type"] == "COMPLETED"
    plates = measure(path, tmp_path / "instrument")
    done = served.command("upload", path, *plates, "--json")
    assert json.loads(done.stdout)["announced"], done.stderr

    looked = ended(api, "watch", 1)
    assert (looked["state"]["name"], looked["parameters"]) == ("Started", {"campaign": "pilot"}), looked["state"]
    computed = ended(api, "round", 1)
    assert computed["state"]["name"] == "Waits for approval", computed["state"]
    assert computed["name"] == "round 0 of pilot"

    folder = path.parent / "campaigns" / "pilot"
    (proposal,) = folder.glob("rounds/0000/runs/*/proposal/batch.csv")
    row = next(line for line in proposal.read_text().splitlines()[1:] if ",measure," in line)
    gone = row.split(",")[0]
    run = api.start("release", campaign="pilot", decision="veto", veto=[gone], note="toxic")
    assert api.ended(run)["state"]["type"] == "COMPLETED"
    again = ended(api, "round", 2)  # the decision was announced, and the watch started it
    assert again["state"]["name"] == "Waits for approval", again["state"]
    assert not (folder / "rounds/0001/design").exists()
    run = api.start("release", campaign="pilot")
    assert api.ended(run)["state"]["type"] == "COMPLETED"
    assert gone not in (folder / "rounds/0001/design/batch.csv").read_text()
    looked = ended(api, "watch", 3)
    assert "no plate of round 1 has arrived" in looked["state"]["message"]
    events = api("/events/filter", {"filter": {"event": {"name": ["screen.published"]}}})[1]["events"]
    assert {event["payload"]["run"] for event in events} == {1, 2}
    assert "round 0 of pilot  Waits for approval" in served.log.read_text()


def test_a_second_round_of_a_campaign_waits_for_its_turn(lab):
    """Somebody else, here the test, holds the campaign's only slot."""
    _, api, _ = lab
    run = api.start("open", campaign="pilot")
    assert api.ended(run)["state"]["type"] == "COMPLETED"
    slot = {"names": ["hybridscreen-round-pilot"], "slots": 1}
    assert api("/v2/concurrency_limits/increment", {**slot, "mode": "concurrency"})[0] == 200
    run = api.start("round", campaign="pilot")
    deadline = time.monotonic() + 120
    words = "Another round of pilot is under way"
    while not any(
        words in log["message"] for log in api("/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})[1]
    ):
        assert time.monotonic() < deadline, api(f"/flow_runs/{run['id']}")[1]["state"]
        time.sleep(0.5)
    assert api(f"/flow_runs/{run['id']}")[1]["state"]["type"] == "RUNNING"
    api("/v2/concurrency_limits/decrement", slot)
    assert api.ended(run)["state"]["type"] == "COMPLETED"


def test_the_self_test_passes_on_the_worker(lab):
    _, api, _ = lab
    run = api.start("self-test")
    found = api.ended(run)
    assert found["state"]["name"] == "Completed", found["state"]


def test_a_run_whose_process_died_is_marked_as_crashed(lab):
    served, api, _ = lab
    automation = api.named("automations")["hybridscreen-lost-runs"]
    trigger = {**automation["trigger"], "within": 45}
    kept = {name: automation[name] for name in ("name", "description", "enabled", "actions")}
    assert api(f"/automations/{automation['id']}", {**kept, "trigger": trigger}, "PUT")[0] == 204
    run = api.start("self-test")
    while api(f"/flow_runs/{run['id']}")[1]["state"]["type"] != "RUNNING":
        assert served.process.poll() is None
        time.sleep(0.2)
    worker = next(each for each in psutil.Process(served.process.pid).children() if "worker" in each.cmdline())
    worker.suspend()  # as after a power cut: nobody is left who could report the run
    try:
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if each.environ().get("PREFECT__FLOW_RUN_ID") == run["id"]:
                    each.kill()
        found = api.ended(run, 240)
    finally:
        worker.resume()
    assert found["state"]["type"] == "CRASHED"
    assert "Start it again" in found["state"]["message"]
