"""No secret is left anywhere that others read; a wrong one is one clear line; the API asks for its password."""

import base64
import os
import subprocess
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from served import COMMAND, Api, Served, environment, write_campaign

from tasks.checkpoints.storage import Storage

IN_ENVIRONMENT, IN_BLOCK = "En3+v/secret=Q7w", "Bl0+ck/secret=Z9x"
LOGIN = "lab:H7+pass/word=k2"
BUCKET = "secrets"


def forms(secret):
    """How a secret may look in a file: itself, escaped, and in Base64 wherever it begins in what was encoded."""
    yield from (text.encode() for text in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret)))
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode())
        yield encoded[4 if before else 0 : -4]


def leaks(contents, secrets):
    return [
        (name, secret)
        for name, content in contents.items()
        for secret in secrets
        if any(form in content for form in forms(secret))
    ]


def test_the_search_finds_what_is_there():
    secret = IN_BLOCK
    for text in (secret, quote(secret, safe=""), base64.b64encode(f"key:{secret}".encode()).decode()):
        assert leaks({"log": f"it is {text} here".encode()}, [secret]) == [("log", secret)]
    assert leaks({"log": b"nothing"}, [secret]) == []


def command(*words, **variables):
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.parametrize(
    ("name", "wrong"), [("AWS_SECRET_ACCESS_KEY", IN_ENVIRONMENT), ("AWS_ACCESS_KEY_ID", "nobody")]
)
def test_a_wrong_credential_is_one_clear_line(tmp_path, rclone_bucket, name, wrong):
    path = write_campaign(tmp_path, campaign={"name": "pilot", "seed": 5, "storage": "s3://plates/lab"})
    for word in ("status", "round"):
        done = command(word, path, **{name: wrong})
        assert done.returncode == 1, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("hybridscreen: s3://plates/lab/pilot/")
        assert "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in line
        assert not leaks({"stdout": done.stdout.encode(), "stderr": done.stderr.encode()}, [IN_ENVIRONMENT])
    assert not list(rclone_bucket.iterdir())


@pytest.fixture(scope="module")
def bucket(s3_endpoint):
    import s3fs

    s3fs.S3FileSystem().mkdir(BUCKET)
    return f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def service(tmp_path_factory, bucket):
    """A service with a password; its runs have the store from a block, its commands from the environment."""
    folder = tmp_path_factory.mktemp("secrets")
    path = write_campaign(folder / "lab", campaign={"name": "pilot", "seed": 5, "storage": f"{bucket}/lab"})
    served = Served(
        folder / "service",
        path,
        PREFECT_SERVER_API_AUTH_STRING=LOGIN,
        PREFECT_API_AUTH_STRING=LOGIN,
        AWS_SECRET_ACCESS_KEY=IN_ENVIRONMENT,
    )
    try:
        served.wait_for("Ready")
        yield served, Api(served.url, LOGIN), path
    finally:
        served.end()


def set_block(api, **fields):
    """Fill in the block's form, as a person does in the UI."""
    data = {"region": "us-east-1", "access_key": "block-key", "secret_key": IN_BLOCK, **fields}
    kind = api("/block_types/slug/hybridscreen-store")[1]["id"]
    found = api("/block_types/slug/hybridscreen-store/block_documents")[1]
    if found:
        path, method = f"/block_documents/{found[0]['id']}", "PATCH"
        body = {"data": data, "merge_existing_data": False}
    else:
        (schema,) = api("/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind]}}})[1]
        path, method = "/block_documents/", "POST"
        body = {"name": "default", "block_type_id": kind, "block_schema_id": schema["id"], "data": data}
    status, said = api(path, body, method)
    assert status in (201, 204), said


@pytest.mark.slow
def test_a_client_without_the_password_is_refused(service):
    served, api, path = service
    assert api("/admin/version")[0] == 200
    for stranger in (Api(served.url), Api(served.url, "lab:wrong")):
        assert stranger("/health")[0] == 200
        assert stranger("/admin/version")[0] == 401
        assert stranger("/deployments/filter", {})[0] == 401
    for word in ("deploy", "open"):
        for wrong in (None, "lab:wrong"):
            done = served.command(word, path, PREFECT_API_AUTH_STRING=wrong, PREFECT_SERVER_API_AUTH_STRING=None)
            assert done.returncode == 2, done.stderr
            (line,) = done.stderr.splitlines()
            assert "the Prefect server refuses the login. Set PREFECT_API_AUTH_STRING" in line


@pytest.mark.slow
def test_secrets_are_left_nowhere(service, bucket, tmp_path):
    served, api, path = service
    set_block(api, endpoint=os.environ["AWS_ENDPOINT_URL"])
    said = [served.command("deploy")]
    assert "Runs get from the block: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY" in said[0].stdout, said[0].stderr
    opened = api.ended(api.start("open", campaign="pilot"))
    assert opened["state"]["type"] == "COMPLETED", opened["state"]
    said.append(served.command("round", path))  # from the environment
    assert said[-1].returncode == 1, said[-1].stderr
    assert "waits" in said[-1].stdout
    waits = api.ended(api.start("round", campaign="pilot"))
    assert waits["state"]["name"] == "Waits for plates", waits["state"]

    # A wrong secret in the block: a server that checks it says no, and the run says so in one line.
    from services.rclone_s3 import KEY, rclone_s3

    (tmp_path / "buckets" / BUCKET).mkdir(parents=True)
    with rclone_s3(tmp_path / "buckets") as there:
        set_block(api, endpoint=there["AWS_ENDPOINT_URL"], access_key=KEY)
        refused = api.ended(api.start("round", campaign="pilot"))
    assert refused["state"]["type"] == "FAILED"
    assert "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in refused["state"]["message"]
    assert "\n" not in refused["state"]["message"]
    set_block(api, endpoint=os.environ["AWS_ENDPOINT_URL"])

    storage = Storage(bucket)
    contents = storage.read_many(storage.list())
    assert "lab/pilot/store.json" in contents
    contents |= {str(file): file.read_bytes() for file in Path(served.folder).rglob("*") if file.is_file()}
    assert any(name.endswith("prefect.db") for name in contents)
    assert any(name.endswith("worker.log") for name in contents)
    contents |= {str(done.args): (done.stdout + done.stderr).encode() for done in said}
    assert leaks(contents, [IN_ENVIRONMENT, IN_BLOCK, LOGIN.split(":")[1]]) == []
