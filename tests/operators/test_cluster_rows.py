"""Rows on the workers of a cluster: the bits of this process, and nothing lost with a worker."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from tasks.ensembles.cluster import ClusterError
from tasks.errors import NumericalError, UserError
from tasks.operators import Factor, eigenmodes, passes
from tasks.operators import cluster_rows as module
from tasks.operators.cluster_rows import ClusterRows
from tasks.operators.peaks import largest_loadings
from tasks.operators.rows import MemoryRows
from tasks.operators.stored_rows import StoredPiece, StoredRows

pytestmark = pytest.mark.slow
N = 70_001


@pytest.fixture
def array():
    return np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)


@pytest.fixture
def stored(array, tmp_path):
    return StoredRows.of_zarr(zarr.create_array(tmp_path / "a.zarr", data=array, chunks=(16_384, 4)))


@pytest.fixture(params=[True, False], ids=["kept", "read again"])
def rows(request, client, stored, monkeypatch):
    monkeypatch.setattr(module, "SHARE", 20_000)  # five shares
    return ClusterRows(client, stored, keep=request.param)


def test_the_same_bits_as_here(rows, array):
    here = MemoryRows(array)
    assert (rows.shape, len(rows), rows.dtype) == ((N, 4), N, np.float32)
    assert len(rows._shares) == 5
    np.testing.assert_array_equal(sum(rows.map(passes.gram)), sum(here.map(passes.gram)))
    vectors = np.random.default_rng(1).normal(size=(N, 2))
    found, expected = (sum(where.map(passes.inner, along=[vectors])) for where in (rows, here))
    np.testing.assert_array_equal(found, expected)
    factor, same = Factor(rows), Factor(array)
    modes = eigenmodes(factor)
    np.testing.assert_array_equal(modes.values, eigenmodes(same).values)
    np.testing.assert_array_equal(factor.diagonal(), same.diagonal())
    np.testing.assert_array_equal(largest_loadings(modes, factor).rows, largest_loadings(modes, same).rows)
    wanted = np.array([3, N - 1])
    np.testing.assert_array_equal(rows.take(wanted), array[wanted])


def test_a_lost_worker_loses_nothing(rows, client, array):
    expected = sum(MemoryRows(array).map(passes.gram))
    passing = rows.map(passes.gram)
    total = next(passing)
    victim = sorted(client.scheduler_info(n_workers=-1)["workers"])[0]
    client.run(end_this_worker, workers=[victim], on_error="return")
    for part in passing:
        total = total + part
    np.testing.assert_array_equal(total, expected)
    np.testing.assert_array_equal(sum(rows.map(passes.gram)), expected)  # also what it had kept


def end_this_worker():
    import os
    import threading

    threading.Timer(0.05, os._exit, [9]).start()


def test_an_error_of_a_chunk_comes_back_as_it_is(client, array, tmp_path):
    array[N - 1, 2] = np.nan
    stored = StoredRows.of_zarr(zarr.create_array(tmp_path / "a.zarr", data=array, chunks=(16_384, 4)))
    for keep in (True, False):
        with pytest.raises(NumericalError, match="row 70000 of a stored matrix"):
            list(ClusterRows(client, stored, keep).map(passes.gram))


def kill():
    import os

    os._exit(9)


def test_a_share_that_kills_its_workers_is_told_of(client):
    rows = ClusterRows(client, StoredRows([StoredPiece(3, kill)], 2, float))
    with pytest.raises(ClusterError, match="workers died while they computed rows of a matrix"):
        list(rows.map(passes.gram))


def test_rows_in_memory_are_refused(client):
    with pytest.raises(UserError, match="rows for a cluster have to be in storage; got MemoryRows"):
        ClusterRows(client, MemoryRows(np.ones((3, 2))))
