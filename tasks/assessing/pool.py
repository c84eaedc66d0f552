"""Outliers and near-duplicates of the library's features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from tasks.errors import UserError
from tasks.operators.rows import Rows, as_rows
from tasks.threads import one_blas_thread

Float64 = npt.NDArray[np.float64]

SAMPLE = 20_000
"""Rows that scales, directions and distances are taken from, where the library has more."""
ASKED = 500
"""Rows whose nearest neighbour is looked for, in the whole library."""
DIRECTIONS = 16
"""Principal directions that outliers are told in."""
PROJECTED = 48
"""Columns to which more features are projected at random to find near-duplicates: distances keep to within a tenth."""
NEAR = 0.02
"""Neighbours nearer than this share of the median distance of two perturbations count as near-duplicates."""
BEYOND = 0.999
"""Quantile of χ² beyond which a robust squared distance counts as an outlier's: one in a thousand Gaussian points."""
_CLIP = 50.0  # robust standard deviations: beyond them a feature says "far", not how far


@dataclass(frozen=True)
class PoolFacts:
    """Of the library's N rows.

    Attributes:
        size: N.
        sampled: Rows that outliers were counted among.
        outliers: Share of them whose robust distance is an outlier's.
        asked: Rows whose nearest neighbour was looked for.
        duplicates: Share of them that coincide with another perturbation of the library, or nearly so.
    """

    size: int
    sampled: int
    outliers: float
    asked: int
    duplicates: float


@one_blas_thread()
def look_at_pool(features: npt.NDArray[np.floating] | Rows, seed: int) -> PoolFacts:
    """Outliers and near-duplicates; the cost is a pass over the library, and a product of N × 48 with 48 × 500.

    Features are scaled by median and interquartile range (half of the range where that is 0, as with sparse features),
    and turned to at most 16 principal directions of a sample. The squared distance from the median, each direction by
    its own robust scale, is compared with χ²; its median is set to that of χ², so that a direction of heavier tails
    than others counts and a common scale does not. Neighbours are sought by all features, projected at random where
    they are many: principal directions would let perturbations coincide that differ in small features.

    Args:
        features: (N, d).
        seed: Of the samples.

    Raises:
        UserError: Fewer than two rows.

    Source:
        Robust distances on principal components: Filzmoser, Maronna and Werner 2008, Outlier identification in high
        dimensions, simplified. Random projections: Johnson and Lindenstrauss 1984.
    """
    rows = features if isinstance(features, Rows) and not isinstance(features, np.ndarray) else as_rows(features)
    size = len(rows)
    if size < 2:
        raise UserError("too few perturbations to look at", got=size, expected="2 or more")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(size, min(size, SAMPLE), replace=False))
    sample = rows.take(chosen).astype(np.float64)
    centre, scale = _scales(sample)
    scaled = np.clip((sample - centre) / scale, -_CLIP, _CLIP)
    turned = scaled @ _directions(scaled)
    outliers = float((_robust_squares(turned) > chi2.ppf(BEYOND, turned.shape[1])).mean())
    width = scaled.shape[1]
    sketch = np.eye(width) if width <= PROJECTED else rng.normal(size=(width, PROJECTED)) / np.sqrt(PROJECTED)
    seen = scaled @ sketch
    asked = np.sort(rng.choice(len(chosen), min(len(chosen), ASKED), replace=False))
    points = seen[asked]
    nearest = np.full(len(points), np.inf)
    for found in rows.map(_nearest, centre, scale, sketch, points, chosen[asked]):
        nearest = np.minimum(nearest, found)
    pairs = np.square(points - points[rng.permutation(len(points))]).sum(axis=1)
    typical = float(np.median(pairs[pairs > 0])) if (pairs > 0).any() else 0.0
    return PoolFacts(size, len(chosen), outliers, len(asked), float((nearest <= NEAR**2 * typical).mean()))


def _scales(sample: Float64) -> tuple[Float64, Float64]:
    low, centre, high = np.quantile(sample, [0.25, 0.5, 0.75], axis=0)
    scale = np.where(high > low, (high - low) / 1.349, np.ptp(sample, axis=0) / 2)
    return centre, np.where(scale > 0, scale, np.inf)


def _directions(scaled: Float64) -> Float64:
    """(d, q) principal directions of rows (k, d)."""
    spread = scaled - scaled.mean(axis=0)
    values, vectors = np.linalg.eigh(spread.T @ spread)
    kept = values[::-1][:DIRECTIONS] > 1e-12 * max(values[-1], 1e-300)
    found: Float64 = vectors[:, ::-1][:, :DIRECTIONS][:, kept]
    return found if found.shape[1] else vectors[:, -1:]


def _robust_squares(seen: Float64) -> Float64:
    """(k,) squared robust distances; their median is that of χ²."""
    low, centre, high = np.quantile(seen, [0.25, 0.5, 0.75], axis=0)
    scale = np.where(high > low, (high - low) / 1.349, seen.std(axis=0))
    z = np.divide(seen - centre, scale, out=np.zeros_like(seen), where=scale > 0)
    squares = np.square(z).sum(axis=1)
    median = float(np.median(squares))
    return np.asarray(squares * (chi2.ppf(0.5, seen.shape[1]) / median) if median > 0 else squares)


def _nearest(
    chunk: npt.NDArray[np.floating],
    start: int,
    centre: Float64,
    scale: Float64,
    sketch: Float64,
    points: Float64,
    own: npt.NDArray[np.int64],
) -> Float64:
    """(a,) squared distance of each point from the nearest row of a chunk that is not its own."""
    seen = np.clip((chunk - centre) / scale, -_CLIP, _CLIP) @ sketch
    squares = np.square(points).sum(axis=1)[:, None] + np.square(seen).sum(axis=1) - 2 * points @ seen.T
    here = (own >= start) & (own < start + len(chunk))
    squares[np.flatnonzero(here), own[here] - start] = np.inf
    found: Float64 = np.maximum(squares.min(axis=1), 0.0)
    return found
