"""What an ensemble learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.errors import UserError

FloatArray = npt.NDArray[np.floating]

MIN_LABELS = 10  # below this a bootstrap leaves too few labels outside to stop on


@dataclass(frozen=True)
class TrainingSet:
    """Features and labels of the observed set, one row per perturbation.

    Args:
        features: (n, d), stored as float32.
        targets: (n,), aligned readout [readout unit], or classes 0 and 1. Stored as float64.
        variances: (n,), variance of each target [readout unit squared]; zeros where it is not known.

    Raises:
        UserError: Shapes disagree, a value is not finite, a variance is negative, or there are too few labels.
    """

    features: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float64]
    variances: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", np.ascontiguousarray(self.features, dtype=np.float32))
        object.__setattr__(self, "targets", np.asarray(self.targets, dtype=np.float64))
        object.__setattr__(self, "variances", np.asarray(self.variances, dtype=np.float64))
        self._check_shapes()
        self._check_values()

    def __len__(self) -> int:
        return len(self.targets)

    def _check_shapes(self) -> None:
        if self.features.ndim != 2 or self.targets.ndim != 1 or self.variances.ndim != 1:
            shapes = (self.features.shape, self.targets.shape, self.variances.shape)
            raise UserError(
                "arrays have the wrong rank", where="training set", got=shapes, expected="(n, d), (n,), (n,)"
            )
        if not len(self.features) == len(self.targets) == len(self.variances):
            lengths = (len(self.features), len(self.targets), len(self.variances))
            raise UserError(
                "arrays have different lengths", where="training set", got=lengths, expected="one row a label"
            )
        if len(self) < MIN_LABELS:
            raise UserError(
                "too few labels to train on",
                where="training set",
                got=len(self),
                expected=f"at least {MIN_LABELS}",
                todo="Measure more perturbations, or check which plates failed quality control",
            )
        if self.features.shape[1] == 0:
            raise UserError(
                "no feature column", where="training set", todo="Check library.features in the configuration"
            )

    def _check_values(self) -> None:
        for name, array in (("features", self.features), ("targets", self.targets), ("variances", self.variances)):
            wrong = np.argwhere(~np.isfinite(array))
            if len(wrong):
                raise UserError(
                    f"{len(wrong)} values in the {name} are not finite",
                    where=f"training set, row {wrong[0][0]}",
                    got=array[tuple(wrong[0])],
                    expected="finite numbers",
                    todo="Remove or impute them in the library" if name == "features" else "",
                )
        if np.any(self.variances < 0):
            raise UserError("a variance is negative", where="training set", got=self.variances.min(), expected=">= 0")
