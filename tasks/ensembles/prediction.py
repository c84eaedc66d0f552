"""What an ensemble says: arrays, for which no library of networks is needed."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """What an ensemble says about n perturbations.

    Attributes:
        members: (n, M) prediction of each member [readout unit], or probability; (n, M, C) of several outputs or
            classes.
        within: (n, r) factor of the members' own posterior covariance [readout unit]: within·withinᵀ sketches
            mean_m Φ_m S_m Φ_mᵀ. r = 0 when the ensemble was fitted without it.
        features: (n, p+1) leading ensemble features, the last one constant 1.
        sd: (n, C) standard deviation of a new readout [readout unit], as wide as out-of-fold residuals show it must be:
            90% of new readouts should lie within 1.645 of them. (n, 0) for classes.
        gradients: (n, g) sketched gradients of the members' predictions by their weights: products of two rows say
            which errors go together, their lengths nothing. g = 0 for models without, or where they are switched off.
    """

    members: Float32
    within: Float32
    features: Float32
    sd: Float32 = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    gradients: Float32 = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))

    @property
    def per_member(self) -> Float64:
        """(n, M, C), however many columns there are."""
        members = self.members.astype(np.float64)
        return members[..., None] if members.ndim == 2 else members

    @property
    def mean(self) -> Float64:
        """(n,) mean over the members, of the only output; (n, C) of several."""
        return np.asarray(self.members.mean(axis=1, dtype=np.float64))


#: Arrays of a prediction, each an output of its checkpoint.
PREDICTED = tuple(each.name for each in fields(Prediction))
