"""The processes of the stack act as one: servers, worker, Dask, bucket."""

import os
import subprocess

import pytest
from stack import VALUES, Stack, answers, asked, needs_servers, servers, wait_for

from tasks.campaigns.compute_settings import ComputeSection
from tasks.ensembles.cluster import connect, refuse_others

pytestmark = [pytest.mark.slow, needs_servers]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    made = Stack(tmp_path_factory.mktemp("stack"))
    with servers(made):
        yield made


def test_migrating_again_changes_nothing(stack):
    def known():
        kinds = ("deployments", "flows", "work_pools", "block_documents")
        return {kind: sorted(found["id"] for found in asked(stack, f"{kind}/filter", {})) for kind in kinds}

    before = known()
    stack.run("prefect-migrate")
    assert known() == before
    assert before["deployments"]


def test_health_needs_no_password_and_the_api_does(stack):
    for server in ("server", "services"):
        address = f"http://127.0.0.1:{stack.ports[server]}"
        assert answers(f"{address}/api/health") == 200
        assert answers(f"{address}/api/admin/version") == 401
        assert answers(f"{address}/api/admin/version", "lab:wrong") == 401
        assert answers(f"{address}/api/admin/version", VALUES["API_AUTH_STRING"]) == 200
        assert answers(f"{address}/v2/") == 200  # the pages, unpacked outside the package
    assert list((stack.folder / "home" / "ui").iterdir())


def test_deploying_again_gives_one_of_each(stack):
    first = asked(stack, "deployments/filter", {})
    stack.run("prefect-deploy")
    assert {found["id"] for found in asked(stack, "deployments/filter", {})} == {found["id"] for found in first}
    assert {found["name"] for found in first} >= {"open", "round", "release", "repeat-plates", "watch", "self-test"}
    assert {found["work_pool_name"] for found in first} == {"hybridscreen"}
    assert len(asked(stack, "deployments/filter", {}, server="services")) == len(first)


def test_the_worker_is_healthy_and_known(stack):
    health = str(stack.ports["health"])
    with stack.start("prefect-worker", PREFECT_WORKER_WEBSERVER_PORT=health, PREFECT_WORKER_WEBSERVER_HOST="127.0.0.1"):
        wait_for(lambda: answers(f"http://127.0.0.1:{health}/health") == 200)
        wait_for(lambda: asked(stack, "work_pools/hybridscreen/workers/filter", {}))
    (worker,) = asked(stack, "work_pools/hybridscreen/workers/filter", {})
    assert worker["status"] == "ONLINE"


def test_redis_holds_what_the_servers_share(stack):
    keys = subprocess.run(
        ["redis-cli", "-p", str(stack.ports["redis"]), "keys", "*"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    assert "prefect" in keys or "events" in keys


def test_dask_answers_and_takes_work(tmp_path):
    made = Stack(tmp_path)
    with made.start("dask-scheduler"), made.start("dask-worker"):
        for page in ("dask-page", "dask-worker-page"):
            wait_for(lambda page=page: answers(f"http://127.0.0.1:{made.ports[page]}/health") == 200)
        with connect(ComputeSection(dask=made.here("tcp://dask-scheduler:8786"))) as client:
            refuse_others(client)
            assert client.submit(sum, (1, 2)).result(timeout=60) == 3


def test_the_bucket_is_made_once(tmp_path, s3_endpoint):
    import s3fs

    made = Stack(tmp_path)
    command = made.command("store-bucket")
    environment = made.environment("store-bucket") | {
        name: os.environ[name] for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    }
    for _ in range(2):
        subprocess.run(command, env=environment, check=True, timeout=60)
    assert s3fs.S3FileSystem().exists("hybridscreen")
