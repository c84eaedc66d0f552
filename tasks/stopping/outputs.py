"""Accuracy where a readout has several outputs: of each one, and of perturbations as a whole."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tasks.errors import UserError
from tasks.stopping.audit import audit_bound

BoolArray = npt.NDArray[np.bool_]


def jointly_right(right: BoolArray, share: float) -> BoolArray:
    """Which perturbations are right: those of whose outputs at least this share is.

    Args:
        right: (n, T) whether each output of each perturbation is predicted rightly; an unmeasured one is not.
        share: 0 < share ≤ 1; 1 asks for all outputs. A count of outputs is meant: share·T is rounded up.

    Returns:
        (n,) bool.

    Raises:
        UserError: If there is no output or the share is out of range.
    """
    if right.ndim != 2 or right.shape[1] == 0 or not 0 < share <= 1:
        raise UserError(
            "no share of outputs",
            where="outputs",
            got=f"outputs {right.shape}, share {share}",
            expected="(n, T) with T ≥ 1, 0 < share ≤ 1",
        )
    needed = math.ceil(share * right.shape[1] - 1e-9)
    return np.asarray(right.sum(axis=1) >= needed)


def output_bounds(right: BoolArray, population: int, risk: float) -> npt.NDArray[np.float64]:
    """Lower bounds of the share predicted rightly, of every output, that hold all at once.

    Args:
        right: (m, T) of a uniform random sample of the population, an unmeasured one counted as wrong.
        population: Perturbations that the sample was drawn from, the sample included; at least 1.
        risk: Probability that any of the bounds is wrong; each output has an equal share (union bound, exact tails).

    Returns:
        (T,) shares of the population.

    Raises:
        UserError: If the sample is larger than the population, or the risk is out of range.
    """
    sample, outputs = right.shape
    errors = (~right).sum(axis=0)
    most = [audit_bound(population, sample, int(count), risk / outputs) for count in errors]
    return np.asarray(1 - np.array(most, dtype=np.float64) / population)
