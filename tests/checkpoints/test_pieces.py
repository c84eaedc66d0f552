"""Pieces of work: where they are done changes nothing, and what is there is not done again."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tasks.checkpoints.checkpointer import Checkpointer
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.manifest import Manifest, worker_name
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.pieces import CallingThread, ThisProcess, compute_and_save, cores
from tasks.checkpoints.progress import Silence, Watch, advanced, listening
from tasks.checkpoints.records import Event
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.errors import UserError

RANGE = Stage("range", 1)


def count_up(node, n):
    """A computation that any process can do."""
    for done in range(n):
        advanced(node, done + 1, n)
    return {"values": Payload("array", np.arange(float(n)))}


class Notes(Silence):
    """Notes all that it hears."""

    def __init__(self):
        self.started_at, self.progress, self.events = [], [], []

    def started(self, node, worker=""):
        self.started_at.append((node, worker))

    def advanced(self, node, done, total):
        self.progress.append((node, done, total))

    def finished(self, event):
        self.events.append(event)


def run(cp, n=3, place=None, compute=None, **given):
    compute = compute or partial(count_up, f"range/{n}", n)
    return cp.run(f"range/{n}", RANGE, compute, outputs=("values",), params={"n": n}, place=place, **given)


def manifest(store, outputs):
    (found,) = [m for _, m in store.manifests() if m.payloads["values"].sha256 == outputs["values"].sha256]
    return found


def other_process(pickled):
    return compute_and_save(pickle.loads(pickled))


class Kept:
    """A place that only keeps what it is asked to do, pickled, and does it here."""

    def __init__(self):
        self.pickled = []

    def do(self, piece, listener):
        self.pickled.append(pickle.dumps(piece))
        with listening(listener):
            return other_process(self.pickled[-1])


@pytest.mark.parametrize("place", [None, CallingThread(), Kept(), "threads"])
def test_every_place_gives_the_same_references_and_tells_the_same(store, place):
    notes = Notes()
    with listening(notes):
        cp = Checkpointer(store)
    if place == "threads":
        with ThisProcess() as threads:
            outputs = run(cp, place=threads)
    else:
        outputs = run(cp, place=place)
    assert not outputs.hit
    assert outputs.refs == run(Checkpointer(store)).refs
    np.testing.assert_array_equal(store.load(outputs["values"]), [0.0, 1.0, 2.0])
    assert notes.started_at == [("range/3", worker_name())]
    assert notes.progress == [("range/3", i, 3) for i in (1, 2, 3)]
    assert [(event.node, event.status) for event in notes.events] == [("range/3", "computed")]


def test_a_piece_that_was_stored_is_not_computed_again(store):
    """A worker may die after it has stored what it was asked for, and before it could say so."""
    kept = Kept()
    outputs = run(Checkpointer(store), place=kept)
    before = manifest(store, outputs)
    with listening(notes := Notes()):
        again = other_process(kept.pickled[0])
    assert again == before
    assert notes.started_at == []


def test_the_manifest_tells_where_and_how_large(store):
    found = manifest(store, run(Checkpointer(store, flow_run="run 7")))
    assert (found.worker, found.flow_run) == (worker_name(), "run 7")
    assert 0.01 < found.peak_rss_gib < 1000
    assert found.seconds >= 0


def test_manifests_from_before_memory_was_recorded_are_read(store):
    found = manifest(store, run(Checkpointer(store)))
    old = found.model_dump(exclude={"peak_rss_gib"})
    assert Manifest.model_validate(old) == found.model_copy(update={"peak_rss_gib": None})


def test_place_and_device_are_no_part_of_the_key(store):
    cp = Checkpointer(store)
    first = run(cp, place=Kept(), device=True)
    assert run(Checkpointer(store), device=False).refs == first.refs
    assert len(list(store.manifests())) == 1


def test_a_plan_asks_no_place(store):
    class Never:
        def do(self, piece, listener):
            raise AssertionError

    assert run(Checkpointer(store, plan=True), place=Never())["values"].pending


def test_no_more_pieces_at_once_than_cores_however_many_threads_ask(store):
    lock, state = threading.Lock(), {"now": 0, "most": 0}
    gate = threading.Barrier(cores() + 1, timeout=20)

    def compute(n):
        with lock:
            state["now"] += 1
            state["most"] = max(state["most"], state["now"])
        if n < cores():
            gate.wait()  # as many as there are cores are inside together
        with lock:
            state["now"] -= 1
        return {"values": Payload("array", np.full(1, float(n)))}

    cp, total = Checkpointer(store), 4 * cores() + 3
    with ThisProcess() as place, ThreadPoolExecutor(total) as pool:
        first = [pool.submit(run, cp, n, place, partial(compute, n)) for n in range(cores())]
        gate.wait()
        rest = [pool.submit(run, cp, n, place, partial(compute, n)) for n in range(cores(), total)]
        for future in [*first, *rest]:
            future.result(timeout=60)
    assert state == {"now": 0, "most": cores()}


def test_an_error_comes_back_as_it_was_and_stores_nothing(store):
    def fail():
        raise UserError("too few labels", got=3)

    with ThisProcess() as place, pytest.raises(UserError, match="too few labels; got 3"):
        run(Checkpointer(store), place=place, compute=fail)
    assert store.storage.list() == []


def test_errors_survive_the_way_between_processes():
    error = pickle.loads(pickle.dumps(UserError("too few", where="labels", got=3, todo="Measure more.")))
    assert str(error) == "labels: too few; got 3. Measure more."
    assert (error.where, error.got) == ("labels", 3)


def test_a_storage_means_the_same_folder_in_a_process_with_another_working_directory(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    storage = Storage("campaign").below("one")
    storage.write("file", b"content")
    pickled = pickle.dumps(CheckpointStore(storage, verify="size"))
    monkeypatch.chdir(tmp_path / "there")
    again = pickle.loads(pickled)
    assert (again.storage.read("file"), again.verify) == (b"content", "size")
    assert Path(again.storage.url) == tmp_path / "here/campaign/one"


def test_a_machine_without_the_folder_says_so(tmp_path):
    Storage(str(tmp_path)).require_seen("worker 1")
    with pytest.raises(UserError, match=r"worker 1: does not see the campaign's folder; got .*/elsewhere"):
        Storage(str(tmp_path / "elsewhere")).require_seen("worker 1")


def test_a_watch_passes_on_and_knows_how_far_nodes_are():
    watch = Watch(notes := Notes())
    nodes = ["fit/000", "fit/001"]
    assert (watch.share([]), watch.share(nodes)) == (0.0, 0.0)
    watch.started("fit/000", "host:1")
    watch.advanced("fit/000", 1, 4)
    assert watch.share(nodes) == pytest.approx(0.125)
    watch.finished(Event(node="fit/001", status="cached", reason="", seconds=0))
    assert watch.share(nodes) == pytest.approx(0.625)
    watch.started("fit/000", "host:2")  # its first worker was lost
    assert watch.share(nodes) == pytest.approx(0.5)
    assert len(notes.started_at) == 2
    assert notes.progress == [("fit/000", 1, 4)]
    assert len(notes.events) == 1
