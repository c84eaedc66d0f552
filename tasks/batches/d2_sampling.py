"""Strategy `d2-sampling`: by chance, in proportion to the squared distance from what is known."""

from __future__ import annotations

import numpy as np

from tasks.batches.nearest import Nearest, all_coincide
from tasks.batches.pointwise import picks
from tasks.batches.pool import FloatArray, IntArray, Picks, PoolView, check_supply
from tasks.batches.targets import squares
from tasks.threads import one_blas_thread

NAME = "d2-sampling"


def pick_d2_sampling(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Draw one after another in proportion to the squared distance in Z from the nearest that is known or drawn.

    On the calibrated operator the squared distance is the expected squared difference of two errors, so draws follow
    the error and keep apart. The centres are the observed perturbations and the picks so far; without observed ones the
    origin stands in for the first pick, which is then drawn in proportion to its reducible error.

    Formula:
        p(x) ∝ d²(x), d(x) = min over centres c of ‖z(x) − z(c)‖
    Cost:
        O((n_obs + n) N r) multiply-adds at the rate of matrix products, less where the triangle inequality spares
        rows; memory some vectors of N
    Fails:
        Draws outliers early; chases noise on an operator from which σ²_Y was not subtracted. Says at which pick
        everything left coincides with what was chosen
    Source:
        Arthur and Vassilvitskii 2007, "k-means++: the advantages of careful seeding" (which draws the first one
        uniformly), with the observed set as first centres

    Raises:
        ExhaustedStrategy: If n > P, or if every perturbation left coincides with a centre.
    """
    check_supply(pool, n, NAME)
    with one_blas_thread():
        near = Nearest(pool, pool.coordinates, pool.observed)
        rows, square = draw_by_square(near, n, rng, NAME, near.square)
    distance = np.sqrt(square)
    return picks(rows, distance, tuple(f"drawn {d:.3g} away from what was chosen before" for d in distance.tolist()))


def draw_by_square(
    near: Nearest, n: int, rng: np.random.Generator, strategy: str, first: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Draw n rows, each with probability ∝ its squared distance from the centres and the rows drawn before it.

    Several are drawn from the distances before any of them was added. The others that were drawn are then looked at in
    turn, and one is kept with probability d²/d²before, d² counting those that were kept: distances only fall, so what
    is kept has the distribution of draws one by one (rejection sampling).

    Args:
        near: The centres so far.
        n: How many.
        rng: Draws.
        strategy: Its name, for messages.
        first: (N,) weights of the first draw where there is no centre yet.

    Returns:
        (n,) rows in the order of the draw, (n,) squared distance of each when it was drawn.

    Raises:
        ExhaustedStrategy: If everything left coincides with a centre.
    """
    rows: list[int] = []
    square: list[float] = []
    if near.blank and n:
        row = int(_draws(first, 1, rng, strategy, 0, n)[0])
        rows.append(row)
        square.append(float(near.square[row]))
        near.begin(np.array(rows))
    while len(rows) < n:
        drawn = _draws(near.square, near.ahead(n - len(rows)), rng, strategy, len(rows), n)
        before, points = near.square[drawn], near.points(drawn)
        now, norms, chance = before.copy(), np.square(points).sum(axis=1), rng.random(len(drawn))
        kept = []
        for place, row in enumerate(drawn.tolist()):
            if chance[place] * before[place] >= now[place]:
                continue
            kept.append(row)
            square.append(float(now[place]))
            now = np.minimum(now, squares(points, points[place : place + 1], norms[place : place + 1]))
        rows += kept
        if len(rows) < n:
            for reach in near.reaches(np.array(kept)):
                near.add(reach)
    return np.array(rows, dtype=np.int64), np.array(square)


def _draws(weight: FloatArray, count: int, rng: np.random.Generator, strategy: str, pick: int, n: int) -> IntArray:
    """Rows drawn with replacement in proportion to their weights (N,)."""
    total = np.cumsum(weight)
    if not len(total) or total[-1] <= 0:
        raise all_coincide(strategy, pick, n)
    rows = np.searchsorted(total, rng.random(count) * total[-1], side="right")
    # A product that was rounded up to the total itself belongs to the last row that has a weight.
    return np.asarray(rows.clip(max=np.searchsorted(total, total[-1])), dtype=np.int64)
