"""Σ_Y, the covariance of the noise of labels, as factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse

from tasks.errors import UserError
from tasks.readouts.noise import NoiseModel

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SigmaY:
    """Covariance of the noise of n labels: Σ_Y = diag(d) + W diag(v) Wᵀ; never formed densely.

    Each of P plate attempts has two errors that its wells share, of its offset and of its scale, and each of R runs one
    that its plates share. A label's share w of a plate stands in the offset's column as w, in the scale's column as
    w·(value − anchor of its run); in a run's column stands the sum of its shares of the run's plates.

    Attributes:
        diagonal_part: d, independent noise of each label, (n,) [readout unit²].
        weights: W, sparse (n, 2P + R): the offsets' columns, then the scales', plates by key, then the runs', by name.
        shared_variances: v, error variances of offsets [readout unit²], log scales and runs [readout unit²], (2P + R,);
            0 for a binary readout.
    """

    diagonal_part: Array
    weights: scipy.sparse.csr_array
    shared_variances: Array

    def matvec(self, x: Array) -> Array:
        """Σ_Y x; (n,) or (n, k) -> the same shape."""
        scale, shared = (self.diagonal_part, self.shared_variances)
        if x.ndim == 2:
            scale, shared = scale[:, None], shared[:, None]
        return np.asarray(scale * x + self.weights @ (shared * (self.weights.T @ x)))

    def diagonal(self) -> Array:
        """Total noise variance of each label, (n,) [readout unit²]."""
        return np.asarray(self.diagonal_part + self.weights.power(2) @ self.shared_variances)

    def quadratic(self, phi: Array) -> Array:
        """Φᵀ Σ_Y Φ; (n, p) -> (p, p), symmetric."""
        projected = np.asarray(self.weights.T @ phi)
        shared = projected.T @ (self.shared_variances[:, None] * projected)
        return np.asarray(phi.T @ (self.diagonal_part[:, None] * phi) + shared)


def sigma_y(
    labels: pd.DataFrame,
    incidence: pd.DataFrame,
    noise: NoiseModel,
    perturbations: Sequence[str] | None = None,
    *,
    kind: Literal["continuous", "binary"],
) -> SigmaY:
    """Σ_Y of some labels, in the order asked for.

    Σ_Y = diag(σ²_i/n_i) + Σ_p v_p z_p z_pᵀ + Σ_p u_p l_p l_pᵀ + Σ_r v_r z_r z_rᵀ; z are the labels' shares of plates
    and runs, l_p = z_p·(value − anchor of the plate's run).

    Args:
        labels: Table of labels.
        incidence: Share of each label that comes from each plate attempt.
        noise: Noise of the readout.
        perturbations: Rows of Σ_Y, in order; all labels when None.
        kind: Kind of the readout. A binary label has variance p(1−p), which already holds the plates' and runs' share
            of the noise, so its shared blocks are 0.

    Raises:
        UserError: A perturbation is named twice, has no label or no incidence, or a plate attempt has no noise.
    """
    wanted = list(labels["perturbation"]) if perturbations is None else list(perturbations)
    _check_origin(wanted, labels, incidence, noise)
    row = {perturbation: index for index, perturbation in enumerate(wanted)}
    ordered = labels.set_index("perturbation").loc[wanted]
    chosen = incidence[incidence["perturbation"].isin(row)]
    keys = sorted(set(chosen["barcode"]))
    runs = sorted({noise.runs[key] for key in keys})
    rows = chosen["perturbation"].map(row).to_numpy(dtype=np.int64)
    plates = chosen["barcode"].map({key: index for index, key in enumerate(keys)}).to_numpy(dtype=np.int64)
    run_of = np.array([runs.index(noise.runs[key]) for key in keys], dtype=np.int64)[plates]
    share = chosen["weight"].to_numpy(dtype=np.float64)
    anchor = np.array([noise.anchors[noise.runs[key]] for key in keys], dtype=np.float64)[plates]
    lever = share * (ordered["value"].to_numpy(dtype=np.float64)[rows] - anchor)
    columns = np.concatenate([plates, plates + len(keys), run_of + 2 * len(keys)])
    weights = scipy.sparse.coo_array(
        (np.concatenate([share, lever, share]), (np.tile(rows, 3), columns)),
        shape=(len(wanted), 2 * len(keys) + len(runs)),
    ).tocsr()  # shares of one run's plates add up here
    variances = [noise.plates[key] for key in keys] + [noise.scales[key] for key in keys]
    shared = np.array(variances + [noise.run_variances[run] for run in runs], dtype=np.float64)
    if kind == "binary":
        shared = np.zeros_like(shared)
    return SigmaY(ordered["variance"].to_numpy(dtype=np.float64), weights, shared)


def _check_origin(wanted: list[str], labels: pd.DataFrame, incidence: pd.DataFrame, noise: NoiseModel) -> None:
    """Every perturbation is named once, has a label and stands on plates whose noise is known."""
    if len(set(wanted)) != len(wanted):
        raise UserError("perturbations named twice", where="Σ_Y", expected="each label once")
    for name, known in (("label", set(labels["perturbation"])), ("incidence", set(incidence["perturbation"]))):
        absent = [perturbation for perturbation in wanted if perturbation not in known]
        if absent:
            raise UserError(
                f"perturbations without {name}", got=", ".join(absent[:5]), expected="measured perturbations"
            )
    unknown = sorted(set(incidence["barcode"]) - set(noise.plates))
    if unknown:
        raise UserError("plate attempt without noise", got=", ".join(unknown[:5]), expected="a plate that was aligned")
