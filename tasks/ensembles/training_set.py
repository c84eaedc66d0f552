"""What an ensemble learns from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.ensembles.target import Target
from tasks.errors import UserError

MIN_LABELS = 10  # below this too few labels are left to stop on

_SET = "training set"


@dataclass(frozen=True)
class TrainingSet:
    """Features and labels of the observed set, one row per perturbation.

    Args:
        features: (n, d), stored as float32.
        targets: (n, T), or (n,) for one output: aligned readouts [readout unit], or classes 0, 1, …. Stored as float64.
        variances: As the targets: variance of each [readout unit squared]; zeros where it is not known.
        plates: (n, P) whether a well of the label stands on a plate; P = 0 where plates are not known.

    Raises:
        UserError: Shapes disagree, a value is not finite, a variance is negative, or there are too few labels.
    """

    features: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float64]
    variances: npt.NDArray[np.float64]
    plates: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", np.ascontiguousarray(self.features, dtype=np.float32))
        object.__setattr__(self, "targets", _columns(self.targets))
        object.__setattr__(self, "variances", _columns(self.variances))
        plates = np.asarray(self.plates, dtype=bool)
        object.__setattr__(self, "plates", plates if plates.size else np.zeros((len(self.targets), 0), dtype=bool))
        self._check_shapes()
        self._check_values()

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """(n, T) weights 1/(1 + v/v̄), v a label's variance and v̄ the mean of them.

        That is the precision when what the features cannot explain varies as much as the average label's noise.
        """
        average = self.variances.mean(axis=0)
        return np.asarray(1.0 / (1.0 + self.variances / np.where(average > 0, average, 1.0)))

    def check(self, target: Target) -> None:
        """Check that the targets are of a kind.

        Raises:
            UserError: Another number of outputs, or classes that are not 0, 1, … below the number of classes.
        """
        if self.targets.shape[1] != target.outputs:
            raise UserError(
                "the labels have another number of outputs", where=_SET, got=self.targets.shape[1],
                expected=str(target.outputs),
            )  # fmt: skip
        if target.kind == "continuous":
            return
        classes = target.columns if target.kind == "multi-class" else 2
        if not np.isin(self.targets, np.arange(classes)).all():
            wrong = self.targets[~np.isin(self.targets, np.arange(classes))][0]
            raise UserError(
                f"targets of a {target.kind} readout must be classes", where=_SET, got=wrong,
                expected="0 or 1" if classes == 2 else f"0 to {classes - 1}",
            )  # fmt: skip

    def _check_shapes(self) -> None:
        shapes = (self.features.shape, self.targets.shape, self.variances.shape, self.plates.shape)
        if any(len(shape) != 2 for shape in shapes):
            raise UserError("arrays have the wrong rank", where=_SET, got=shapes, expected="(n, d), (n, T), (n, T)")
        if len({shape[0] for shape in shapes}) > 1 or shapes[1] != shapes[2]:
            raise UserError("arrays have different lengths", where=_SET, got=shapes, expected="one row a label")
        if len(self) < MIN_LABELS:
            raise UserError(
                "too few labels to train on",
                where=_SET,
                got=len(self),
                expected=f"at least {MIN_LABELS}",
                todo="Measure more perturbations, or check which plates failed quality control",
            )
        if self.features.shape[1] == 0:
            raise UserError("no feature column", where=_SET, todo="Check library.features in the configuration")

    def _check_values(self) -> None:
        for name, array in (("features", self.features), ("targets", self.targets), ("variances", self.variances)):
            wrong = np.argwhere(~np.isfinite(array))
            if len(wrong):
                raise UserError(
                    f"{len(wrong)} values in the {name} are not finite",
                    where=f"{_SET}, row {wrong[0][0]}",
                    got=array[tuple(wrong[0])],
                    expected="finite numbers",
                    todo="Remove or impute them in the library" if name == "features" else "",
                )
        if np.any(self.variances < 0):
            raise UserError("a variance is negative", where=_SET, got=self.variances.min(), expected=">= 0")


def _columns(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    return array[:, None] if array.ndim == 1 else array
