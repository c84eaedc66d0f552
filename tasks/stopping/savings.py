"""Wells that active selection saved: what a random campaign would have needed, as far as it can be told."""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy.stats import beta

from tasks.stopping.evidence import AuditEvidence, Look

FEWEST = 20  # perturbations of the random control


def estimate(evidence: AuditEvidence) -> float | None:
    """System accuracy if everything unmeasured were as often right as the measured audit members; None without one."""
    if evidence.measured == 0:
        return None
    unmeasured = evidence.population - evidence.measured + evidence.pending
    return 1 - unmeasured * (evidence.errors / evidence.measured) / evidence.library


class RandomCampaign(NamedTuple):
    """Wells that measuring in random order would have needed; None where untold.

    Attributes:
        wells: Estimate.
        low: With it `high`: the central 90% of what the control allows (Clopper and Pearson).
        high: The other end.
        note: How they were estimated, or why not, in a sentence or two.
    """

    wells: int | None
    low: int | None
    high: int | None
    note: str


def random_campaign(look: Look) -> RandomCampaign:
    """Wells that measuring in random order would have needed for the same estimated accuracy.

    n perturbations measured at random, the others predicted with accuracy a: n/N + (1 − n/N)·a = the estimate of the
    system accuracy. a is what the random control says: perturbations of round 0, drawn at random from the library,
    predicted out of fold.
    """
    reached, control = estimate(look.audit), look.control
    if reached is None:
        return _untold("no audit member has a measurement")
    if control is None or control.n < FEWEST:
        n = control.n if control else 0
        return _untold(f"{n} perturbations of the random control are predicted out of fold, {FEWEST} are needed")
    share = control.right / control.n
    if share == 1:
        return _untold("every perturbation of the random control is predicted rightly")
    worst = float(beta.ppf(0.05, control.right, control.n - control.right + 1)) if control.right else 0.0
    best = float(beta.ppf(0.95, control.right + 1, control.n - control.right))
    wells, low, high = (_needed(look, reached, a) for a in (share, best, worst))
    note = (
        f"Random order with a model as accurate as this one, {share:.1%} right on {control.n} perturbations drawn at "
        f"random (out of fold), measured until the system accuracy is the estimate of {reached:.1%}: {wells:,} wells, "
        f"{low:,} to {high:,} by the chance of the control alone (90%). No bound: a random campaign has another model."
    )
    return RandomCampaign(wells, low, high, note)


def _needed(look: Look, reached: float, share: float) -> int:
    """Wells at which measured ones and this share of the others make up what was reached."""
    drawn = look.audit.library * max(0.0, reached - share) / (1 - share)
    return math.ceil(drawn * look.wells.full / look.audit.library)


def _untold(why: str) -> RandomCampaign:
    return RandomCampaign(None, None, None, f"Not estimated: {why}.")
