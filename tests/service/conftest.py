import pytest
from served import Api, Served, write_campaign


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
