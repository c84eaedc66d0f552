"""Settings that hold for every test: no telemetry, no server but the test's own, one thread for numerics."""

import logging
import os
import uuid
from pathlib import Path

os.environ.update(
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    PREFECT_LOGGING_LEVEL="ERROR",
    PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT="false",
)
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# Nothing is timed in a test: on a busy machine the first example of one can take longer than hypothesis allows.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

S3_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture(scope="session")
def s3_endpoint():
    """A server that speaks S3, in this process, for the quick tests; `make test-s3` tries a real one."""
    if all(os.environ.get(name) for name in S3_VARIABLES):
        yield os.environ["AWS_ENDPOINT_URL"]
        return
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ.update(zip(S3_VARIABLES, (f"http://{host}:{port}", "test-key", "test-secret"), strict=True))
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    yield os.environ["AWS_ENDPOINT_URL"]
    server.stop()
    for name in S3_VARIABLES:
        del os.environ[name]


@pytest.fixture
def s3_url(s3_endpoint):
    """A new bucket."""
    import s3fs

    bucket = f"campaigns-{uuid.uuid4().hex[:12]}"
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}/lab"


@pytest.fixture(scope="module")
def faulty_s3(s3_endpoint):
    """A proxy in front of the S3 server, which fails as it is told; the environment names it as endpoint."""
    import s3fs
    from services.faulty_s3 import FaultyS3

    with FaultyS3(s3_endpoint) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.url)
        s3fs.S3FileSystem.clear_instance_cache()  # its keys do not hold the environment
        yield proxy
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def rclone_bucket(tmp_path, monkeypatch):
    """Folder of a bucket of rclone's S3 server, which checks signatures and ignores `If-None-Match`."""
    import s3fs
    from services.rclone_s3 import rclone_s3

    bucket = tmp_path / "buckets" / "plates"
    bucket.mkdir(parents=True)
    with rclone_s3(bucket.parent) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield bucket
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(params=["local", "s3"])
def storage_url(request, tmp_path):
    """Where a campaign may live: a folder, and a bucket."""
    return str(tmp_path / "storage") if request.param == "local" else request.getfixturevalue("s3_url")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real screens; where there is none, what needs it is left out."""
    folder = os.environ.get("HYBRIDSCREEN_DATA")
    if not folder:
        pytest.skip("HYBRIDSCREEN_DATA is not set: no real screens here")
    return Path(folder)


@pytest.fixture(scope="module", name="client")
def two_workers():
    """Of a Dask cluster of two processes on loopback."""
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
