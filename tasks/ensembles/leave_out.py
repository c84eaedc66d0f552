"""What a Gaussian process says of labels that it has not seen, without fitting it again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.ensembles.folds import FEWEST_PLATES, LEAST_KEPT

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


def sets_to_leave_out(plates: npt.NDArray[np.bool_]) -> tuple[list[tuple[Rows, Rows]], str]:
    """Labels to ask about, and which to leave out for it: all that share a plate with them, or themselves alone.

    Noise of a plate is shared by its labels: a label is not predicted honestly by one that stands beside it. Plates are
    left out where there are enough, and none takes too many labels away; networks hold out plates on the same terms.

    Args:
        plates: (n, P) whether a label has a well on a plate.

    Returns:
        Pairs of rows (asked, left out), and what is left out: plates or labels.
    """
    n = len(plates)
    alone = [(np.array([row]), np.array([row])) for row in range(n)]
    if plates.shape[1] < FEWEST_PLATES:
        return alone, "labels"
    patterns, which = np.unique(plates, axis=0, return_inverse=True)
    sets = [
        (np.flatnonzero(which.ravel() == number), np.flatnonzero((plates & pattern).any(axis=1)))
        for number, pattern in enumerate(patterns)
    ]
    # A label without a plate shares none, not even with itself.
    sets = [pair for pair in sets if len(pair[1])] + [alone[row] for row in np.flatnonzero(~plates.any(axis=1))]
    if max(len(left) for _, left in sets) > (1 - LEAST_KEPT) * n:
        return alone, "labels"
    return sets, "plates"


def say_without(
    sets: Sequence[tuple[Rows, Rows]], inverse: Floats, weights: Floats, targets: Floats
) -> tuple[Floats, Floats]:
    """Mean and variance (n,) of each label, noise included, given the labels that are not left out with it.

    Args:
        sets: Pairs of rows (asked, left out); a row is asked about once, and is left out with itself.
        inverse: (n, n) inverse of the labels' covariance, noise included.
        weights: (n,) that inverse times the targets.
        targets: (n,).

    Source:
        Rasmussen & Williams 2006, eq. 5.12, and the same for blocks: with B the inverse's block of the rows left out,
        their covariance is B⁻¹ and their mean y − B⁻¹ α.
    """
    mean, variance = np.empty(len(targets)), np.empty(len(targets))
    for asked, left in sets:
        covariance = np.linalg.inv(inverse[np.ix_(left, left)])
        at = np.searchsorted(left, asked)
        mean[asked] = targets[asked] - covariance[at] @ weights[left]
        variance[asked] = np.diag(covariance)[at]
    return mean, variance
