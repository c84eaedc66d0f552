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
import zarr

from tasks.batches.bench_pool import Sizes, open_pool, open_rows
from tasks.batches.pool import FloatArray, IntArray, Kind
from tasks.batches.registry import STRATEGIES
from tasks.errors import UserError
from tasks.operators.cobias import Cobias, cobias_factor, quadratic_delta
from tasks.operators.diagonal import Diagonal
from tasks.operators.eigenmodes import eigenmodes
from tasks.operators.factors import Factor
from tasks.operators.floor import floor_seconds
from tasks.operators.history import ResidualSet
from tasks.operators.peaks import largest_loadings
from tasks.operators.rows import CHUNK, Rows, in_order
from tasks.threads import one_blas_thread

Move = Callable[[Rows], Rows]

#: Operators that are timed without a strategy.
OPERATORS = ("eigenmodes-alone", "cobias")
_SEED = 0

# The arrays without which a strategy cannot choose, besides who is open: for numbers, and where it differs for classes.
# The embedding of a made-up pool is its features.
_READS: dict[str, tuple[str, ...]] = {
    "random": (),
    "in-order": (),
    "top-variance": ("variance",),
    "soft-bald": ("variance",),
    "error-sampling": ("variance",),
    "margin": ("members",),
    "maximum-entropy": ("variance", "noise"),
    "query-by-committee": ("members",),
    "adversarial-bim": ("features",),
    "greedy-hits": ("predictions",),
    "ucb": ("predictions", "variance"),
    "eigenmodes": ("coordinates",),
    "expected-improvement": ("coordinates", "noise"),
    "expected-improvement-backward": ("coordinates", "noise"),
    "max-determinant": ("coordinates", "noise"),
    "eigenspace-clusters": ("coordinates", "variance", "noise"),
    "k-centre": ("coordinates",),
    "d2-sampling": ("coordinates",),
    "badge": ("features",),
    "k-means-features": ("features",),
    "k-means-embedding": ("features",),
}
_READS_OF_CLASSES: dict[str, tuple[str, ...]] = {
    "soft-bald": ("members",),
    "least-confidence": ("predictions",),
    "margin": ("predictions",),
    "maximum-entropy": ("predictions",),
    "batch-bald": ("members",),
    "badge": ("features", "predictions"),
}
_TALL = ("coordinates", "features")

# Strategies that need more of the tall matrix than a multiply-add for each number.
_BY_GRAM = ("expected-improvement", "expected-improvement-backward")
_BY_DISTANCE = ("eigenspace-clusters", "k-centre", "d2-sampling")
_BY_CLAIMS = ("adversarial-bim", "k-means-features", "k-means-embedding")


@dataclass(frozen=True)
class Work:
    """The least that could do a job.

    Attributes:
        passes: Times that the tall matrix is read, those of its rows that may be picked.
        products: Multiply-adds.
        columns: Width of the tall matrix; None when there are no products of tall blocks.
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
        tall: The tall matrix; coordinates, which every pool has, where none is read.
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
    work, pool = job.work, job.sizes.pool
    bytes_of_row = 4.0 * job.sizes.shapes()[job.tall][1]
    if not work.passes or not job.sizes.from_disk:
        return floor_seconds(work.values + work.passes * pool * bytes_of_row, work.products, work.columns)
    chunks = zarr.open_array(folder / job.tall, mode="r")
    started = time.perf_counter()
    # Once: who passes over them again may find them in memory.
    for _ in in_order(partial(_read, chunks, pool), range(0, pool, CHUNK)):
        pass
    return time.perf_counter() - started + floor_seconds(work.values, work.products, work.columns)


def _read(chunks: zarr.Array[Any], stop: int, start: int) -> int:
    """Read a chunk as it lies there, and nothing else."""
    return len(np.asarray(chunks[start : min(start + CHUNK, stop)]))


def _strategy(name: str, asked: Mapping[str, Any]) -> Job:
    strategy = STRATEGIES[name]
    kind: Kind = "continuous" if "continuous" in strategy.kinds else strategy.kinds[0]
    needs = strategy.needed(kind)
    sizes = Sizes(
        pool=asked["pool"],
        observed=asked["observed"],
        members=asked["members"],
        features=asked["features"] if set(needs) - {"members"} else 0,
        kind=kind,
        from_disk=asked["from_disk"],
    )
    members, features = ("members",) if "members" in needs else (), ("features",) if sizes.features else ()
    parts = ("predictions", "variance", "coordinates", *members, *features)

    def prepare(folder: Path, move: Move) -> Callable[[], IntArray]:
        pool = open_pool(folder, sizes, needs)
        pool = replace(pool, coordinates=move(pool.coordinates))
        return lambda: strategy.pick(pool, asked["batch"], np.random.default_rng(_SEED)).rows

    tall, work = _least(name, sizes, asked["batch"])
    return Job(sizes, parts, prepare, work, tall)


def _least(name: str, sizes: Sizes, batch: int) -> tuple[str, Work]:
    """The tall matrix that a strategy looks at, and the least work on it.

    One look at who is open, and at those numbers of the open rows without which it cannot choose.
    """
    numbers = _READS.get(name, ())
    reads = numbers if sizes.kind == "continuous" else _READS_OF_CLASSES.get(name, numbers)
    tall = next((part for part in reads if part in _TALL), None)
    values = sizes.library + float(sum(_bytes(part, sizes) for part in reads if part != tall))
    if tall is None:
        return "coordinates", Work(0, 0.0, None, values)
    columns = sizes.shapes()[tall][1]
    products = _products(name, sizes, batch, columns)
    return tall, Work(1, products, columns if products else None, values)


def _bytes(part: str, sizes: Sizes) -> int:
    """Bytes of an array's open rows."""
    width = int(np.prod(sizes.shapes()[part][1:])) if part != "noise" else 1
    return sizes.pool * width * (4 if part == "members" else 8)


def _products(name: str, sizes: Sizes, batch: int, columns: int) -> float:
    """Multiply-adds of open rows: one for each number, unless the strategy asks for more, or only compares.

    More: the Gram matrix, distances to what was observed, or those to as many points as picks, each row's once.
    """
    numbers = float(sizes.pool) * columns
    if name == "eigenmodes":
        return 0.0
    if name in _BY_GRAM:
        return numbers * columns
    if name in _BY_CLAIMS:
        return numbers * batch
    return numbers * max(sizes.observed, 1) if name in _BY_DISTANCE else numbers


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


@one_blas_thread()
def _heaviest_rows(factor: Factor) -> IntArray:
    """The row that loads most on each mode."""
    return largest_loadings(eigenmodes(factor), factor).rows
