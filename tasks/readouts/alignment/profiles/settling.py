"""What a plate's estimates become once the run is known, for many features at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.readouts.alignment.model import RunLevel
from tasks.readouts.alignment.shrinkage import Shrunk, settle

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RunLevels:
    """What a run says of a plate that has not been looked at; see `RunLevel`. (d,) each."""

    mean: Array
    mean_variance: Array
    between_variance: Array

    @property
    def rows(self) -> Array:
        """As one array, (3, d)."""
        return np.stack([self.mean, self.mean_variance, self.between_variance])


@dataclass(frozen=True, eq=False)
class Settled:
    """Levels of d features on P plates.

    Attributes:
        values: Settled levels, (P, d).
        covariances: Covariances of their errors between plates, (d, P, P).
        kept: Share kept of the plate's own estimate, (P, d).
        levels: What is kept for later plates.
    """

    values: Array
    covariances: Array
    kept: Array
    levels: RunLevels


def settle_features(values: Array, variances: Array, *, shrinkage: bool, levels: RunLevels | None) -> Settled:
    """Settle every feature for itself.

    Args:
        values: Estimates, (P, d).
        variances: Their error variances, (P, d), positive; inf: the plate cannot tell and takes the run's level. In
            every column one is finite, or levels are given.
        shrinkage: Whether plates that can tell are shrunk too. A plate alone is not.
        levels: What the run's first plates left behind; None: these are the first.
    """
    n_plates, d = values.shape
    if levels is None:
        # A plate that tells nothing goes along, so that a plate alone leaves a level behind too.
        values = np.vstack([values, np.zeros(d)])
        variances = np.vstack([variances, np.full(d, np.inf)])
        shrinkage = shrinkage and n_plates > 1
    columns = [settle(values[:, j], variances[:, j], shrinkage=shrinkage, level=_level(levels, j)) for j in range(d)]
    return Settled(
        values=np.stack([column.values[:n_plates] for column in columns], axis=1),
        covariances=np.stack([column.covariance[:n_plates, :n_plates] for column in columns]),
        kept=np.stack([column.kept[:n_plates] for column in columns], axis=1),
        levels=_levels(columns) if levels is None else levels,
    )


def _level(levels: RunLevels | None, j: int) -> RunLevel | None:
    if levels is None:
        return None
    mean, mean_variance, between_variance = (float(row[j]) for row in levels.rows)
    return RunLevel(mean=mean, mean_variance=mean_variance, between_variance=between_variance)


def _levels(columns: list[Shrunk]) -> RunLevels:
    found = [column.level for column in columns if column.level is not None]
    return RunLevels(
        *(np.array([getattr(level, name) for level in found]) for name in ("mean", "mean_variance", "between_variance"))
    )
