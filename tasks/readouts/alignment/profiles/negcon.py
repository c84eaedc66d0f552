"""Every feature for itself: centre and scale only."""

from __future__ import annotations

from tasks.campaigns.config import AlignmentSection
from tasks.readouts.alignment.profiles.spread import Array, Mixing


def fit_negcon(contrasts: Array, alignment: AlignmentSection, known: Mixing | None) -> None:
    """Features are not mixed.

    Args:
        contrasts: Not used by this method.
        alignment: Not used by this method.
        known: Not used by this method.
    """
