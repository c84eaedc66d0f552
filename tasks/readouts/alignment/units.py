"""Plates that move together, and what their controls are worth when outliers are possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.readouts.alignment.anchors import Component
from tasks.readouts.alignment.model import RunLevel
from tasks.readouts.alignment.offsets import Sites
from tasks.readouts.alignment.shrinkage import Shrunk
from tasks.readouts.alignment.tails import PLATE_TAILS, Before, Group, fit_noise, normal_worth

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Units:
    """Plates as they move together.

    Attributes:
        parts: Tied plates, and the others one by one.
        scale: Raw units per aligned unit of each plate, (P,).
        heavy: Plates whose controls have heavy tails, (P,).
        tail: Degrees of freedom of that tail; None: normal.
    """

    parts: Sequence[Component]
    scale: Array
    heavy: npt.NDArray[np.bool_]
    tail: float | None

    def between(self, sites: Sites) -> RunLevel:
        """How parts differ, from their medians: where refinement starts, and the tail of their differences."""
        levels, known = [], []
        for part in self.parts:
            of = part.plates[np.isfinite(sites.variances[part.plates])]
            if len(of):
                group = self._group(sites, part, of)
                levels.append(float(np.median(group.values)))
                known.append(1.0 / float((1.0 / group.known).sum()))
        found = fit_noise([Group(np.array(levels), np.array(known), np.ones(len(known)))], tails=PLATE_TAILS)
        size = float(np.median(self.scale))
        return RunLevel(
            mean=float(np.median(levels)) * size,
            mean_variance=(found.variance + float(np.median(known))) * size**2 / len(levels),
            between_variance=found.variance * size**2,
            tail=found.tail,
        )

    def before(self, part: Component, level: RunLevel | None, tail: float | None) -> Before:
        """What the run says of a part's level."""
        if level is None:
            return Before(0.0, np.inf, None)
        s = self.scale[part.plates]
        between = level.between_variance * float(np.mean(s**-2.0)) / len(s)
        shared = level.mean_variance * float(np.mean(1.0 / s)) ** 2
        return Before(float(np.mean((level.mean - part.offsets) / s)), between + shared, tail)

    def before_later(
        self, part: Component, without: Shrunk, level: RunLevel, earlier: int, *, shrinkage: bool
    ) -> Before:
        """What the run, and earlier plates that it is tied to, say of a part's level."""
        if part.plates.min() >= earlier:
            nothing = None if not shrinkage else level.model_copy(update={"mean": 0.0})
            return self.before(part, nothing, level.tail)
        s = self.scale[part.plates]
        mean = (without.values[part.plates] - part.offsets) / s
        return Before(float(np.mean(mean)), float(np.mean(without.variances[part.plates] / s**2)), None)

    def as_normal(self, sites: Sites, before: Sequence[Before]) -> tuple[Sites, Array, Array]:
        """Normal sites, trust (P,) in what was known before, and error covariance (P, P) that normal ones would lack.

        Tied plates are judged together.

        The ties' own errors, small beside the controls' as a rule, count as errors of the controls here.
        """
        values, variances, trust = sites.values.copy(), sites.variances.copy(), np.ones(len(sites.values))
        extra = np.zeros((len(values), len(values)))
        for part, known in zip(self.parts, before, strict=True):
            of = part.plates[np.isfinite(sites.variances[part.plates])]
            tail = self.tail if self.heavy[of].any() else None
            if not len(of) or (tail is None and known.tail is None):
                continue
            worth = normal_worth(self._group(sites, part, of), tail, known)
            values[of] += self.scale[of] * worth.shift
            variances[of] /= worth.shares
            if np.isfinite(known.variance):
                trust[part.plates] = worth.before
            extra[np.ix_(part.plates, part.plates)] = worth.extra * np.outer(
                self.scale[part.plates], self.scale[part.plates]
            )
        return Sites(values, variances), trust, extra

    def _group(self, sites: Sites, part: Component, of: npt.NDArray[np.intp]) -> Group:
        here = np.isin(part.plates, of)
        s = self.scale[of]
        known = (sites.variances[of] + part.variances[here]) / s**2
        return Group((sites.values[of] - part.offsets[here]) / s, known, np.ones_like(known))


def together(tied: Sequence[Component], count: int) -> list[Component]:
    """Plates that move together, and the rest one by one."""
    alone = sorted(set(range(count)) - {int(plate) for part in tied for plate in part.plates})
    return [*tied, *(Component(np.array([plate]), np.zeros(1), np.zeros(1)) for plate in alone)]
