"""Σ_F, what the ensemble knows of its own uncertainty: spread of its members, and the members' own posteriors."""

from __future__ import annotations

import numpy as np

from tasks.operators.eigenmodes import modes_of_gram
from tasks.operators.factors import Factor, Float64, Floats, hstack, member_factor
from tasks.operators.stability import Stability

_MODES = 3


def epistemic_factor(members: Floats, within: Floats) -> Factor:
    """Σ_F over n points as a factor (n, M·C + r), of rank at most (M − 1)·C + r.

    Members are whatever an ensemble predicts with: networks, dropout masks shared by all points, trees, draws of a
    process. `within` sketches mean_m Φ_m S_m Φ_mᵀ, what each member's last layer leaves open.

    Args:
        members: (n, M) predictions, or (n, M, C) of several outputs or classes [readout unit].
        within: (n, r) factor of the members' own posterior covariance [readout unit]; r = 0 without.

    Raises:
        UserError: Fewer than two members.
    """
    return hstack([member_factor(members), Factor(within)])


def mean_factor(members: Floats, within: Floats) -> Factor:
    """Σ_F/M: how much the mean of these M members differs from that of infinitely many."""
    whole = epistemic_factor(members, within)
    columns = whole.columns.take(np.arange(len(whole)))
    return Factor(columns / np.sqrt(members.shape[1], dtype=columns.dtype))


def member_stability(gram: Float64, members: int) -> Stability:
    """Agreement of the spread of two halves of the members, from the Gram matrix of all of them.

    With A the centred members, a half's factor is A_h·C_h, C_h centring its columns anew: A_hᵀA_h and the products
    between the halves are blocks of AᵀA.

    Args:
        gram: (M·C, M·C) AᵀA of `member_factor` over the pool.
        members: M, at least 2.
    """
    if members < 4:
        return Stability(None, None, 0, "members", "halves of fewer than four members have no spread")
    outputs = len(gram) // members
    halves = [np.repeat(np.arange(members) % 2 == one, outputs) for one in (0, 1)]
    bases = []
    for half in halves:
        count = int(half.sum()) // outputs
        centring = np.kron(np.eye(count) - 1.0 / count, np.eye(outputs))
        modes = modes_of_gram(centring @ gram[np.ix_(half, half)] @ centring, np.ones(half.sum()), _MODES)
        bases.append(centring @ modes.rotation)
    shared = min(basis.shape[1] for basis in bases)
    if not shared:
        return Stability(None, None, 0, "members", "the members of one half agree everywhere")
    across = bases[0][:, :shared].T @ gram[np.ix_(*halves)] @ bases[1][:, :shared]
    why = "the Gram matrix alone does not tell it"
    return Stability(None, float(np.square(across).sum() / shared), shared, "members", why)
