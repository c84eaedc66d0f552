from pathlib import Path

import pytest
from served import Api, Served, write_campaign


def pytest_collection_modifyitems(items):
    """All on one worker, and first: a service costs half a minute to start and a processor's tenth while it stands."""
    own = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    for item in own:
        item.add_marker(pytest.mark.xdist_group("service"))
    items[:] = own + [item for item in items if item not in own]


@pytest.fixture(scope="package")
def campaign(tmp_path_factory):
    return write_campaign(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="package")
def service(tmp_path_factory, campaign):
    """The whole service, with one campaign."""
    served = Served(tmp_path_factory.mktemp("service"), campaign)
    try:
        served.wait_for("Ready")
        yield served
    finally:
        served.end()


@pytest.fixture(scope="package")
def api(service):
    return Api(service.url)
