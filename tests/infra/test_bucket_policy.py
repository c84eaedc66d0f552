"""The bucket's policy: what it says holds on a real S3 server, tried for every cell of the table in infra/README.md."""

import itertools
import json
import os
import re
import secrets
import string
import subprocess
import uuid
from functools import partial

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from infra_files import INFRA

ROLES = ("lab", "worker", "pipeline", "reader", "gc")
VALUES = {"ACCOUNT": "", "PREFIX": "lab", "CAMPAIGN": "kinase"}
#: A file of every row of the table.
FILES = {
    "`store.json`": "kinase/store.json",
    "`revisions/`": "kinase/revisions/0001.yaml",
    "`library/`": "kinase/library/manifest.json",
    "`inbox/`": "kinase/inbox/plate 1.csv",
    "`checkpoints/`, payloads": "kinase/checkpoints/fit/ab/abc/tensors-0123.safetensors",
    "`checkpoints/`, manifests": "kinase/checkpoints/fit/ab/abc/manifest.2.json",
    "`rounds/NNNN/design/`": "kinase/rounds/0001/design/design.json",
    "`rounds/`, the rest": "kinase/rounds/0001/runs/01/round.lock.json",
    "`screens/`": "kinase/screens/0001/manifest.json",
    "another campaign": "kinase2/screens/0001/manifest.json",
}
DENIED = ("AccessDenied", "403")


def table():
    """What the README says: {(row, role): words}."""
    lines = iter((INFRA / "README.md").read_text(encoding="utf-8").splitlines())
    head = next(line for line in lines if line.startswith("| below `<prefix>/<campaign>/`"))
    roles = [name.strip() for name in head.split("|")[2:-1]]
    cells = {}
    for line in itertools.islice(lines, 1, None):
        if not line.startswith("|"):
            return cells
        row, *words = [cell.strip() for cell in line.split("|")[1:-1]]
        cells |= {
            (row, role): set(filter(None, re.split(r",\s*", said))) for role, said in zip(roles, words, strict=True)
        }
    return cells


def policy(bucket, name="policy.json"):
    text = (INFRA / "bucket" / name).read_text(encoding="utf-8")
    return json.loads(string.Template(text).substitute(VALUES, BUCKET=bucket))


def as_list(value):
    return value if isinstance(value, list) else [value]


def test_the_table_has_every_row_and_role():
    cells = table()
    assert set(cells) == set(itertools.product(FILES, ROLES))
    assert set().union(*cells.values()) == {"list", "read", "write", "delete"}


@pytest.mark.parametrize("name", ["policy.json", "create-only.json"])
def test_everybody_is_named_and_nobody_gets_more_than_objects(name):
    found = policy("bucket", name)
    for statement in found.get("Statement", [found]):
        users = as_list(statement["Principal"]["AWS"])
        assert {user.rsplit("/", 1)[1].removeprefix("hybridscreen-") for user in users} <= set(ROLES)
        actions = set(as_list(statement["Action"]))
        assert actions <= {f"s3:{it}Object" for it in ("Get", "Put", "Delete")} | {
            "s3:ListBucket",
            "s3:AbortMultipartUpload",
        }
        if "s3:DeleteObject" in actions:
            assert users == ["arn:aws:iam:::user/hybridscreen-gc"]
        for resource in as_list(statement["Resource"]):
            whole = resource == "arn:aws:s3:::bucket" and actions == {"s3:ListBucket"}
            assert whole or resource.startswith("arn:aws:s3:::bucket/lab/kinase/")


def test_what_may_only_be_created_is_what_the_pipeline_creates(tmp_path, monkeypatch):
    """The statement for stores that know the condition would stop a write of any other name."""
    from tasks.checkpoints.checkpointer import Checkpointer
    from tasks.checkpoints.keys import Stage
    from tasks.checkpoints.payloads import Payload
    from tasks.checkpoints.storage import Storage
    from tasks.checkpoints.store import CheckpointStore

    ways = {"write": [], "create": []}
    for way, names in ways.items():
        kept = getattr(Storage, way)
        monkeypatch.setattr(
            Storage, way, lambda self, path, data, k=kept, n=names: (n.append(path), k(self, path, data))[1]
        )
    cp = Checkpointer(CheckpointStore(Storage(str(tmp_path))))
    cp.run("a", Stage("fit", 1), lambda: {"x": Payload("json", 1)}, outputs=("x",))
    patterns = [
        re.compile(re.escape(resource.split("/kinase/")[1]).replace(r"\*", ".*"))
        for resource in policy("bucket", "create-only.json")["Resource"]
    ]
    assert not [path for path in ways["write"] if any(pattern.fullmatch(path) for pattern in patterns)]
    assert [path for path in ways["create"] if not any(pattern.fullmatch(path) for pattern in patterns)] == []
    assert len(ways["write"]) == len(ways["create"]) == 1


@pytest.fixture(scope="module")
def admin():
    command = os.environ.get("HYBRIDSCREEN_RGW_ADMIN")
    if not command:
        pytest.skip("needs users of a real S3 server: make test-s3")
    return command.split()


@pytest.fixture(scope="module")
def clients(admin):
    """A client for each role, for nobody, and for the bucket's owner."""
    found = {"owner": boto3.client("s3")}
    for role in ROLES:
        key, secret = f"key-{role}-{uuid.uuid4().hex[:8]}", secrets.token_hex(12)
        name = [f"--uid=hybridscreen-{role}", f"--display-name={role}", f"--access-key={key}", f"--secret={secret}"]
        subprocess.run([*admin, "user", "create", *name], check=True, capture_output=True, timeout=120)
        found[role] = boto3.client("s3", aws_access_key_id=key, aws_secret_access_key=secret)
    found["nobody"] = boto3.client("s3", config=Config(signature_version=UNSIGNED))
    return found


@pytest.fixture(scope="module")
def bucket(clients):
    """A bucket that keeps versions, with a file in every row, under the policy."""
    name, owner = f"screens-{uuid.uuid4().hex[:8]}", clients["owner"]
    owner.create_bucket(Bucket=name)
    owner.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for file in FILES.values():
        owner.put_object(Bucket=name, Key=f"lab/{file}", Body=b"first")
    owner.put_bucket_policy(Bucket=name, Policy=json.dumps(policy(name)))
    return name


def allowed(call):
    try:
        refused = call().get("Errors")  # where it is about several files
    except ClientError as error:
        if error.response["Error"]["Code"] not in DENIED:
            raise
        return False
    return not refused


def tries(client, bucket, key, role):
    """What to try on a file, by the word of the table; each must agree with it."""
    at = {"Bucket": bucket, "Key": key}
    number = 10 + [*ROLES, "nobody"].index(role)
    beside = {"Bucket": bucket, "Key": re.sub(r"([^/.]+)(\.\d+)?(\.\w+)$", rf"\1.{number}\3", key)}
    return [
        ("list", partial(client.list_objects_v2, Bucket=bucket, Prefix=key.rsplit("/", 1)[0] + "/")),
        ("read", partial(client.get_object, **at)),
        ("read", partial(client.head_object, **at)),
        ("write", partial(client.put_object, **at, Body=b"again")),
        ("write", partial(client.put_object, **beside, Body=b"new", IfNoneMatch="*")),
        ("write", partial(client.create_multipart_upload, **beside)),
        ("delete", partial(client.delete_object, **at)),
        ("delete", partial(client.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": key}]})),
    ]


@pytest.mark.parametrize("role", [*ROLES, "nobody"])
@pytest.mark.parametrize("row", FILES)
def test_every_cell_of_the_table(clients, bucket, row, role):
    key = f"lab/{FILES[row]}"
    said = table()[row, role] if role in ROLES else set()
    for word, call in tries(clients[role], bucket, key, role):
        if word in said and (row == "`store.json`" and call.keywords.get("Key") not in (key, None)):
            continue  # the right is for this one name
        found = allowed(call)
        if word in said and "Delete" in call.keywords:
            continue  # Ceph 16 grants no policy's user to delete several files in one request; one by one is what we do
        assert found == (word in said), f"{role} may {'' if found else 'not '}{word} {key} ({call.func.__name__})"
        clients["owner"].put_object(Bucket=bucket, Key=key, Body=b"first")


def test_nobody_but_the_owner_changes_the_bucket_or_touches_an_earlier_version(clients, bucket):
    key = f"lab/{FILES['`screens/`']}"
    version = clients["owner"].put_object(Bucket=bucket, Key=key, Body=b"first")["VersionId"]
    for role in (*ROLES, "nobody"):
        client = clients[role]
        whole = {"Bucket": bucket}
        for call in (
            partial(client.list_object_versions, **whole),
            partial(client.delete_object, **whole, Key=key, VersionId=version),
            partial(client.put_object_acl, **whole, Key=key, ACL="public-read"),
            partial(client.put_bucket_versioning, **whole, VersioningConfiguration={"Status": "Suspended"}),
            partial(client.get_bucket_policy, **whole),
            partial(client.put_bucket_policy, **whole, Policy=json.dumps(policy(bucket))),
            partial(client.delete_bucket_policy, **whole),
            partial(client.delete_bucket, **whole),
        ):
            assert not allowed(call), f"{role}: {call.func.__name__}"
    assert not allowed(partial(clients["reader"].list_objects_v2, Bucket=bucket))
    assert not allowed(partial(clients["lab"].list_objects_v2, Bucket=bucket, Prefix="lab/kinase/"))


def test_what_is_overwritten_with_stolen_keys_of_the_pipeline_is_still_there(clients, bucket):
    """A store that does not know the condition lets it overwrite; the earlier version stays out of its reach."""
    key = f"lab/{FILES['`screens/`']}"
    version = clients["owner"].put_object(Bucket=bucket, Key=key, Body=b"published")["VersionId"]
    clients["pipeline"].put_object(Bucket=bucket, Key=key, Body=b"forged")
    assert not allowed(partial(clients["pipeline"].delete_object, Bucket=bucket, Key=key, VersionId=version))
    kept = clients["owner"].get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read()
    assert kept == b"published"
