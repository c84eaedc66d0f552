"""Requests to a storage, counted."""

import pytest

from tasks.checkpoints.counting import counted
from tasks.checkpoints.storage import Storage


def some_work(storage):
    storage.write("a/one.txt", b"12345")
    storage.create("a/two.txt", b"123")
    storage.create("a/two.txt", b"123")
    assert storage.read("a/one.txt") == b"12345"
    assert storage.read_or_none("a/none.txt") is None
    assert storage.size("a/two.txt") == 3
    assert storage.list("a") == ["a/one.txt", "a/two.txt"]
    assert storage.folders("") == ["a"]


def test_every_request_is_counted_with_its_bytes(storage_url):
    storage = Storage(storage_url)
    storage.write("a/before.txt", b"not counted")
    with counted(storage_url) as asked:
        assert asked.told()["requests"] == 0
        storage.write("a/one.txt", b"12345")
        assert (asked.told()["put"], asked.told()["bytes_sent"]) == (1, 5)
        assert storage.read("a/one.txt") == b"12345"  # one request, however it is stored
        assert (asked.told()["requests"], asked.told()["get"], asked.told()["bytes_received"]) == (2, 1, 5)
        assert storage.size("a/one.txt") == 5
        assert asked.told()["head"] >= 1
        storage.list("a")
        storage.folders("a")
        storage.signs("a")
        assert asked.told()["list"] == 3
    told = asked.told()
    assert told["requests"] == told["get"] + told["put"] + told["list"] + told["head"]
    storage.read("a/one.txt")
    assert asked.told() == told


def test_counting_changes_nothing_of_what_is_done(storage_url):
    with counted(storage_url):
        some_work(Storage(storage_url))


def test_requests_of_many_threads_are_all_counted(storage_url):
    storage = Storage(storage_url)
    names = [f"many/{number:03d}" for number in range(60)]
    storage.write_many(dict.fromkeys(names, b"x"))
    with counted(storage_url) as asked:
        assert len(storage.read_many(names)) == 60
    assert (asked.told()["get"], asked.told()["bytes_received"]) == (60, 60)


def test_what_fails_is_a_request_too(storage_url):
    storage = Storage(storage_url)
    with counted(storage_url) as asked, pytest.raises(FileNotFoundError):
        storage.read("none")
    assert asked.told()["requests"] == asked.told()["get"] == 1
