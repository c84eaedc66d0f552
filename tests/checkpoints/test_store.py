import threading
from pathlib import Path

import numpy as np
import pytest

from tasks.checkpoints.checkpointer import Checkpointer
from tasks.checkpoints.counting import counted
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore, DamagedCheckpoint

SUM = Stage("sum", 1)


class Counted:
    """A computation that counts its calls."""

    def __init__(self, value=None):
        self.calls = 0
        self.value = np.arange(5.0) if value is None else value

    def __call__(self):
        self.calls += 1
        return {"values": Payload("array", self.value), "total": Payload("json", float(np.sum(self.value)))}


def run(cp, compute, node="sum/a", stage=SUM, **given):
    return cp.run(node, stage, compute, outputs=("values", "total"), **given)


def test_a_hit_computes_nothing_and_gives_the_same_references(storage_url):
    compute, again = Counted(), Counted()
    store = CheckpointStore(Storage(storage_url))
    first = run(Checkpointer(store), compute, params={"a": 1}, seed=3)
    second = run(Checkpointer(store), again, params={"a": 1}, seed=3)
    assert (first.hit, first.reason, second.hit) == (False, "no checkpoint", True)
    assert (compute.calls, again.calls) == (1, 0)
    assert first.refs == second.refs
    np.testing.assert_array_equal(store.load(second["values"]), np.arange(5.0))
    assert store.load(second["total"]) == 10.0
    assert second["values"].shape == (5,)


def test_the_manifest_is_the_last_file_written(store, monkeypatch):
    written = []
    write, create = store.storage.write, store.storage.create
    monkeypatch.setattr(store.storage, "write", lambda path, data: (written.append(path), write(path, data)))
    monkeypatch.setattr(store.storage, "create", lambda path, data: (written.append(path), create(path, data))[1])
    run(Checkpointer(store), Counted())
    assert len(written) == 3
    assert [path.endswith("/manifest.json") for path in written] == [False, False, True]


@pytest.mark.parametrize("survivors", [0, 1, 2])
def test_a_crash_before_the_manifest_leaves_nothing_readable(store, monkeypatch, survivors):
    write, calls = store.storage.write, []

    def dying_write(path, data):
        if len(calls) == survivors:
            raise KeyboardInterrupt
        calls.append(path)
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(store.storage, "write", dying_write)
        patch.setattr(store.storage, "create", lambda path, data: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(Checkpointer(store), Counted())
    compute = Counted()
    assert not run(Checkpointer(store), compute).hit
    assert compute.calls == 1


@pytest.mark.parametrize("harm", ["remove", "flip", "truncate"])
def test_a_harmed_payload_is_recomputed_and_reported(store, harm):
    first = run(Checkpointer(store), Counted())
    full = store.storage._full(first["values"].uri)

    data = bytearray(Path(full).read_bytes())
    if harm == "remove":
        Path(full).unlink()
    else:
        data[-1] ^= 1
        Path(full).write_bytes(data if harm == "flip" else data[:-1])
    with pytest.raises(DamagedCheckpoint):
        store.load(first["values"])
    compute = Counted()
    healed = run(Checkpointer(store), compute)
    assert (compute.calls, healed.hit) == (1, False)
    assert first["values"].uri in healed.reason
    assert ("missing" if harm == "remove" else "damaged") in healed.reason
    assert healed.refs == first.refs
    assert run(Checkpointer(store), compute).hit
    assert compute.calls == 1


def test_a_harmed_payload_that_comes_out_different_gets_a_manifest_of_its_own(store):
    first = run(Checkpointer(store), Counted())
    Path(store.storage._full(first["values"].uri)).unlink()
    other = run(Checkpointer(store), Counted(np.arange(6.0)))
    assert other.refs != first.refs
    assert run(Checkpointer(store), Counted()).refs == other.refs
    assert [path.endswith("manifest.2.json") for path, _ in store.manifests()] == [True]


def test_looking_at_sizes_alone_finds_a_missing_payload_but_trusts_content(storage):
    store = CheckpointStore(storage, verify="size")
    first = run(Checkpointer(store), Counted())
    path = Path(storage._full(first["total"].uri))
    path.write_bytes(b"9" * path.stat().st_size)
    assert run(Checkpointer(store), Counted()).hit
    path.unlink()
    assert not run(Checkpointer(store), Counted()).hit


def test_what_a_hit_has_verified_is_not_read_again_but_another_run_verifies_again(storage):
    store = CheckpointStore(storage)
    run(Checkpointer(store), Counted())
    cp = Checkpointer(store)
    hit = run(cp, Counted())
    with counted(storage.url) as asked:
        assert [cp.load(hit["total"]) for _ in range(3)] == [10.0] * 3
        assert asked.told()["requests"] == 0
        np.testing.assert_array_equal(cp.load(hit["values"]), np.arange(5.0))  # no JSON: read when it is needed
        assert asked.told()["get"] == 1
    path = Path(storage._full(hit["total"].uri))
    path.write_bytes(path.read_bytes().replace(b"1", b"9"))
    assert cp.load(hit["total"]) == 10.0  # what its digest says
    with pytest.raises(DamagedCheckpoint):
        Checkpointer(store).load(hit["total"])
    assert run(Checkpointer(store), Counted()).reason == f"payload {hit['total'].uri} is damaged"


def test_large_json_is_not_kept_and_values_are_not_shared(storage):
    def compute():
        return {"long": Payload("json", ["x" * 70_000]), "short": Payload("json", ["x"])}

    store = CheckpointStore(storage)
    for _ in range(2):
        cp = Checkpointer(store)
        found = cp.run("n", SUM, compute, outputs=("long", "short"))
    with counted(storage.url) as asked:
        cp.load(found["short"]).append("y")
        assert cp.load(found["short"]) == ["x"]
        assert asked.told()["requests"] == 0
        assert cp.load(found["long"]) == ["x" * 70_000]
        assert asked.told()["get"] == 1


def test_of_two_writers_one_wins_and_the_other_reads_it(storage_url):
    store = CheckpointStore(Storage(storage_url))
    barrier = threading.Barrier(2)
    results = {}

    def writer(name):
        def compute():
            barrier.wait()
            return {"values": Payload("array", np.full(3, name)), "total": Payload("json", name)}

        results[name] = run(Checkpointer(store), compute)

    threads = [threading.Thread(target=writer, args=(name,)) for name in (1.0, 2.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[1.0].refs == results[2.0].refs
    winner = store.load(results[1.0]["total"])
    assert winner in (1.0, 2.0)
    np.testing.assert_array_equal(store.load(results[1.0]["values"]), np.full(3, winner))


def test_reasons_name_what_changed(store):
    def lock_of(cp):
        return cp.records

    base = Checkpointer(store)
    plate = run(base, Counted(), node="wells/P3.1")["values"]
    run(base, Counted(), node="align", params={"alignment": {"shrinkage": True}}, inputs={"P3.1": plate}, seed=1)

    def reason(stage=SUM, params=None, inputs=None, seed=1):
        cp = Checkpointer(store, lock_of(base), plan=True)
        return run(
            cp,
            Counted(),
            node="align",
            stage=stage,
            params=params or {"alignment": {"shrinkage": True}},
            inputs=inputs or {"P3.1": plate},
            seed=seed,
        ).reason

    other = plate.model_copy(update={"sha256": "f" * 64})
    assert reason() == "checkpoint found"
    assert reason(stage=Stage("sum", 2)) == "stage version 1 → 2"
    assert reason(params={"alignment": {"shrinkage": False}}) == "alignment.shrinkage True → False"
    assert reason(inputs={"P3.1": plate, "P3.2": other}) == "input P3.2 is new"
    assert reason(inputs={"P3.1": other}) == "input P3.1 changed"
    assert reason(inputs={"P3.2": plate}) == "input P3.2 is new; input P3.1 is gone"
    assert reason(seed=2) == "another seed"


def test_a_plan_writes_nothing_and_sees_through_cheap_stages(store):
    cp = Checkpointer(store, plan=True)
    cheap = run(cp, Counted(), node="cheap", stage=Stage("cheap", 1, cheap=True))
    np.testing.assert_array_equal(cp.load(cheap["values"]), np.arange(5.0))
    costly = Counted()
    planned = run(cp, costly, node="costly", inputs={"x": cheap["values"]})
    after = run(cp, costly, node="after", stage=Stage("cheap", 1, cheap=True), inputs={"x": planned["values"]})
    assert costly.calls == 0
    assert planned["values"].pending
    assert after["values"].pending
    assert [event.status for event in cp.events] == ["planned"] * 3
    assert store.storage.list() == []
    with pytest.raises(DamagedCheckpoint, match="planned"):
        cp.load(planned["values"])


def test_a_plan_and_the_run_after_it_agree_on_references(store):
    planned = run(Checkpointer(store, plan=True), Counted(), stage=Stage("cheap", 1, cheap=True))
    done = run(Checkpointer(store), Counted(), stage=Stage("cheap", 1, cheap=True))
    assert {name: ref.sha256 for name, ref in planned.refs.items()} == {
        name: ref.sha256 for name, ref in done.refs.items()
    }


def test_a_computation_with_the_wrong_outputs_is_an_error(store):
    with pytest.raises(TypeError, match="instead of"):
        Checkpointer(store).run("a", SUM, Counted(), outputs=("values",))
