"""Typical variation normalisation: what varies among the controls of a run is made equally small in every direction."""

from __future__ import annotations

from tasks.campaigns.config import AlignmentSection
from tasks.readouts.alignment.profiles.spread import Array, Mixing, estimate_spread


def fit_tvn(contrasts: Array, alignment: AlignmentSection, known: Mixing | None) -> Mixing:
    """Whiten the controls of the run: their covariance becomes the identity, whatever other runs do.

    The principal components of the controls are scaled to variance 1 and rotated back, so that features keep their
    names.

    Args:
        contrasts: Contrasts of the run's scaled control wells, (N, d).
        alignment: Uses regularisation.
        known: Not used: the identity needs no reference.

    Raises:
        UserError: Too few controls, or a covariance without inverse.

    Source:
        Ando, McLean & Berndl 2017, Improving phenotypic measurements in high-content imaging screens, bioRxiv 161422.
        Theirs is one whitening over all runs, followed by CORAL for each.
    """
    return Mixing(source=estimate_spread(contrasts, alignment.regularisation), target=None)
