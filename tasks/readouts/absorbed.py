"""Least squares of wells on what they hold and on their plate, what they hold absorbed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Absorbed:
    """The normal equations of N wells of G contents on P plates.

    Attributes:
        counts: Wells of each content on each plate, sparse (G, P).
        basis: Contrasts of plates that the wells tell, orthonormal, (P, K).
        information: Their information, (K,).
        group: Content of each well, (N,).
        plate: Plate of each well, (N,).
    """

    counts: scipy.sparse.csr_array
    basis: Array
    information: Array
    group: Index
    plate: Index

    def solve(self, y: Array) -> tuple[Array, Array, Array]:
        """Fitted values (N,), levels of the groups (G,), contrasts of the plates (K,)."""
        n_groups, n_plates = self.counts.shape
        per_group = np.asarray(self.counts.sum(axis=1))
        mean = np.bincount(self.group, y, n_groups) / per_group
        gathered = np.bincount(self.plate, y - mean[self.group], n_plates)
        contrasts = (self.basis.T @ gathered) / self.information
        effect = self.basis @ contrasts
        level = mean - (self.counts @ effect) / per_group
        return level[self.group] + effect[self.plate], mean, contrasts


def plate_contrasts(counts: scipy.sparse.csr_array) -> tuple[Array, Array]:
    """Eigenvectors and eigenvalues > 0 of diag(n_p) − NᵀD⁻¹N, the information on plates when contents are free."""
    per_group = np.asarray(counts.sum(axis=1))
    shared = np.asarray((counts.T @ (scipy.sparse.diags_array(1.0 / per_group) @ counts)).todense())
    values, vectors = np.linalg.eigh(np.diag(np.asarray(counts.sum(axis=0))) - shared)
    told = values > 1e-9 * values.max(initial=0.0)
    return vectors[:, told], values[told]


def free_shares(counts: scipy.sparse.csr_array, basis: Array, information: Array) -> Array:
    """1 − h of each well, h its leverage: 1/n_g + zᵀC⁺z with z the plate less the group's mix of plates.

    Wells come by group and plate, as the entries of `counts` do.
    """
    per_group = np.asarray(counts.sum(axis=1))
    half = basis / np.sqrt(information)  # (P, K), C⁺ = half·halfᵀ
    own = (half**2).sum(axis=1)
    leverage = []
    for start in range(0, counts.shape[0], _CHUNK):
        block = counts[start : start + _CHUNK].tocoo()
        group, plate = block.coords
        n = per_group[start : start + _CHUNK]
        mix = (block.tocsr() @ half) / n[:, None]  # (groups, K)
        cross = np.einsum("ik,ik->i", mix[group], half[plate])
        leverage.append(1.0 / n[group] + own[plate] - 2 * cross + (mix**2).sum(axis=1)[group])
    by_entry = np.concatenate(leverage) if leverage else np.empty(0)
    return np.maximum(1.0 - np.repeat(by_entry, counts.data.astype(np.intp)), 0.0)
