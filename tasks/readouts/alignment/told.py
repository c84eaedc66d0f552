"""What ties tell of a plate's scale, and at which level its offset and its scale err independently."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tasks.readouts.alignment.model import RawFit
from tasks.readouts.alignment.shrinkage import Shrunk

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Told:
    """Plates after their centres, described where samples lie, were tied.

    A plate's line through its controls errs there by what its own centre errs and by what a wrong scale does to the way
    from there to the samples. So what ties tell of the first tells of the scale too: with b̂ the centre before and b
    after, the log scale g becomes g + k·(b − b̂), k = Cov(b̂, g)/Var(b̂), as for any two normal variables.

    Attributes:
        raw: Centres before ties, where the samples lie.
        away: How far that is from where centre and scale erred independently [readout unit].
        before: Log scales before ties.
        shared: Variance of the error that all log scales have in common; ties tell nothing of it.
        centre: Centres after ties.
    """

    raw: RawFit
    away: float
    before: Shrunk
    shared: float
    centre: Shrunk

    @cached_property
    def log_scale(self) -> Shrunk:
        """Log scales after ties."""
        moved = np.where(self._gain == 0.0, 0.0, self._gain * (self.centre.values - self.raw.centre))
        gained = self._gain**2 * np.where(self._gain == 0.0, 0.0, self._variance - self._variance_left)
        covariance = self.before.covariance - np.diag(np.maximum(gained, 0.0))
        return replace(self.before, values=self.before.values + moved, covariance=covariance)

    @property
    def level(self) -> float:
        """Aligned value at which errors of offset and scale are independent, usually [readout unit]."""
        scale_left = np.maximum(self.log_scale.variances - self.shared, 0.0)
        told = (self._gain != 0.0) & (scale_left > 0.0)
        if not told.any():
            return self.raw.anchor - self.away
        ratio = self._log_scale_variance[told] / scale_left[told] * self._variance_left[told] / self._variance[told]
        return self.raw.anchor - self.away * float(np.median(np.clip(ratio, 0.0, 1.0)))

    def centre_at(self, level: float) -> Shrunk:
        """Centres at an aligned value, with the covariance of their errors."""
        way = self.raw.sign * (level - self.raw.anchor) * self._scale
        turned = 1.0 + way * self._gain
        rest = way**2 * np.maximum(
            self._log_scale_variance - self._gain**2 * np.where(self._gain == 0.0, 0.0, self._variance), 0.0
        )
        from_controls = self.raw.sign * (level - self.raw.anchor + self.away) * self._scale
        covariance = (
            self.centre.covariance * np.outer(turned, turned)
            + np.diag(rest)
            + self.shared * np.outer(from_controls, from_controls)
        )
        after = self.raw.sign * (level - self.raw.anchor) * np.exp(self.log_scale.values)
        run = self.centre.level
        if run is not None:
            run = run.model_copy(update={"mean": run.mean + float(np.median(after))})
        return replace(self.centre, values=self.centre.values + after, covariance=covariance, level=run)

    @property
    def _scale(self) -> Array:
        return np.exp(self.before.values)

    @property
    def _variance(self) -> Array:
        return self.raw.centre_variance

    @property
    def _variance_left(self) -> Array:
        return self.centre.variances

    @property
    def _log_scale_variance(self) -> Array:
        return np.maximum(self.before.variances - self.shared, 0.0)

    @cached_property
    def _gain(self) -> Array:
        """k, (P,) [1/instrument unit]; 0 where the controls tell nothing."""
        gain = self.raw.sign * self.away * self._scale * self._log_scale_variance / self._variance
        return np.where(np.isfinite(self._variance), gain, 0.0)
