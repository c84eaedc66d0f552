import errno
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.checkpoints.storage import Storage, StorageError
from tasks.errors import UserError


def test_files_come_back_and_are_listed(storage_url):
    storage = Storage(storage_url)
    storage.write("a/b/one.txt", b"1")
    storage.write("a/two.txt", b"22")
    storage.write("c.txt", b"")
    assert storage.read("a/b/one.txt") == b"1"
    assert storage.list("a") == ["a/b/one.txt", "a/two.txt"]
    assert storage.list() == ["a/b/one.txt", "a/two.txt", "c.txt"]
    assert storage.list("nothing") == []
    assert storage.folders("a") == ["b"]
    assert storage.folders("nothing") == []
    assert (storage.size("a/two.txt"), storage.size("c.txt"), storage.size("d.txt")) == (2, 0, None)
    assert storage.read_many(["c.txt", "d.txt", "a/two.txt"]) == {"c.txt": b"", "a/two.txt": b"22"}


def test_a_missing_file_is_not_found(storage_url):
    with pytest.raises(FileNotFoundError):
        Storage(storage_url).read("none")


def test_the_second_create_is_refused_and_changes_nothing(storage_url):
    storage = Storage(storage_url)
    assert storage.create("rounds/1/lock", b"first")
    assert not storage.create("rounds/1/lock", b"second")
    assert storage.read("rounds/1/lock") == b"first"
    assert storage.list() == ["rounds/1/lock"]


def test_of_twenty_creators_one_wins(storage_url):
    storage = Storage(storage_url)
    with ThreadPoolExecutor(20) as pool:
        won = list(pool.map(lambda i: storage.create("claim", str(i).encode()), range(20)))
    assert won.count(True) == 1
    assert storage.read("claim") == str(won.index(True)).encode()


def test_a_link_that_is_made_while_its_answer_is_lost_counts(tmp_path, monkeypatch):
    link = os.link

    def link_and_lose_the_answer(source, target):  # as NFS does
        link(source, target)
        link(source, target)

    storage = Storage(str(tmp_path))
    monkeypatch.setattr(os, "link", link_and_lose_the_answer)
    assert storage.create("claim", b"mine")
    assert not storage.create("claim", b"mine")
    assert storage.list() == ["claim"]


def test_create_if_absent_is_proved(storage_url):
    storage = Storage(storage_url)
    storage.prove_create_if_absent()
    mark = storage.read("store.json")
    storage.prove_create_if_absent()
    assert storage.list() == ["store.json"]
    assert storage.read("store.json") == mark


def test_a_store_that_ignores_the_condition_is_refused_and_keeps_its_mark(rclone_bucket):
    storage = Storage("s3://plates/lab")
    for _ in range(2):
        with pytest.raises(UserError, match="create-if-absent"):
            storage.prove_create_if_absent()
    assert storage.list() == ["store.json"]
    moved = Storage(str(rclone_bucket / "lab"))  # the same files behind something that honours it
    moved.prove_create_if_absent()


def test_a_folder_of_another_layout_is_refused(storage_url):
    storage = Storage(storage_url)
    storage.create("store.json", b'{"layout": 2}')
    with pytest.raises(UserError, match=r"store\.json: not laid out as this version does it.*expected layout 1"):
        storage.prove_create_if_absent()


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../b", "a\\..\\b", "a\0b"])
def test_no_path_leaves_the_root(tmp_path, path):
    storage = Storage(str(tmp_path / "root"))
    for call in (storage.read, storage.exists, storage.list, lambda p: storage.write(p, b"x")):
        with pytest.raises(UserError, match="leaves"):
            call(path)
    assert list(tmp_path.iterdir()) == []


def test_a_storage_travels_to_another_process(storage_url):
    storage = Storage(storage_url)
    storage.write("a", b"1")
    assert pickle.loads(pickle.dumps(storage)).read("a") == b"1"
    assert "secret" not in repr(pickle.dumps(storage))


def test_an_unknown_kind_of_storage_is_one_clear_line():
    with pytest.raises(UserError, match=r"no such kind of storage") as caught:
        Storage("gopher://nowhere")
    assert "\n" not in str(caught.value)


def test_a_missing_bucket_is_a_storage_error(s3_endpoint):
    with pytest.raises((StorageError, FileNotFoundError)):
        Storage("s3://no-such-bucket-anywhere/x").create("a", b"1")


def test_names_that_look_like_patterns_are_plain_names(storage_url):
    storage = Storage(f"{storage_url}/br[1]")
    names = ["inbox/P02[1].csv", "inbox/what?.csv", "inbox/*.csv"]
    storage.write_many({name: name.encode() for name in names})
    assert storage.list("inbox") == sorted(names)
    assert storage.read_many(names) == {name: name.encode() for name in names}
    assert storage.create("x[1]", b"1")
    assert not storage.create("x[1]", b"2")
    assert storage.size("x[1]") == 1


def test_a_full_disk_is_one_line_and_leaves_nothing_lying_about(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    storage = Storage(str(tmp_path))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"a/claim: \[Errno 28\] No space left on device"):
        storage.create("a/claim", b"mine")
    assert list((tmp_path / "a").iterdir()) == []
