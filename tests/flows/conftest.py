"""Fixtures of the flows: a Prefect server, and small campaigns."""

import pytest
from pilots import Pilot

EMIT = "prefect.task_engine.emit_task_run_state_change_event"


@pytest.fixture(scope="session", autouse=True)
def prefect_server():
    """One real Prefect server for all flows of this process, told no more than a test looks at.

    To write down every state of every task costs more than a small round does: see `recorded`. At its end a flow waits
    until the thread that sends heartbeats wakes up, up to a second.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_ENABLED: False}
    with (
        temporary_settings(updates=quiet),
        prefect_test_harness(server_startup_timeout=400),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(EMIT, lambda *_, **__: None)
        yield


@pytest.fixture
def recorded(monkeypatch):
    """The server keeps the states of tasks, as it does outside of tests."""
    from prefect.utilities.engine import emit_task_run_state_change_event

    monkeypatch.setattr(EMIT, emit_task_run_state_change_event)


@pytest.fixture
def pilot(tmp_path):
    return Pilot(tmp_path / "lab")


@pytest.fixture
def make_pilot(tmp_path):
    return lambda name="lab", **given: Pilot(tmp_path / name, **given)


@pytest.fixture(scope="session")
def two_rounds(tmp_path_factory):
    """Rounds 0 and 1 computed; in round 1 a plate failed and has not been repeated yet."""
    pilot = Pilot(tmp_path_factory.mktemp("campaigns") / "two", failures=((1, 2),))
    pilot.through(1)
    return pilot


@pytest.fixture
def two(two_rounds, tmp_path):
    """A copy of `two_rounds` to change."""
    return two_rounds.copy(tmp_path / "copy")
