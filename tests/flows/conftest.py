"""Fixtures of the flows: a Prefect server, and small campaigns."""

import pytest
from pilots import Pilot


@pytest.fixture(scope="session", autouse=True)
def prefect_server():
    """One real Prefect server for all flows of this process."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=400):
        yield


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
