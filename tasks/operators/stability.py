"""How far an estimate can be trusted: it is made twice, from two halves of the residuals, and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse
from scipy.stats import rankdata

from tasks.errors import UserError
from tasks.operators.eigenmodes import eigenmodes
from tasks.operators.factors import Factor

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MODES = 3
_MOST = 2.0  # a part may hold this many times its fair share of the points
_FEWEST_GROUPS = 2  # in a part


@dataclass(frozen=True)
class Stability:
    """How well the estimates of two halves of the residuals agree.

    Attributes:
        diagonals: Spearman's rank correlation of their diagonals over the residuals' points; None where it cannot be
            told.
        subspace: Overlap ‖U₁ᵀU₂‖²_F/k of their leading eigenvectors over those points: 1 the same space, k/p by chance
            in p features; None where one half found nothing.
        modes: k, at most three.
        by: What was halved: plates, so that noise of a plate is in one half alone, or labels where plates are too few.
        why: Why a figure is None.
    """

    diagonals: float | None
    subspace: float | None
    modes: int
    by: str
    why: str = ""


def deal(plates: Bools, parts: int, seed: int) -> tuple[npt.NDArray[np.int64], Literal["plates", "labels"]]:
    """Deal points into parts, so that no plate has points in two of them where that is possible.

    Points that share a plate, directly or through others, stay together. Where that leaves fewer than two groups a
    part, or a part with twice its fair share, the points are dealt by themselves: a part that is a round would stand
    for another region of the library than the rest.

    Args:
        plates: (n, P) whether a point has a well on a plate; P may be 0.
        parts: At least 2.
        seed: Of the order in which points, or groups of the same size, are dealt.

    Returns:
        Part of each point (n,), 0 to parts − 1, and what was dealt.

    Raises:
        UserError: Fewer points than parts.
    """
    n = len(plates)
    if n < parts:
        raise UserError("too few residuals to divide", got=n, expected=f"at least {parts}")
    order = np.random.default_rng(seed).permutation(n)
    group = _connected(plates)
    sizes = np.bincount(group)
    if len(sizes) >= _FEWEST_GROUPS * parts:
        which, filled = np.empty(len(sizes), dtype=np.int64), np.zeros(parts)
        first = np.full(len(sizes), n)
        np.minimum.at(first, group[order], np.arange(n))
        for one in np.lexsort((first, -sizes)):
            which[one] = filled.argmin()
            filled[which[one]] += sizes[one]
        if filled.max() <= _MOST * n / parts:
            return which[group], "plates" if plates.any() else "labels"
    dealt = np.empty(n, dtype=np.int64)
    dealt[order] = np.arange(n) % parts
    return dealt, "labels"


def _connected(plates: Bools) -> npt.NDArray[np.int64]:
    """(n,) group of each point; points of a group are tied by plates. One without a plate is a group of its own."""
    n, count = plates.shape
    points, on = np.nonzero(plates)
    edges = scipy.sparse.coo_array((np.ones(len(points)), (points, on + n)), shape=(n + count, n + count))
    _, label = scipy.sparse.csgraph.connected_components(edges, directed=False)
    return np.unique(label[:n], return_inverse=True)[1].astype(np.int64)


def agreement(first: Factor, second: Factor, by: str) -> Stability:
    """Compare two estimates of one operator over the same points.

    Args:
        first: From one half of the residuals, over all their points.
        second: From the other half, over the same points.
        by: What was halved.
    """
    one, other = eigenmodes(first, _MODES), eigenmodes(second, _MODES)
    modes = min(one.positive, other.positive)
    if not modes:
        return Stability(None, None, 0, by, "one half of the residuals shows nothing but noise")
    u, v = one.loadings(first)[:, :modes], other.loadings(second)[:, :modes]
    correlation = rank_correlation(first.diagonal(), second.diagonal())
    why = "" if correlation is not None else "a diagonal is constant"
    return Stability(correlation, float(np.square(u.T @ v).sum() / modes), modes, by, why)


def rank_correlation(x: Float64, y: Float64) -> float | None:
    """Spearman's, ties by their mean rank; None where one of x (n,) and y (n,) is constant."""
    ranks = rankdata(x), rankdata(y)
    if min(np.ptp(rank) for rank in ranks) == 0:
        return None
    return float(np.corrcoef(*ranks)[0, 1])
