"""What the preprint's strategies see: the change, or what is left, of bias and reducible error, true or estimated.

Everything here is over the whole grid (N points); `State` is a campaign after round k, with ensembles 0 … k.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tasks.batches.pool import PoolView
from tasks.ensembles import Ensemble, Prediction
from tasks.labs.noise_types import NoisySurface
from tasks.operators.calibrated import calibrate_error, rescale
from tasks.operators.cobias import cobias_factor, quadratic_delta, root_factor
from tasks.operators.difference import difference_factor, estimate_difference, paired_residuals
from tasks.operators.direct import direct_delta
from tasks.operators.eigenmodes import eigenmodes
from tasks.operators.factors import Factor, hstack, member_factor
from tasks.operators.history import ResidualSet

RIDGE = 0.1  # of the estimators, relative to the mean (squared) eigenvalue of the features' Gram matrix
TAU = 0.1  # τ⁻¹ of expected improvement, relative to the members' mean variance (paper: 0.1 to 0.2)


@dataclass
class State:
    """One campaign so far: experiments (rows measured together, readouts) and an ensemble after each."""

    surface: NoisySurface
    experiments: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    ensembles: list[Ensemble] = field(default_factory=list)
    said: list[Prediction] = field(default_factory=list)

    @property
    def rows(self):
        """(n,) points measured so far."""
        return np.concatenate([rows for rows, _ in self.experiments])

    @property
    def readouts(self):
        """(n,) what they gave."""
        return np.concatenate([readouts for _, readouts in self.experiments])

    @property
    def open(self):
        """(N,) not measured so far."""
        mask = np.ones(len(self.surface), dtype=bool)
        mask[self.rows] = False
        return mask

    def bias(self, k):
        """(N,) δ_k, true."""
        return self.said[k].mean - self.surface.truth

    def variance(self, k):
        """(N,) σ²_F of ensemble k."""
        return self.said[k].members.var(axis=1, ddof=1, dtype=np.float64)

    def reducible(self, k):
        """(N,) δ²_k + σ²_F, true."""
        return np.square(self.bias(k)) + self.variance(k)

    def residuals(self, back):
        """(n,) readout minus a prediction by members that had not seen it: newest ensemble (0), the one before (1).

        Out of fold where the ensemble had the label, forward where it had not: the same labels under two models.
        """
        honest = self.ensembles[-1 - back].tensors["out_of_fold.mean"].double().numpy()[:, 0]
        forward = self.said[-1 - back].mean[self.rows[len(honest) :]]
        return self.readouts - np.concatenate([honest, forward])

    def noise(self):
        """Σ_Y over the labels; experiments are independent of each other."""
        total = np.zeros((len(self.rows), len(self.rows)))
        start = 0
        for rows, _ in self.experiments:
            stop = start + len(rows)
            total[start:stop, start:stop] = self.surface.covariance(rows)
            start = stop
        values, vectors = np.linalg.eigh(total)
        return Factor(vectors * np.sqrt(values.clip(0.0)))

    def spread(self, back):
        """What Σ_F adds to the products of these residuals: of one member out of fold, of their mean forward.

        On the diagonal alone: two labels are rarely left out by the same member.
        """
        variance = self.variance(-1 - back)[self.rows]
        variance[len(self.ensembles[-1 - back].tensors["out_of_fold.mean"]) :] /= self.said[-1].members.shape[1]
        return Factor(np.diag(np.sqrt(variance)))


def drop(state, quantity, estimate):
    """Ω_{k−1} − Ω_k: `bias` alone (Δ) or `error` (Σ_F + Δ), with Δ true, direct or quadratic."""
    change = _change_of_cobias(state, estimate)
    if quantity == "bias":
        return change
    older, newer = (member_factor(said.members.astype(np.float64)) for said in state.said[-2:])
    return difference_factor(older, newer, change)


def left(state, estimate):
    """Ω^red_k: what is left to be reduced."""
    cobias = Factor(state.bias(-1)[:, None])
    if estimate == "quadratic":
        features = state.said[-1].features.astype(np.float64)
        noise = hstack([state.noise(), state.spread(0)])
        found = quadratic_delta([ResidualSet(features[state.rows], state.residuals(0), noise)], RIDGE)
        cobias = cobias_factor(features, found)
    return hstack([members_alone(state), cobias])


def calibrated(state):
    """Σ_F rescaled to the squared error that residuals less their noise teach, as the project's own node does it."""
    noise, features, members = np.square(state.surface.sd), state.said[-1].features, state.said[-1].members
    alone = state.variance(-1) * (1 - 1 / members.shape[1])  # by what one member's error is larger than their mean's
    residuals = np.square(state.residuals(0))
    found = calibrate_error(features[state.rows], residuals, (noise + alone)[state.rows])
    return rescale(members_alone(state), found.model.grow()(features, noise))


def members_alone(state):
    """Σ_F of the newest ensemble."""
    return member_factor(state.said[-1].members.astype(np.float64))


def view(state, operator, *, pointwise=False, noise_known=False):
    """The pool in the eigenspace of an operator.

    Pointwise strategies take the largest entries of the diagonal, whatever their sign: it is shifted to be positive.
    """
    modes = eigenmodes(operator, chosen=state.open)
    diagonal = operator.diagonal()
    noise = np.full(len(state.surface), TAU * state.variance(-1).mean())
    return PoolView(
        coordinates=modes.coordinates(operator),
        eigenvalues=modes.values[: modes.positive],
        variance=diagonal - diagonal.min() + 1e-12 if pointwise else diagonal,
        predictions=state.said[-1].mean,
        members=state.said[-1].members,
        noise=noise + np.square(state.surface.sd) if noise_known else noise,
        open=state.open,
    )


def _change_of_cobias(state, estimate):
    """Δ_{k−1} − Δ_k as a factor with signs."""
    signs = np.array([1.0, -1.0])
    if estimate == "true":
        return Factor(np.stack([state.bias(-2), state.bias(-1)], axis=1), signs)
    features = state.said[-1].features.astype(np.float64)
    phi, older, newer = features[state.rows], state.residuals(1), state.residuals(0)
    if estimate == "direct":
        both = ResidualSet(phi, np.stack([older, newer], axis=1), state.noise())
        return root_factor(features, direct_delta([both], RIDGE).root, signs)
    epistemic = state.spread(1), state.spread(0)
    pairs = paired_residuals(phi, older, newer, epistemic, state.noise(), np.zeros((0, 0), dtype=bool))
    found = estimate_difference([pairs], RIDGE)
    return root_factor(features, found.root, found.signs)
