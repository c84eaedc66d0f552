"""What Prefect shows of a round."""

import time

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.sorting import FlowRunSort


def newest_round():
    """State names of the newest round's tasks; the server records them a moment after the flow has ended."""
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(like_="round")),
            sort=FlowRunSort.START_TIME_DESC,
            limit=1,
        )
        for _ in range(120):
            tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [run.id]}), limit=200)
            if tasks and all(task.state is not None and task.state.is_final() for task in tasks):
                break
            time.sleep(0.25)
    return run, {task.name: task.state.name for task in tasks}


@pytest.mark.usefixtures("recorded")
def test_hits_read_cached_and_computations_completed(two):
    two.round()
    run, states = newest_round()
    assert run.state.name == "Completed"
    assert set(states.values()) == {"Cached"}
    two.answer(1)
    two.round()
    _, states = newest_round()
    assert states["plate pilot-R01-P02.2"] == "Completed"
    assert states["plate pilot-R01-P01.1"] == "Cached"
    assert states["fit/000"] == "Completed"
    assert states["reference/fit/000"] == "Cached"


@pytest.mark.usefixtures("recorded")
def test_a_failed_plate_reads_as_its_own_reason(make_pilot):
    pilot = make_pilot(failures=((0, 1),), quality__min_passed=0.9)
    pilot.through(0)
    run, states = newest_round()
    assert states["plate pilot-R00-P01.1"] == "Plate failed"
    assert states["plate pilot-R00-P02.1"] == "Completed"
    with get_client(sync_client=True) as client:
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [run.id]}), limit=200)
    (message,) = (task.state.message for task in tasks if task.name == "plate pilot-R00-P01.1")
    assert message.startswith("zprime")


SHOWN = {
    "pilot-verdict": "Go on",
    "pilot-plates": "zprime",  # why a plate failed
    "pilot-report": "report.html",
    "pilot-proposal": "sample wells",
    "pilot-batch": "CPD-",
}


def test_artifacts_show_verdict_plates_report_and_batch(two):
    two.round()
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=list(SHOWN))))
    for key, word in SHOWN.items():
        assert any(word in str(artifact.data) for artifact in found if artifact.key == key), key


def test_a_run_is_named_after_campaign_and_round_and_ends_in_words(make_pilot):
    pilot = make_pilot(approval="required")
    pilot.open()
    pilot.round()
    run, _ = newest_round()
    assert (run.name, run.state.name) == ("round 0 of pilot", "Waits for plates")
    assert run.state.message == "waits: 0 of 3 plates have passed, 50% are needed"
