"""Strategies `k-means-features` and `k-means-embedding`: what lies next to the centres of as many clusters as picks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from tasks.batches.claims import claim_nearest
from tasks.batches.pointwise import picks
from tasks.batches.pool import BoolArray, ExhaustedStrategy, IntArray, Picks, PoolView, check_supply, needed
from tasks.operators.passes import to_numpy
from tasks.operators.rows import Rows
from tasks.threads import OneThread

FEATURES, EMBEDDING = "k-means-features", "k-means-embedding"

# Values that are held at once (128 MiB of float32); more perturbations than fit are represented by a random sample.
MEMORY = 2**25
# Multiply-adds of one turn of k-means above which it goes by small batches.
WORK = 2**33


def pick_k_means_features(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Spread over the library's features: of n clusters of the open perturbations, each gives the one at its centre.

    Large clusters come first. It knows nothing of the model, and nothing of what was observed.

    Formula:
        argmin_x ‖f(x) − c_j‖ for each centre c_j of argmin over c of Σ_x min_j ‖f(x) − c_j‖²; a perturbation that two
        centres want goes to the larger cluster, the other takes the next nearest
    Cost:
        O(n P d) multiply-adds a turn of k-means and for the nearest ones; memory 2²⁵ values. Above 2³³ multiply-adds a
        turn by mini-batches, above 2²⁵ values on a random sample of the pool
    Fails:
        In the units of the features: one of large scale decides alone. What is chosen already plays no part, so that
        picks asked for in parts are not those asked for at once, and may lie next to earlier ones. Exhausted where
        fewer than n perturbations differ in their features
    Source:
        GeneDisco (Mehrjou et al. 2021), kmeans_data, whose code may name a perturbation twice; scikit-learn's k-means

    Raises:
        ExhaustedStrategy: If n > P, or if fewer than n perturbations differ.
        UserError: The pool view has no features.
    """
    return _pick(pool, pool.features, n, rng, FEATURES, "features")


def pick_k_means_embedding(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Spread over what the ensemble makes of the features: of n clusters, each gives the one at its centre.

    Large clusters come first. It knows nothing of uncertainty, and nothing of what was observed.

    Formula:
        As k-means-features, with the ensemble's features h(x) in place of f(x)
    Cost:
        As k-means-features, with the width of the ensemble's features for d
    Fails:
        Where the ensemble has learned little; asked in parts, as k-means-features. Exhausted where fewer than n
        perturbations differ in their embedding
    Source:
        GeneDisco (Mehrjou et al. 2021), kmeans_embedding, whose code may name a perturbation twice; scikit-learn's
        k-means

    Raises:
        ExhaustedStrategy: If n > P, or if fewer than n perturbations differ.
        UserError: The pool view has no embedding.
    """
    return _pick(pool, pool.embedding, n, rng, EMBEDDING, "embedding")


def _pick(pool: PoolView, given: Rows | None, n: int, rng: np.random.Generator, name: str, part: str) -> Picks:
    check_supply(pool, n, name)
    rows = needed(given, part, name)
    if n == 0:
        return picks(np.empty(0), np.empty(0), ())
    candidates = np.flatnonzero(pool.open)
    seen = candidates
    if len(candidates) * rows.shape[1] > MEMORY:
        size = max(MEMORY // rows.shape[1], n)
        seen = np.sort(rng.choice(candidates, size, replace=False))
    points = rows.take(seen)
    if len(np.unique(points, axis=0)) < n:
        # A sample may miss what differs: then some of those that do are added to it.
        seen = np.union1d(seen, _different(pool, rows, n, name, part))
        points = rows.take(seen)
    model = _fit(points, n, int(rng.integers(2**31)))
    sizes = np.bincount(model.labels_, minlength=n)
    order = np.argsort(-sizes, kind="stable")
    centres = model.cluster_centers_[order].astype(np.float64)
    chosen, distance = claim_nearest(rows, pool.open, centres, rng.permutation(len(pool)))
    reasons = (
        f"{d:.3g} from the centre of {k / len(seen):.1%} of the pool in its {part}"
        for d, k in zip(distance.tolist(), sizes[order].tolist(), strict=True)
    )
    return picks(chosen, np.zeros(n), tuple(reasons))


def _different(pool: PoolView, rows: Rows, n: int, name: str, part: str) -> IntArray:
    """(n,) the first open rows that differ from each other.

    Raises:
        ExhaustedStrategy: There are fewer.
    """
    found: dict[bytes, int] = {}
    for numbers, points in rows.map(_different_in_chunk, n, along=(pool.open,)):
        for row, point in zip(numbers.tolist(), points, strict=True):
            found.setdefault(point.tobytes(), row)
        if len(found) >= n:
            return np.array(list(found.values())[:n], dtype=np.int64)
    raise ExhaustedStrategy(
        f"too few perturbations differ in their {part}",
        where=f"strategy {name}, pick {len(found) + 1}",
        got=f"{len(found)} that differ",
        expected=f"at least {n}",
        todo="Give the slot a smaller share, or part of it to the strategy random.",
    )


def _different_in_chunk(chunk: Any, start: int, open_: BoolArray, n: int) -> tuple[IntArray, npt.NDArray[np.floating]]:
    """The first n open rows of a chunk that differ, ascending, and their values."""
    inside = np.flatnonzero(open_)
    # Adding 0 makes -0 and 0 the same bytes.
    points = to_numpy(chunk)[inside] + 0
    first = np.sort(np.unique(points, axis=0, return_index=True)[1])[:n]
    return start + inside[first], points[first]


def _fit(points: npt.NDArray[np.floating], n: int, seed: int) -> Any:
    """k-means with n centres, on one thread: how its sums are divided among threads changes their rounding."""
    from sklearn.cluster import KMeans, MiniBatchKMeans  # takes a third of a second, and few strategies need it

    model = KMeans if points.size * n <= WORK else MiniBatchKMeans
    with _one_thread():
        return model(n_clusters=n, init="k-means++", n_init=1, random_state=seed).fit(points)


def _hold() -> Callable[[], object]:
    limits = threadpool_limits(limits=1)
    restore: Callable[[], object] = limits.restore_original_limits
    return restore


_one_thread = OneThread(_hold)
