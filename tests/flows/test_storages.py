"""The same campaign anywhere: another folder, another process, a bucket."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pilots import N, Pilot

from tasks.errors import UserError

SCRIPT = """
import json, sys
from pathlib import Path
from prefect.testing.utilities import prefect_test_harness
from pilots import Pilot
with prefect_test_harness(server_startup_timeout=400):
    pilot = Pilot(Path(sys.argv[1]), failures=((1, 2),))
    pilot.through(1)
print(json.dumps(sorted([*name, digest] for name, digest in pilot.digests(1).items())))
"""


@pytest.mark.slow
def test_another_process_and_folder_give_the_same_digests(two_rounds, tmp_path):
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "77",
        "OMP_NUM_THREADS": "2",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "elsewhere")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    there = {(node, output): digest for node, output, digest in json.loads(done.stdout.splitlines()[-1])}
    assert there == two_rounds.digests(1)


@pytest.mark.slow
def test_a_bucket_gives_the_same_digests_as_a_folder(two_rounds, tmp_path, s3_url):
    remote = Pilot(tmp_path / "lab", storage=s3_url, failures=((1, 2),))
    result = remote.through(1)
    assert remote.digests(1) == two_rounds.digests(1)
    same = ("rounds/0002/design/platemap.csv", "screens/0002/screen.csv", "rounds/0001/runs/01/round.lock.json")
    local, there = two_rounds.files(), remote.files()
    assert {name: there[name] for name in same} == {name: local[name] for name in same}
    assert result.location == f"{s3_url}/pilot"
    assert remote.round().status == "unchanged"
    assert remote.files() == there


def test_a_damaged_object_in_a_bucket_is_recomputed(tmp_path, s3_url):
    pilot = Pilot(tmp_path / "lab", storage=s3_url, compute__chunk_rows=N)  # one chunk: every object is many requests
    pilot.through(0)
    known = pilot.digests(0)
    ref = pilot.ledger.runs(0)[-1].lock.nodes["fit/000"].outputs["tensors"]
    data = pilot.ledger.storage.read(ref.uri)
    pilot.ledger.storage.write(ref.uri, data[:100] + bytes([data[100] ^ 1]) + data[101:])
    again = pilot.round()
    assert [event.node for event in again.computed] == ["fit/000"]
    assert "damaged" in again.computed[0].reason
    assert pilot.digests(0) == known


def test_a_store_that_ignores_create_if_absent_is_refused_before_anything_is_written(tmp_path, rclone_bucket):
    with pytest.raises(UserError, match="create-if-absent") as caught:
        Pilot(tmp_path / "lab", storage="s3://plates/lab").open()
    assert str(caught.value).startswith("s3://plates/lab/pilot: ")
    assert [path.name for path in rclone_bucket.rglob("*") if path.is_file()] == ["store.json"]


def test_a_wrong_secret_is_one_clear_line(tmp_path, s3_url, monkeypatch):
    if not os.environ.get("HYBRIDSCREEN_REAL_S3"):
        pytest.skip("only a real S3 server checks the secret: make test-s3")
    import s3fs

    from tasks.checkpoints.storage import StorageError

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError) as caught:
        Pilot(tmp_path / "lab", storage=s3_url).open()
    assert "\n" not in str(caught.value)
    assert "not-the-secret" not in str(caught.value)
    s3fs.S3FileSystem.clear_instance_cache()
