"""Rows in memory, on a device, in storage and made of others: the same numbers, the same bits where promised."""

from __future__ import annotations

import pickle
import threading
from itertools import count

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.operators.rows as rows_module
from tasks.checkpoints.checkpointer import Checkpointer
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore, DamagedCheckpoint
from tasks.errors import NumericalError, UserError
from tasks.operators import floor, passes
from tasks.operators.device_rows import DeviceRows
from tasks.operators.rows import MemoryRows, Rows, as_rows, in_order
from tasks.operators.stored_rows import StoredPiece, StoredRows
from tasks.operators.views import SideBySide, Transformed

N = 40_000


def tall(columns=5, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(N, columns)).astype(dtype)


def whole(chunk, start, *rest):
    """All that a function is given, as numpy arrays."""
    return start, np.array(chunk), [np.array(part) for part in rest]


def together(rows, *args, along=()):
    """What a pass sees, put together again."""
    found = list(rows.map(whole, *args, along=along))
    starts = [start for start, _, _ in found]
    chunks = [chunk for _, chunk, _ in found]
    assert starts == [0, *np.cumsum([len(chunk) for chunk in chunks])[:-1]]
    rests = [np.concatenate([rest[i] for _, _, rest in found]) for i in range(len(along))]
    return np.concatenate(chunks), rests


def in_zarr(array, rows, tmp_path, keep=0):
    stored = zarr.create_array(tmp_path / f"{rows}.zarr", data=array, chunks=(rows, array.shape[1]))
    return StoredRows.of_zarr(stored, keep=keep)


def in_checkpoints(array, rows, folder, keep=0):
    """Pieces as nodes of a campaign store them."""
    cp = Checkpointer(CheckpointStore(Storage(str(folder))))
    refs = [
        cp.run(
            f"omega/{start}",
            Stage("omega", 1),
            lambda start=start: {"rows": Payload("array", array[start : start + rows])},
            outputs=("rows",),
            params={"start": start},
        )["rows"]
        for start in range(0, len(array), rows)
    ]
    return StoredRows.of_refs(cp.store, refs, keep=keep), refs


@pytest.fixture(params=["memory", "tensor", "device", "zarr", "kept", "checkpoints", "transformed", "beside"])
def rows(request, tmp_path):
    a = tall()
    return {
        "memory": lambda: MemoryRows(a),
        "tensor": lambda: as_rows(torch.from_numpy(a)),
        "device": lambda: DeviceRows(torch.from_numpy(a), chunk=7_000),
        "zarr": lambda: in_zarr(a, 16_384, tmp_path),
        "kept": lambda: in_zarr(a, 1000, tmp_path, keep=300_000),
        "checkpoints": lambda: in_checkpoints(a, 16_384, tmp_path)[0],
        "transformed": lambda: Transformed(MemoryRows(a * 2), halve, 5),
        "beside": lambda: SideBySide([MemoryRows(a[:, :2]), in_zarr(a[:, 2:], 9000, tmp_path)]),
    }[request.param]()


def halve(chunk):
    return chunk / 2


class TestRows:
    """What holds for rows of every kind."""

    def test_are_rows(self, rows):
        assert isinstance(rows, Rows)
        assert as_rows(rows) is rows
        assert (rows.shape, len(rows), rows.dtype) == ((N, 5), N, np.float32)

    def test_a_pass_sees_every_row_once_in_order(self, rows):
        number = np.arange(N)
        chunks, (seen,) = together(rows, along=[number])
        np.testing.assert_array_equal(chunks, tall())
        np.testing.assert_array_equal(seen, number)
        np.testing.assert_array_equal(together(rows)[0], tall())  # and again

    def test_take_gives_rows_in_the_order_asked_for(self, rows):
        wanted = np.array([5, N - 1, 16_384, 5, 0])
        np.testing.assert_array_equal(rows.take(wanted), tall()[wanted])
        assert rows.take(np.array([], dtype=int)).shape == (0, 5)

    def test_arguments_come_last(self, rows):
        for _, _, (seen, last) in rows.map(whole, np.ones(3), along=[np.arange(N)]):
            assert last.shape == (3,)
            assert len(seen) > 0

    def test_an_error_in_a_chunk_comes_out(self, rows):
        with pytest.raises(ZeroDivisionError):
            list(rows.map(fail_late))

    def test_a_pass_may_be_left_early(self, rows):
        passing = rows.map(whole)
        next(passing)
        passing.close()
        assert len(together(rows)[0]) == N


def fail_late(chunk, start):
    return 1 / (start < 30_000)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_sums_have_the_same_bits_for_any_number_of_threads(threads, monkeypatch, tmp_path):
    a = tall()
    monkeypatch.setattr(rows_module, "cores", lambda: 1)
    expected = sum(MemoryRows(a).map(passes.gram))
    monkeypatch.setattr(rows_module, "cores", lambda: threads)
    for found in (
        MemoryRows(a),
        in_zarr(a, 16_384, tmp_path),
        in_zarr(a, 32_768, tmp_path, keep=2**30),
        in_checkpoints(a, 16_384, tmp_path / "cp")[0],
    ):
        np.testing.assert_array_equal(sum(found.map(passes.gram)), expected)


def test_no_more_than_some_items_are_ahead_of_who_asks(monkeypatch):
    monkeypatch.setattr(rows_module, "cores", lambda: 2)
    begun = []
    results = in_order(begun.append, range(1000))
    for _ in range(3):
        next(results)
    results.close()
    assert len(begun) <= 8 * 2 + 3


def test_threads_end_with_a_pass():
    before = threading.active_count()
    passing = MemoryRows(tall()).map(whole)
    next(passing)
    passing.close()
    assert threading.active_count() == before


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(0, 60), piece=st.integers(1, 20), keep=st.integers(0, 800), data=st.data())
def test_pieces_of_any_size_are_the_matrix(rows, piece, keep, data):
    a = np.arange(rows * 3, dtype=float).reshape(rows, 3)
    cuts = [a[start : start + piece] for start in range(0, rows, piece)]
    stored = StoredRows([StoredPiece(len(cut), cut.copy) for cut in cuts], 3, float, keep=keep)
    assert stored.shape == a.shape
    for _ in range(2):
        seen = [np.empty((0, 3)), *(chunk for _, chunk, _ in stored.map(whole))]
        np.testing.assert_array_equal(np.concatenate(seen), a)
    if rows:
        wanted = np.array(data.draw(st.lists(st.integers(-rows, rows - 1), max_size=9)), dtype=int)
        np.testing.assert_array_equal(stored.take(wanted), a[wanted])
    with pytest.raises(IndexError):
        stored.take(np.array([rows]))


class Counted:
    """A piece that counts how often it is read."""

    def __init__(self, rows):
        self.rows, self.reads = rows, 0

    def __call__(self):
        self.reads += 1
        return self.rows


def test_what_fits_stays_in_memory_and_the_rest_is_read_again():
    pieces = [Counted(np.full((4, 2), float(i))) for i in range(3)]
    rows = StoredRows([StoredPiece(4, piece) for piece in pieces], 2, float, keep=130)
    for _ in range(3):
        list(rows.map(whole))
    assert [piece.reads for piece in pieces] == [1, 1, 3]
    again = pickle.loads(pickle.dumps(rows))
    list(again.map(whole))
    assert [stored.read.reads for stored in again.pieces] == [2, 2, 4]  # what was in memory did not travel


def test_a_damaged_checkpoint_is_not_read(tmp_path):
    rows, refs = in_checkpoints(tall(), 16_384, tmp_path)
    path = tmp_path / refs[1].uri
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedCheckpoint):
        list(rows.map(whole))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_found(bad, tmp_path):
    a = tall(dtype=float)
    a[20_001, 3] = bad
    for make in (MemoryRows, as_rows, lambda a: DeviceRows(torch.from_numpy(a))):
        with pytest.raises(NumericalError, match=r"row 20001 of a matrix of shape \(40000, 5\)"):
            make(a)
    stored = in_zarr(a, 9000, tmp_path)
    with pytest.raises(NumericalError, match="row 20001 of a stored matrix"):
        list(stored.map(whole))


def test_what_is_no_matrix_of_floats_is_refused(tmp_path):
    for make in (MemoryRows, lambda a: DeviceRows(torch.from_numpy(a))):
        with pytest.raises(UserError, match=r"expected \(N, r\) of float32 or float64"):
            make(np.ones(3))
        with pytest.raises(UserError, match=r"of .*int64"):
            make(np.ones((3, 2), dtype=np.int64))
    with pytest.raises(UserError, match="another type"):
        in_zarr(np.ones((3, 2), dtype=np.int64), 2, tmp_path)
    with pytest.raises(UserError, match="need a matrix"):
        StoredRows.of_zarr(zarr.create_array(zarr.storage.MemoryStore(), data=np.ones(3)))
    with pytest.raises(UserError, match="no piece"):
        StoredRows.of_refs(CheckpointStore(Storage(str(tmp_path))), [])
    with pytest.raises(UserError, match=r"piece 0.*shape \(4, 2\).*shape \(3, 2\)"):
        list(StoredRows([StoredPiece(3, np.ones((4, 2)).copy)], 2, float).map(whole))
    with pytest.raises(UserError, match=r"same points.*\[3, 4\]"):
        SideBySide([MemoryRows(np.ones((3, 1))), MemoryRows(np.ones((4, 1)))])


def test_checkpoints_that_hold_no_matrices_are_refused(tmp_path):
    cp = Checkpointer(CheckpointStore(Storage(str(tmp_path))))
    given = cp.run("x", Stage("x", 1), lambda: {"v": Payload("array", np.ones(3))}, outputs=("v",), params={})
    with pytest.raises(UserError, match=r"got array of shape \(3,\)"):
        StoredRows.of_refs(cp.store, [given["v"]])


def test_memory_is_shared_with_a_tensor():
    tensor = torch.zeros(3, 2)
    rows = as_rows(tensor)
    tensor[1, 1] = 7
    assert rows.take(np.array([1])).tolist() == [[0, 7]]
    assert np.asarray(rows)[1, 1] == 7


def test_floor_is_bytes_and_products_at_the_rates_of_the_moment(monkeypatch):
    monkeypatch.setattr(floor, "cores", lambda: 1)
    monkeypatch.setattr(floor, "_READ", 1000)  # numbers of 4 bytes

    ticks = count()

    def clock():  # everything takes a second
        return float(next(ticks))

    assert floor.floor_seconds(12_000, 0, clock=clock) == pytest.approx(3)
    one = floor.floor_of_passes(10, 50, reads=0, products=1, clock=clock)
    assert one > 0
    assert floor.floor_of_passes(10, 50, reads=0, products=6, clock=clock) == pytest.approx(6 * one)
    both = floor.floor_of_passes(10, 50, reads=2, products=1, itemsize=8, clock=clock)
    assert both == pytest.approx(one + 2 * 10 * 50 * 8 / 4000)
