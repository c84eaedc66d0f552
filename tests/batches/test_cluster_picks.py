"""Greedy strategies on rows that a cluster's workers hold: the picks of this process."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import zarr
from dense_oracle import heavy_tailed, pool_of

from tasks.batches import STRATEGIES
from tasks.operators.cluster_rows import ClusterRows
from tasks.operators.stored_rows import StoredRows

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["expected-improvement", "expected-improvement-backward", "max-determinant", "eigenmodes"]
)
def test_the_same_picks_as_here(name, client, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.operators.cluster_rows.SHARE", 20_000)
    monkeypatch.setattr("tasks.batches.greedy.FRONT_BYTES", 2**20)  # everybody stays with the workers
    coordinates = heavy_tailed(50_000, 20)
    stored = StoredRows.of_zarr(zarr.create_array(tmp_path / "z.zarr", data=coordinates, chunks=(8_192, 20)))
    here = pool_of(coordinates, np.random.default_rng(0).uniform(0.05, 0.5, 50_000))
    there = replace(here, coordinates=ClusterRows(client, stored))
    mine, theirs = (STRATEGIES[name].pick(pool, 60, np.random.default_rng(0)) for pool in (here, there))
    assert mine.rows.tolist() == theirs.rows.tolist()
    np.testing.assert_allclose(mine.score, theirs.score, rtol=1e-9)
