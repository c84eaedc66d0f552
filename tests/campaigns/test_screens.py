"""Publishing is one step: a crash at any write, and two writers at once."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.campaigns.ledger import Ledger
from tasks.campaigns.screens import claim_screen, copy_screen, published_screens
from tasks.checkpoints.keys import sha256
from tasks.checkpoints.records import NodeRecord, RoundLock
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import DamagedCheckpoint
from tasks.errors import UserError

ROOT = Path(__file__).parents[2]


class Crash(BaseException):
    """The process ends here."""


def lock(key="0"):
    node = NodeRecord(node="fit", stage="fit", version=1, key=key * 64, params={}, seed=None, inputs={})
    return RoundLock(campaign="pilot", round=0, nodes={"fit": node}, versions={"numpy": "2"})


def contents(word):
    return {f"screen.zarr/{name}": f"{word} {name}".encode() for name in ("zarr.json", "X/c/0/0", "obs/zarr.json")} | {
        "screen.csv": word.encode()
    }


def publish(storage, key="0", word="first"):
    """What a round does, from claiming its run on."""
    ledger = Ledger(storage)
    run = ledger.claim_run(lock(key))
    if run.summary is not None:
        return run
    files = contents(word)
    folder = claim_screen(storage, 0, run.number, files)
    summary = {"status": "decided", "screen": folder, "round": 0, "run": run.number, "word": word}
    return ledger.publish_run(run, folder, files, {"decision.json": word, "report.html": folder}, summary)[0]


def words(storage):
    """What the published screens say, each of one writer alone and whole."""
    found = []
    for screen in published_screens(storage):
        text = screen.read(storage, "screen.csv")[""].decode()
        assert {f"screen.zarr/{name}": data for name, data in screen.read(storage, "screen.zarr").items()} == {
            name: data for name, data in contents(text).items() if name != "screen.csv"
        }
        found.append(text)
    return found


def state(storage):
    """Words of the screens, and of the decided runs in their order."""
    decided = [run for run in Ledger(storage).runs(0) if run.decided]
    return words(storage), [run.summary["word"] for run in decided]


class Counting(Storage):
    """A storage that ends the process before its write number `last`, or in the middle of it."""

    def __init__(self, url, last=10**9):
        super().__init__(url)
        self.last, self.writes = last, []

    def write(self, path, data):
        self._count(path)
        super().write(path, data)

    def create(self, path, data):
        self._count(path)
        return super().create(path, data)

    def _count(self, path):
        if len(self.writes) >= self.last:
            raise Crash(path)
        self.writes.append(path)


def number_of_writes(folder):
    storage = Counting(str(folder))
    publish(storage)
    return storage.writes


def test_a_crash_at_any_write_leaves_the_old_screen_newest_or_the_new_one_whole(tmp_path):
    writes = number_of_writes(tmp_path / "counted")
    assert len(writes) == len(set(writes)) == 10
    assert [path.rsplit("/", 1)[-1] for path in writes[-2:]] == ["manifest.json", "run.json"]
    for last in range(len(writes)):
        url = str(tmp_path / f"{last}")
        publish(Storage(url), "0", "old")
        with pytest.raises(Crash):
            publish(Counting(url, last), "1", "new")
        committed = last >= len(writes) - 1  # all but run.json, which says again what the manifest has said
        assert state(Storage(url)) == ((["old", "new"],) * 2 if committed else (["old"],) * 2), writes[last]
        publish(Storage(url), "1", "new")
        assert state(Storage(url)) == (["old", "new"], ["old", "new"]), writes[last]
        assert [screen.number for screen in published_screens(Storage(url))] == [1, 2]
        assert Storage(url).exists("rounds/0000/runs/02/run.json")


def test_what_came_after_a_crash_is_published_without_what_the_crash_left(tmp_path):
    writes = number_of_writes(tmp_path / "counted")
    for last in range(2, len(writes) - 1):
        url = str(tmp_path / f"{last}")
        with pytest.raises(Crash):
            publish(Counting(url, last), "0", "lost")
        publish(Storage(url), "1", "next")
        assert state(Storage(url)) == (["next"], ["next"]), writes[last]
        assert [screen.number for screen in published_screens(Storage(url))] == [2]


def test_a_run_that_goes_on_with_other_bytes_takes_another_number(tmp_path):
    """As after an upgrade of a package in between: one folder never holds files of both."""
    url = str(tmp_path)
    with pytest.raises(Crash):
        publish(Counting(url, 4), "0", "as before")
    run = publish(Storage(url), "0", "upgraded")
    assert run.summary["screen"] == "screens/0002"
    assert state(Storage(url)) == (["upgraded"], ["upgraded"])


def side_by_side(calls):
    """Run calls in threads that start at once; their errors are errors here."""
    barrier = threading.Barrier(len(calls))

    def follow(call):
        barrier.wait()
        call()

    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(follow, calls))


@pytest.mark.parametrize("repeat", range(10))
def test_two_rounds_at_once_have_two_numbers(tmp_path, repeat):
    url = str(tmp_path)
    side_by_side([lambda k=k: publish(Storage(url), k, f"round {k}") for k in "01"])
    said, decided = state(Storage(url))
    assert sorted(said) == sorted(decided) == ["round 0", "round 1"]
    assert [screen.number for screen in published_screens(Storage(url))] == [1, 2]


@pytest.mark.parametrize("repeat", range(10))
def test_one_round_twice_at_once_has_one_number(tmp_path, repeat):
    url = str(tmp_path)
    side_by_side([lambda: publish(Storage(url), "0", "one")] * 3)
    assert state(Storage(url)) == (["one"], ["one"])


def test_of_two_writers_of_one_run_one_publishes_it_and_the_other_is_told(tmp_path):
    ledger, files = Ledger(Storage(str(tmp_path))), contents("same")
    run = ledger.claim_run(lock())
    folder, summary = claim_screen(ledger.storage, 0, run.number, files), {"status": "decided", "word": "same"}
    told = [ledger.publish_run(run, folder, files, {}, summary) for _ in range(2)]
    assert [won for _, won in told] == [True, False]
    assert told[0][0] == told[1][0]


@pytest.mark.parametrize("repeat", range(10))
def test_one_round_twice_at_once_with_other_bytes_is_no_mixture(tmp_path, repeat):
    url = str(tmp_path)
    side_by_side([lambda w=w: publish(Storage(url), "0", w) for w in ("mine", "yours")])
    said, decided = state(Storage(url))
    assert set(said) <= {"mine", "yours"}
    assert len(decided) == 1
    assert decided[0] in said


def test_two_rounds_at_once_in_a_bucket(s3_url):
    side_by_side([lambda k=k: publish(Storage(s3_url), k, f"round {k}") for k in "01"])
    said, decided = state(Storage(s3_url))
    assert sorted(said) == sorted(decided) == ["round 0", "round 1"]


def test_two_processes_at_once(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_screens import publish, Storage\n"
        "sys.stdin.readline(); publish(Storage(sys.argv[1]), sys.argv[2], f'round {sys.argv[2]}')"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), key], stdin=subprocess.PIPE, cwd=ROOT, text=True)
        for key in "01"
    ]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.close()
    assert [worker.wait(120) for worker in workers] == [0, 0]
    said, decided = state(Storage(str(tmp_path)))
    assert sorted(said) == sorted(decided) == ["round 0", "round 1"]


def test_folders_that_are_no_screens_block_nothing(tmp_path):
    storage = Storage(str(tmp_path))
    for name in ("0001", ".ipynb_checkpoints", "notes"):
        storage.make_folder(f"screens/{name}")
    assert claim_screen(storage, 0, 1, contents("a")) == "screens/0001"
    assert claim_screen(storage, 0, 1, contents("a")) == "screens/0001"
    assert claim_screen(storage, 0, 2, contents("a")) == "screens/0002"
    assert published_screens(storage) == []


def test_of_two_that_claim_the_same_at_once_both_get_one_number(tmp_path, monkeypatch):
    """Both see no screen; the second finds the claim taken by its own twin."""
    storage = Storage(str(tmp_path))
    claim_screen(storage, 0, 1, contents("a"))
    monkeypatch.setattr(storage, "folders", lambda prefix: [])
    assert claim_screen(storage, 0, 1, contents("a")) == "screens/0001"
    assert claim_screen(storage, 1, 1, contents("a")) == "screens/0002"


def test_a_damaged_screen_is_not_read(tmp_path):
    storage = Storage(str(tmp_path))
    publish(storage)
    (screen,) = published_screens(storage)
    assert screen.files["screen.csv"] == sha256(b"first")
    with pytest.raises(UserError, match=r"no such file; got screen\.h5ad"):
        screen.read(storage, "screen.h5ad")
    (tmp_path / "screens/0001/screen.csv").write_text("other")
    with pytest.raises(DamagedCheckpoint, match=r"screens/0001/screen\.csv is damaged"):
        screen.read(storage, "screen.csv")
    (tmp_path / "screens/0001/screen.zarr/zarr.json").unlink()
    with pytest.raises(DamagedCheckpoint, match=r"zarr\.json is missing"):
        screen.read(storage, "screen.zarr")
    (tmp_path / "screens/0001/manifest.json").write_text("{")
    with pytest.raises(DamagedCheckpoint, match="not JSON"):
        published_screens(storage)


def test_the_manifest_says_what_the_run_says(tmp_path):
    storage = Storage(str(tmp_path))
    run = publish(storage)
    (screen,) = published_screens(storage)
    assert screen.summary == run.summary == json.loads(storage.read("rounds/0000/runs/01/run.json"))
    assert (screen.round_index, screen.run) == (0, 1)


class TestCopy:
    @pytest.fixture
    def places(self, tmp_path):
        storage = Storage(str(tmp_path / "campaign"))
        publish(storage)
        return storage, Storage(str(tmp_path / "others"))

    def test_is_whole_and_made_once(self, places):
        storage, target = places
        (screen,) = published_screens(storage)
        assert copy_screen(storage, screen, target)
        assert not copy_screen(storage, screen, target)
        names = [*screen.files, "claim.json", "manifest.json"]
        assert target.list() == sorted(names)
        assert all(target.read(name) == storage.read(f"{screen.folder}/{name}") for name in names)

    def test_cut_short_is_no_screen_and_is_completed(self, places, monkeypatch):
        storage, target = places
        (screen,) = published_screens(storage)
        with monkeypatch.context() as patched:
            patched.setattr(Storage, "write_many", lambda *_: (_ for _ in ()).throw(Crash))
            with pytest.raises(Crash):
                copy_screen(storage, screen, target)
        assert not target.exists("manifest.json")
        assert copy_screen(storage, screen, target)
        assert target.read("screen.csv") == b"first"

    def test_of_another_screen_is_refused(self, places):
        storage, target = places
        publish(storage, "1", "second")
        first, second = published_screens(storage)
        copy_screen(storage, first, target)
        with pytest.raises(UserError, match="another screen is there"):
            copy_screen(storage, second, target)
        assert target.read("screen.csv") == b"first"

    def test_of_a_damaged_file_is_not_completed(self, places):
        storage, target = places
        (screen,) = published_screens(storage)
        storage.write(f"{screen.folder}/screen.csv", b"other")
        with pytest.raises(DamagedCheckpoint, match="damaged"):
            copy_screen(storage, screen, target)
        assert not target.exists("manifest.json")
