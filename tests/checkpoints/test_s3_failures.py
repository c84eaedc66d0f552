"""What the store's failures do to a campaign's files: on a real socket, in front of a real server."""

import logging
import random
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.storage import AlteredFile, Storage, StorageError
from tasks.checkpoints.store import CheckpointStore

ATTEMPTS = 4
CALLS = {
    "read": (lambda storage: storage.read("a/file"), b"content"),
    "read_many": (lambda storage: storage.read_many(["a/file", "none"]), {"a/file": b"content"}),
    "write": (lambda storage: storage.write("a/file", b"content"), None),
    "create": (lambda storage: storage.create("a/new", b"new"), True),
    "create again": (lambda storage: storage.create("a/file", b"content"), False),
    "list": (lambda storage: storage.list("a"), ["a/file"]),
    "folders": (lambda storage: storage.folders(""), ["a"]),
    "size": (lambda storage: storage.size("a/file"), 7),
}


@pytest.fixture
def storage(faulty_s3, monkeypatch):
    """A folder behind a proxy that can fail, with a file in it. Pauses are as short as their drawing allows."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", str(ATTEMPTS))
    monkeypatch.setattr(random, "random", lambda: 0.0)
    faulty_s3.heal()
    storage = Storage(faulty_s3.folder())
    storage.write("a/file", b"content")
    faulty_s3.heal()
    return storage


@pytest.mark.parametrize("kind", ["internal error", "slow down", "too many requests", "reset", "answer lost"])
@pytest.mark.parametrize("call", CALLS)
def test_a_few_failures_change_no_answer(storage, faulty_s3, call, kind):
    do, answer = CALLS[call]
    faulty_s3.fail(kind, times=ATTEMPTS - 1)
    assert do(storage) == answer
    assert faulty_s3.requests.total() >= ATTEMPTS
    assert storage.read("a/file") == b"content"


@pytest.mark.parametrize("kind", ["internal error", "slow down", "reset"])
@pytest.mark.parametrize("call", CALLS)
def test_a_store_that_stays_down_ends_in_one_line(storage, faulty_s3, call, kind):
    faulty_s3.fail(kind)
    with pytest.raises(StorageError) as caught:
        CALLS[call][0](storage)
    line = str(caught.value)
    assert line.startswith(f"{storage.url}/")
    assert re.search(rf"Asked {ATTEMPTS} times in \d s\. When the store answers again, start the same once more", line)
    assert "\n" not in line
    assert "test-secret" not in line


@pytest.mark.parametrize("name", ["read", "list", "folders"])
def test_what_breaks_off_on_its_way_is_asked_for_anew(storage, faulty_s3, name):
    do, answer = CALLS[name]
    faulty_s3.fail("truncated", times=2, method="GET")
    assert do(storage) == answer
    faulty_s3.fail("truncated", method="GET")
    with pytest.raises(StorageError, match=rf"Asked {ATTEMPTS} times"):
        do(storage)


def test_a_bit_that_is_lost_on_its_way_is_asked_for_anew_and_never_believed(storage, faulty_s3):
    assert storage.create("claim", b'{"risk": 0.05}')
    faulty_s3.fail("flipped", times=2, method="GET")
    assert storage.read("claim") == b'{"risk": 0.05}'
    faulty_s3.fail("flipped", method="GET")
    with pytest.raises(AlteredFile, match=r"claim: what arrives is not what was written. Asked 4 times"):
        storage.read("claim")


def test_a_manifest_that_arrives_altered_is_no_checkpoint(storage, faulty_s3):
    """One digit of it may still be JSON: it is damage, told as the reason, and the next generation follows."""
    store, facts = CheckpointStore(storage), {"why": "", "started": "", "ended": "", "seconds": 0.0, "worker": ""}
    facts |= {"node": "a", "version": 1, "params": {}, "inputs": {}, "seed": None, "flow_run": None, "versions": {}}
    stored = store.save("fit", "ab", {"out": Payload("json", 1)}, facts)
    faulty_s3.fail("flipped", method="GET", name="manifest.json")
    found = store.find("fit", "ab")
    assert (found.manifest, found.generation) == (None, 2)
    assert found.problem == "checkpoints/fit/ab/ab/manifest.json is damaged"
    faulty_s3.heal()
    faulty_s3.fail("flipped", method="GET", name="out-")
    assert store.find("fit", "ab").problem == f"payload {stored.payloads['out'].uri} is damaged"
    faulty_s3.heal()
    assert store.find("fit", "ab").manifest == stored


@pytest.mark.parametrize("kind", ["slow", "silence"])
def test_a_slow_answer_is_waited_for_and_a_silence_ends(storage, faulty_s3, kind, monkeypatch):
    monkeypatch.setattr(faulty_s3, "silence", 0.2)
    faulty_s3.fail(kind, times=2)
    assert storage.read("a/file") == b"content"
    assert faulty_s3.met[kind] == (1 if kind == "slow" else 2)


@pytest.mark.parametrize("times", [1, 3])
def test_a_create_whose_answer_was_lost_knows_its_own_file(storage, faulty_s3, times):
    faulty_s3.fail("answer lost", times=times, method="PUT")
    assert storage.create("claim", b"mine")
    assert not storage.create("claim", b"mine")  # the same content does not make it this call's file
    assert storage.read("claim") == b"mine"


@pytest.mark.parametrize("content", ["the same", "each its own"])
def test_of_twenty_creators_whose_answers_are_lost_one_wins(storage, faulty_s3, content):
    faulty_s3.fail("answer lost", times=30, method="PUT", name="claim")
    contents = [b"the same" if content == "the same" else str(number).encode() for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        won = list(pool.map(lambda data: storage.create("claim", data), contents))
    assert won.count(True) == 1
    assert storage.read("claim") == contents[won.index(True)]


def test_a_create_that_collides_with_another_is_tried_again(storage, faulty_s3):
    faulty_s3.fail("conflict", times=2, method="PUT")
    assert storage.create("claim", b"mine")
    faulty_s3.fail("conflict", times=2, method="PUT")
    assert not storage.create("claim", b"other")


@pytest.mark.slow
def test_a_large_file_whose_last_answer_was_lost_is_written(storage, faulty_s3):
    data = bytes(100 * 2**20)
    faulty_s3.fail("answer lost", times=1, method="POST", name="uploadId")  # the end of an upload in parts
    storage.write("large", data)
    assert faulty_s3.requests["POST"] >= 3
    assert storage.size("large") == len(data)


@pytest.mark.slow
def test_a_large_file_is_created_once(storage, faulty_s3):
    data = bytes(100 * 2**20)
    faulty_s3.fail("answer lost", times=1, method="PUT")
    assert storage.create("large", data)
    assert not storage.create("large", data)
    assert storage.size("large") == len(data)


def test_a_person_is_told_once_that_the_store_fails(storage, faulty_s3, caplog, monkeypatch):
    from tasks.checkpoints import s3_client

    monkeypatch.setattr(s3_client._teller, "_last", float("-inf"))
    faulty_s3.fail("slow down", times=ATTEMPTS - 1)
    with caplog.at_level(logging.WARNING, logger="hybridscreen"):
        storage.read("a/file")
    assert [record.getMessage() for record in caplog.records] == [
        "The object store fails (attempt 1: status 503); it is asked again after a pause."
    ]


def test_a_store_that_is_not_there_is_one_line(s3_endpoint, monkeypatch):
    import s3fs

    with socket.socket() as closed:  # bound, and not listened on
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
        monkeypatch.setattr(random, "random", lambda: 0.0)
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(StorageError, match=r"Could not connect .* Asked 2 times") as caught:
            Storage("s3://bucket/lab").read("a/file")
    s3fs.S3FileSystem.clear_instance_cache()
    assert "\n" not in str(caught.value)
