"""Offsets of a run's plates from all that is known of them: their controls, the run, and what ties them together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tasks.readouts.alignment.model import RunLevel
from tasks.readouts.alignment.shrinkage import Shrunk, between_sd_grid, normalised

Array = npt.NDArray[np.float64]

_GRID = 24
_NEGLIGIBLE = 12.0


@dataclass(frozen=True, eq=False)
class Sites:
    """What each of P plates' controls say of its offset.

    Attributes:
        values: Centres, (P,) [instrument unit].
        variances: Their error variances, (P,) [instrument unit²]; inf: nothing.
    """

    values: Array
    variances: Array


@dataclass(frozen=True, eq=False)
class Posterior:
    """Offsets for each of J priors: means (J, P), covariances (J, P, P), log evidence (J,), own weight (J, P)."""

    means: Array
    covariances: Array
    log_evidence: Array
    kept: Array


def shrink_tied(sites: Sites, trust: Array, information: Array, linear: Array) -> Shrunk:
    """Offsets b_p ~ N(m, τ²/u_p) around a free run mean m, averaged over the posterior of τ under a flat prior.

    The same as `shrink` where no plates are tied and all u are 1.

    Args:
        sites: What the controls say.
        trust: u, (P,); little for a plate that is unlike the others.
        information: K of the ties, (P, P).
        linear: k of the ties, (P,).
    """
    p = len(sites.values)
    told = np.isfinite(sites.variances)
    share = trust / trust.sum()
    centring = np.diag(trust) - np.outer(trust, share)

    def evaluate(tau: Array) -> Posterior:
        found = _infer(sites, information + centring / tau[:, None, None] ** 2, linear)
        return replace(found, log_evidence=found.log_evidence - (p - 1) * np.log(tau))

    tau = between_sd_grid(sites.values[told], sites.variances[told], _GRID)[1:]
    coarse = evaluate(tau).log_evidence
    matters = np.flatnonzero(coarse > coarse.max() - _NEGLIGIBLE)
    tau = np.geomspace(tau[max(matters[0] - 1, 0)], tau[min(matters[-1] + 1, len(tau) - 1)], _GRID)
    found = evaluate(tau)
    weights = normalised(found.log_evidence, tau)
    mean = found.means @ share
    middle = float(weights @ mean)
    mean_variance = (
        np.einsum("jpq,p,q->j", found.covariances, share, share) + tau**2 / trust.sum() + (mean - middle) ** 2
    )
    level = RunLevel(
        mean=middle, mean_variance=float(weights @ mean_variance), between_variance=float(weights @ tau**2)
    )
    return _averaged(found, weights, level)


def meet_tied(sites: Sites, information: Array, linear: Array, mean: Array, covariance: Array) -> Shrunk:
    """Offsets under the normal prior that earlier plates left behind. (P,), (P, P) -> Shrunk."""
    precision = np.linalg.inv(covariance)
    return _averaged(_infer(sites, (information + precision)[None], linear + precision @ mean), np.ones(1), None)


def tied_only(sites: Sites, information: Array, linear: Array) -> Shrunk:
    """Offsets from controls and ties alone, without shrinkage; every plate has to have controls."""
    return _averaged(_infer(sites, information[None], linear), np.ones(1), None)


def shared_variance(covariance: Array, scale: Array) -> float:
    """Error variance that all plates have in common: the mean covariance of two plates, in aligned units.

    At least 0 and at most the smallest variance of a plate, so that no plate is left with less than nothing of its own.
    Exact where the plates' controls are worth the same.

    Args:
        covariance: Errors of the offsets, (P, P) [instrument unit²].
        scale: Raw units per aligned unit, (P,).
    """
    aligned = covariance / np.outer(scale, scale)
    p = len(aligned)
    if p < 2:
        return 0.0
    between = np.where(np.eye(p, dtype=bool), 0.0, aligned).sum() / (p * (p - 1))
    return float(np.clip(between, 0.0, np.diagonal(aligned).min()))


def _infer(sites: Sites, prior: Array, linear: Array) -> Posterior:
    """exp(−½bᵀAb + aᵀb)·Π_p N(c_p; b_p, v_p), for J matrices A (J, P, P) and one a (P,)."""
    precision = 1.0 / sites.variances
    covariance = np.asarray(np.linalg.inv(prior + np.diag(precision)), dtype=np.float64)
    pull = linear + precision * sites.values
    mean = np.asarray(covariance @ pull)
    log_evidence = np.asarray(0.5 * (mean @ pull + np.linalg.slogdet(covariance)[1]), dtype=np.float64)
    return Posterior(mean, covariance, log_evidence, precision * np.einsum("jpp->jp", covariance))


def _averaged(found: Posterior, weights: Array, level: RunLevel | None) -> Shrunk:
    values = weights @ found.means
    moved = found.means - values
    covariance = np.einsum("j,jpq->pq", weights, found.covariances) + (moved * weights[:, None]).T @ moved
    return Shrunk(values, covariance, weights @ found.kept, level)
