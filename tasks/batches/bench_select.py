"""What `bench select` times: a strategy on a made-up pool, or an operator alone; and the least that could do it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.batches.bench_pool import Sizes, open_pool, open_rows
from tasks.batches.pool import FloatArray, IntArray
from tasks.batches.registry import STRATEGIES
from tasks.errors import UserError
from tasks.operators.cobias import Cobias, cobias_factor, quadratic_delta
from tasks.operators.diagonal import Diagonal
from tasks.operators.eigenmodes import eigenmodes
from tasks.operators.factors import Factor
from tasks.operators.floor import floor_seconds
from tasks.operators.history import ResidualSet
from tasks.operators.peaks import largest_loadings
from tasks.operators.rows import Rows

Move = Callable[[Rows], Rows]

#: Operators that are timed without a strategy.
OPERATORS = ("eigenmodes-alone", "cobias")
_SEED = 0

# What strategies look at, for the least that could do them.
_BY_COLUMN = ("random", "in-order", "top-variance", "soft-bald", "error-sampling", "greedy-hits", "ucb")
_BY_MEMBERS = ("least-confidence", "margin", "maximum-entropy", "query-by-committee", "batch-bald")
_BY_FEATURES = ("k-means-features", "k-means-embedding")
_BY_GRAM = ("expected-improvement", "expected-improvement-backward")
_BY_DISTANCE = ("eigenspace-clusters", "k-centre", "d2-sampling")


@dataclass(frozen=True)
class Work:
    """The least that could do a job.

    Attributes:
        passes: Times that the tall matrix is read.
        products: Multiply-adds.
        columns: Width of the tall matrix; None when products are not those of tall blocks.
        values: Bytes read besides.
    """

    passes: int
    products: float
    columns: int | None
    values: float = 0.0


@dataclass(frozen=True)
class Job:
    """Something to time.

    Attributes:
        sizes: Of the pool that it needs.
        parts: Arrays of it, to be written first.
        prepare: Opens what was written, and lets the tall matrix be moved to where it is worked on; what it gives is
            timed, and answers with rows that were picked.
        work: The least that could do it.
        tall: The tall matrix.
    """

    sizes: Sizes
    parts: tuple[str, ...]
    prepare: Callable[[Path, Move], Callable[[], IntArray]]
    work: Work
    tall: str


def job_of(asked: Mapping[str, Any]) -> Job:
    """The job that some sizes describe.

    Args:
        asked: strategy, pool, observed, members, batch, features, labels, from_disk.

    Raises:
        UserError: Neither a strategy nor an operator, or cobias of more residuals than perturbations.
    """
    name = asked["strategy"]
    if name in STRATEGIES:
        return _strategy(name, asked)
    if name not in OPERATORS:
        known = ", ".join([*STRATEGIES, *OPERATORS])
        raise UserError("unknown strategy", where="bench select --strategy", got=repr(name), expected=known)
    return _eigenmodes_alone(asked) if name == "eigenmodes-alone" else _cobias(asked)


def floor(folder: Path, job: Job) -> float:
    """Seconds that the least takes, at the rates of now: reading from where the tall matrix is, and multiplying.

    Args:
        folder: Where the pool was written.
        job: The job.
    """
    work, shape = job.work, job.sizes.shapes()[job.tall]
    tall = 4.0 * shape[0] * shape[1] * work.passes
    if not job.sizes.from_disk:
        return floor_seconds(work.values + tall, work.products, work.columns)
    rows = open_rows(folder, job.tall, job.sizes)
    started = time.perf_counter()
    for _ in rows.map(_touch):
        pass
    return time.perf_counter() - started + floor_seconds(work.values, work.products, work.columns)


def _touch(chunk: npt.NDArray[np.floating], start: int) -> int:
    return len(chunk)


def _strategy(name: str, asked: Mapping[str, Any]) -> Job:
    strategy = STRATEGIES[name]
    sizes = Sizes(
        pool=asked["pool"],
        observed=asked["observed"],
        members=asked["members"],
        features=asked["features"] if strategy.needs else 0,
        kind="continuous" if "continuous" in strategy.kinds else strategy.kinds[0],
        from_disk=asked["from_disk"],
    )
    parts = ("members", "predictions", "variance", "coordinates", *(("features",) if sizes.features else ()))

    def prepare(folder: Path, move: Move) -> Callable[[], IntArray]:
        pool = open_pool(folder, sizes, strategy.needs)
        pool = replace(pool, coordinates=move(pool.coordinates))
        return lambda: strategy.pick(pool, asked["batch"], np.random.default_rng(_SEED)).rows

    tall, work = _least(name, sizes, asked["batch"])
    return Job(sizes, parts, prepare, work, tall)


def _least(name: str, sizes: Sizes, batch: int) -> tuple[str, Work]:
    """The tall matrix that a strategy looks at, and the least work on it.

    One look at every row, with a multiply-add for each number, unless the strategy asks for more: expected improvement
    for the Gram matrix, those that go by distance for the distances to what was observed, k-means for those to its
    centres once; or for less: a column or the members' predictions instead of coordinates.
    """
    rows, modes = float(sizes.library), sizes.members - 1
    if name in _BY_COLUMN:
        return "coordinates", Work(0, 0.0, None, 8 * rows)
    if name in _BY_MEMBERS:
        return "coordinates", Work(0, 0.0, None, 4.0 * np.prod(sizes.shapes()["members"]))
    if name in _BY_FEATURES:
        return "features", Work(1, rows * sizes.features * batch, sizes.features)
    if name in _BY_GRAM:
        return "coordinates", Work(1, rows * modes**2, modes)
    centres = max(sizes.observed, 1) if name in _BY_DISTANCE else 1
    return "coordinates", Work(1, rows * modes * centres, modes)


def _eigenmodes_alone(asked: Mapping[str, Any]) -> Job:
    """Eigenmodes of Σ_F, then the row with the largest loading on each: two passes and two products."""
    sizes = Sizes(asked["pool"], 0, asked["members"], from_disk=asked["from_disk"])

    def prepare(folder: Path, move: Move) -> Callable[[], IntArray]:
        factor = Factor(move(open_rows(folder, "factor", sizes)))
        return partial(_heaviest_rows, factor)

    rows, columns = sizes.shapes()["factor"]
    return Job(sizes, ("factor",), prepare, Work(2, 2.0 * rows * columns**2, columns), "factor")


def _cobias(asked: Mapping[str, Any]) -> Job:
    """Δ from all pairs of residuals, then its diagonal over the library."""
    sizes = Sizes(asked["pool"], 0, 2, asked["features"], from_disk=asked["from_disk"])
    labels = asked["labels"]
    if labels > sizes.pool:
        todo = f"Give at most --labels {sizes.pool}, or a larger --pool."
        raise UserError("more residuals than perturbations", where="bench select", got=labels, todo=todo)

    def prepare(folder: Path, move: Move) -> Callable[[], IntArray]:
        return partial(_largest_cobias, move(open_rows(folder, "features", sizes)), labels)

    rows, columns = sizes.shapes()["features"]
    products = float(labels * columns**2 + rows * columns)
    return Job(sizes, ("features",), prepare, Work(1, products, columns, 4.0 * labels * columns), "features")


def _largest_cobias(features: Rows, labels: int) -> IntArray:
    """The ten rows with the largest δ̂², from made-up residuals that depend on all features."""
    phi = features.take(np.arange(labels)).astype(np.float64)
    residuals = phi.mean(axis=1) + np.random.default_rng(_SEED).standard_normal(labels)
    cobias = quadratic_delta([ResidualSet(phi, residuals, Diagonal(np.ones(labels)))], ridge=1e-3)
    found = np.concatenate(list(features.map(_cobias_diagonal, cobias)))
    return np.argsort(-found, kind="stable")[:10].astype(np.int64)


def _cobias_diagonal(chunk: npt.NDArray[np.floating], start: int, cobias: Cobias) -> FloatArray:
    return cobias_factor(chunk, cobias).diagonal()


def _heaviest_rows(factor: Factor) -> IntArray:
    """The row that loads most on each mode."""
    return largest_loadings(eigenmodes(factor), factor).rows
