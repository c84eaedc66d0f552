"""Covariance of control wells as factors, and the linear maps made from it. No d×d matrix is formed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.errors import UserError

Array = npt.NDArray[np.float64]

#: Singular values below this share of the largest are rounding.
_RANK_TOLERANCE = 1e-10


@dataclass(frozen=True, eq=False)
class Spread:
    """Covariance D·R·D of d features: sds D, and their shrunk correlation R = floor·I + Q(Λ − floor·I)Qᵀ.

    Attributes:
        sd: Sds of the features, (d,) [scaled unit].
        values: Eigenvalues Λ of R along the directions, (r,); r = d, or R equals `floor` across the rest.
        directions: Orthonormal columns Q, (d, r).
        floor: Eigenvalue of R outside the directions: the share of the identity in it.
    """

    sd: Array
    values: Array
    directions: Array
    floor: float

    def power(self, rows: Array, exponent: float) -> Array:
        """Rows times R^exponent. (n, d) -> (n, d)."""
        base = self.floor**exponent
        scores = (rows @ self.directions) * (self.values**exponent - base)
        mapped: Array = base * rows + scores @ self.directions.T
        return mapped


@dataclass(frozen=True, eq=False)
class Mixing:
    """Rows with covariance `source` get covariance `target`: x ↦ x·D⁻¹R^(−½), then ·R_t^(½)D_t.

    The symmetric root of the correlation (ZCA-cor) is the whitening that keeps every feature as close to itself as
    whitening can, so that features keep their names.

    Attributes:
        source: Covariance of the run's own controls.
        target: Covariance they get; None is the identity.

    Source:
        Kessy, Lewin & Strimmer 2018, Optimal whitening and decorrelation, The American Statistician 72:309.
    """

    source: Spread
    target: Spread | None

    def apply(self, rows: Array) -> Array:
        """Scaled and centred rows to aligned ones. (n, d) -> (n, d)."""
        white = self.source.power(rows / self.source.sd, -0.5)
        return white if self.target is None else self.target.power(white, 0.5) * self.target.sd

    def undo(self, rows: Array) -> Array:
        """The inverse of `apply`. (n, d) -> (n, d)."""
        white = rows if self.target is None else self.target.power(rows / self.target.sd, -0.5)
        return self.source.power(white, 0.5) * self.source.sd


def estimate_spread(contrasts: Array, regularisation: float | None) -> Spread:
    """Covariance of control wells within their plates, its correlation shrunk to the identity.

    R = (1 − λ)·S + λ·I, S the sample correlation. Where λ is not given it is the one of Ledoit and Wolf.

    Args:
        contrasts: Orthonormal contrasts of wells of one plate each, (N, d): independent rows of mean 0.
        regularisation: λ, from 0 to 1; None: Ledoit-Wolf.

    Raises:
        UserError: Fewer than two contrasts; or λ is 0 and S has no inverse.

    Source:
        Ledoit & Wolf 2004, A well-conditioned estimator for large-dimensional covariance matrices, J. Multivariate
        Analysis 88:365.
    """
    n, d = contrasts.shape
    if n < 2:
        raise UserError(
            "too few negcon wells in the run to tell how features vary together",
            where="alignment.method",
            got=f"{n} degrees of freedom",
            expected="at least 2",
            todo="Add control wells, or set alignment.method to negcon.",
        )
    sd = np.sqrt(np.mean(contrasts**2, axis=0))
    unit = contrasts / sd
    share = _shrinkage(unit) if regularisation is None else regularisation
    _, singular, directions = np.linalg.svd(unit, full_matrices=False)
    kept = singular > _RANK_TOLERANCE * singular[0]
    if share == 0.0 and kept.sum() < d:
        raise UserError(
            "the covariance of the negcon wells has no inverse",
            where="alignment.regularisation",
            got=f"0 with {int(kept.sum())} independent directions for {d} features",
            expected="a share above 0, or nothing: Ledoit-Wolf",
        )
    values = (1.0 - share) * singular[kept] ** 2 / n + share
    return Spread(sd, values, np.ascontiguousarray(directions[kept].T), share or 1.0)


def _shrinkage(unit: npt.NDArray[np.float64]) -> float:
    """Share of the identity, by Ledoit and Wolf."""
    from sklearn.covariance import ledoit_wolf_shrinkage  # takes a third of a second, and few alignments need it

    return float(ledoit_wolf_shrinkage(unit, assume_centered=True))
