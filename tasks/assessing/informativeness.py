"""How uneven informativeness is: where every perturbation tells as much, no order is better than another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Unevenness of the reducible error over the pool.

    Attributes:
        gini: Gini coefficient of the diagonal: 0 all alike, near 1 all in one perturbation.
        top_tenth: Share of the trace that the tenth with the largest diagonal holds; 0.1 where all are alike.
        effective_rank: Directions that the error spreads over, (Σλ)²/Σλ².
        modes: Positive eigenvalues.
    """

    gini: float
    top_tenth: float
    effective_rank: float
    modes: int


def spread(diagonal: Float64, eigenvalues: Float64) -> Spread:
    """Unevenness of the diagonal (n,) and of the eigenvalues (k,) of an operator; negative values count as 0.

    Source:
        Gini coefficient by ranks: Dorfman 1979. Effective rank: the participation ratio of the eigenvalues.
    """
    sizes = np.sort(np.maximum(diagonal, 0.0))
    values = eigenvalues[eigenvalues > 0]
    n, total = len(sizes), float(sizes.sum())
    rank = float(values.sum() ** 2 / np.square(values).sum()) if len(values) else 0.0
    if not n or total <= 0:
        return Spread(0.0, 0.0, rank, len(values))
    gini = float((2 * np.arange(1, n + 1) - n - 1) @ sizes / (n * total))
    return Spread(gini, float(sizes[n - max(1, round(n / 10)) :].sum() / total), rank, len(values))
