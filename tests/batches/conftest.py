"""Pools and plates for the tests of this room."""

from collections.abc import Callable

import numpy as np
import pytest

from tasks.batches import PoolView
from tasks.campaigns.config import ControlWells, PlatesSection


def make_pool(size: int, rank: int, observed: int = 0, seed: int = 0) -> PoolView:
    """A library whose U, Λ, Z and variance agree, with distinct positive eigenvalues; the last rows are observed."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((size + observed, rank)))
    values = np.sort(rng.uniform(0.5, 5.0, rank))[::-1].copy()
    coordinates = basis * np.sqrt(values)
    return PoolView(
        coordinates=coordinates,
        eigenvalues=values,
        variance=np.square(coordinates).sum(axis=1),
        predictions=rng.standard_normal(size + observed),
        members=rng.standard_normal((size + observed, 4)).astype(np.float32),
        open=np.arange(size + observed) < size,
    )


@pytest.fixture(name="make_pool")
def _make_pool() -> Callable[..., PoolView]:
    return make_pool


@pytest.fixture
def plates() -> Callable[..., PlatesSection]:
    def build(fmt: int = 96, **changes: object) -> PlatesSection:
        values: dict[str, object] = {
            "format": fmt,
            "negcon": ControlWells(wells=("A01:D01",)),
            "poscon": ControlWells(wells=("E01:H01",)),
        }
        return PlatesSection(**(values | changes))

    return build


@pytest.fixture
def lean_peer(monkeypatch):
    """batchbald_redux collects garbage at every step, which takes seconds in a process that has run many tests."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)
