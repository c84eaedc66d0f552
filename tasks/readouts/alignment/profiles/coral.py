"""Correlation alignment: the controls of every run get the covariance of the first run's controls."""

from __future__ import annotations

from tasks.campaigns.config import AlignmentSection
from tasks.readouts.alignment.profiles.spread import Array, Mixing, estimate_spread


def fit_coral(contrasts: Array, alignment: AlignmentSection, known: Mixing | None) -> Mixing:
    """Whiten the controls of the run and give them the covariance of the reference.

    The reference is the first run's covariance, handed on from fit to fit, so that a later run changes no earlier one.
    The first run keeps its own.

    Args:
        contrasts: Contrasts of the run's scaled control wells, (N, d).
        alignment: Uses regularisation.
        known: Mixing of an earlier run; None: this is the first.

    Raises:
        UserError: Too few controls, or a covariance without inverse.

    Source:
        Sun, Feng & Saenko 2016, Return of frustratingly easy domain adaptation, AAAI.
    """
    own = estimate_spread(contrasts, alignment.regularisation)
    return Mixing(source=own, target=own if known is None else known.target)
