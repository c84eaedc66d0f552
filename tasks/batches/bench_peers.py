"""What `bench select` stands beside: other people's implementations of the same strategies, on the same pool.

Each gets the factor of Σ_F (N, M) in memory and picks among the open rows. None is a dependency; those that are not
installed are named and left out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg.blas
import scipy.sparse.linalg
import torch

from tasks.batches.bench_pool import Float32, Sizes, noise_of
from tasks.batches.pool import IntArray


@dataclass(frozen=True)
class Given:
    """What a peer works on.

    Attributes:
        factor: (N, M) of Σ_F, open rows first.
        members: (N, M) predictions or probabilities.
        open: How many rows may be picked.
        noise: σ²_Y.
    """

    factor: Float32
    members: Float32
    open: int
    noise: float


#: Arrays of the pool that they look at.
PARTS = ("factor", "members", "variance")

Pick = Callable[[Given, int], tuple[IntArray, str]]


@dataclass(frozen=True)
class Peer:
    """An implementation of a strategy.

    Attributes:
        pick: (given, n) → rows, and what it said about them, if anything.
        package: That it needs; none for a textbook's.
        largest: Perturbations that it is tried with, at most: beyond it would take hours or more memory than there is.
    """

    pick: Pick
    package: str | None = None
    largest: int | None = None


def open_given(folder: Path, sizes: Sizes) -> Given:
    """What a peer works on, from where the pool was written.

    Args:
        folder: Where it was written.
        sizes: Of the pool, in memory.
    """
    members, factor = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("members", "factor"))
    return Given(factor, members, sizes.pool, noise_of(np.load(folder / "variance.npy", allow_pickle=False)))


def installed(peer: Peer) -> bool:
    """Whether a peer can be tried here."""
    return peer.package is None or importlib.util.find_spec(peer.package) is not None


def _bmdal(method: str, observed: bool = False, weighed: bool = False, **config: Any) -> Pick:
    """A selection method of bmdal_reg on the kernel of the factor.

    Args:
        method: As bmdal_reg names it.
        observed: Whether the observed rows are its training set; else it has a single row of zeros.
        weighed: Whether rows count by what a label removes, as ours do: ‖wz‖² = v²/(v + σ²_Y).
        config: Further options; an option named …_sigma gets σ_Y.
    """

    def pick(given: Given, n: int) -> tuple[IntArray, str]:
        if not hasattr(np, "Inf"):
            setattr(np, "Inf", np.inf)  # noqa: B010 - it needs the name that numpy 2 took away
        from bmdal_reg.bmdal.algorithms import BatchSelectorImpl
        from bmdal_reg.bmdal.feature_data import TensorFeatureData

        factor = given.factor
        if weighed:
            variance = np.square(factor.astype(np.float64)).sum(axis=1, keepdims=True)
            factor = (factor * np.sqrt(variance / (variance + given.noise))).astype(np.float32)
        measured = factor[given.open :]
        train = measured if observed and len(measured) else np.zeros_like(factor[:1])
        data = {
            name: TensorFeatureData(torch.from_numpy(rows))
            for name, rows in (("train", train), ("pool", factor[: given.open]))
        }
        options = {name: given.noise**0.5 if name.endswith("_sigma") else value for name, value in config.items()}
        with _silence():
            chosen, said = BatchSelectorImpl([None], data, None).select("linear", [], method, n, verbosity=0, **options)
        return chosen.numpy().astype(np.int64), said["selection_status"] or ""

    return pick


def _dense_expected_improvement(given: Given, n: int) -> tuple[IntArray, str]:
    """The same rule on the N×N covariance in float64, with rank-one updates in place."""
    open_ = given.factor[: given.open].astype(np.float64)
    covariance = open_ @ open_.T
    left, rows = np.ones(given.open, dtype=bool), np.empty(n, dtype=np.int64)
    for position in range(n):
        removed = np.einsum("ij,ij->i", covariance, covariance) / (covariance.diagonal() + given.noise)
        row = rows[position] = int(np.where(left, removed, -np.inf).argmax())
        left[row] = False
        column = covariance[row] / np.sqrt(covariance[row, row] + given.noise)
        scipy.linalg.blas.dger(-1.0, column, column, a=covariance.T, overwrite_a=True)  # in place: it is symmetric
    return rows, ""


def _batch_bald(given: Given, n: int) -> tuple[IntArray, str]:
    from batchbald_redux.batchbald import get_batchbald_batch

    one = torch.from_numpy(given.members[: given.open]).double()
    one = one.clamp(1e-12, 1.0 - 1e-12)  # it cannot take a member that is certain
    probabilities = torch.stack([1.0 - one, one], dim=2) if one.ndim == 2 else one
    with _silence():
        chosen = get_batchbald_batch(probabilities.log(), n, 10_000, dtype=torch.double)
    return np.asarray(chosen.indices, dtype=np.int64), ""


def _eigh(given: Given, n: int) -> tuple[IntArray, str]:
    """Of the dense matrix, the largest loading on each leading mode."""
    factor = given.factor.astype(np.float64)
    _, vectors = np.linalg.eigh(factor @ factor.T)
    return np.abs(vectors[:, ::-1][:, :n]).argmax(axis=0), ""


def _eigsh(given: Given, n: int) -> tuple[IntArray, str]:
    """The same, leading modes alone, without the matrix."""
    factor = given.factor.astype(np.float64)
    operator = scipy.sparse.linalg.LinearOperator(
        (len(factor), len(factor)), matvec=lambda v: factor @ (factor.T @ v), dtype=np.float64
    )
    _, vectors = scipy.sparse.linalg.eigsh(operator, k=min(n, factor.shape[1] - 1), v0=np.ones(len(factor)))
    return np.abs(vectors[:, ::-1]).argmax(axis=0), ""


@contextlib.contextmanager
def _silence() -> Any:
    """What a peer prints is not this command's answer."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


_BMDAL = "bmdal_reg"
#: Peers of a strategy by name.
PEERS: dict[str, dict[str, Peer]] = {
    "expected-improvement": {
        "bmdal_reg BAIT-F": Peer(_bmdal("bait", bait_sigma=True), _BMDAL),
        "dense float64": Peer(_dense_expected_improvement, largest=20_000),
    },
    "expected-improvement-backward": {
        "bmdal_reg BAIT-FB": Peer(_bmdal("bait", bait_sigma=True, overselection_factor=2.0), _BMDAL),
    },
    "max-determinant": {
        "bmdal_reg MaxDet": Peer(_bmdal("maxdet", maxdet_sigma=True, allow_maxdet_fs=True), _BMDAL),
    },
    "eigenspace-clusters": {"bmdal_reg LCMD": Peer(_bmdal("lcmd", observed=True, weighed=True), _BMDAL)},
    "k-centre": {"bmdal_reg MaxDist": Peer(_bmdal("maxdist", observed=True), _BMDAL)},
    "d2-sampling": {"bmdal_reg k-means++": Peer(_bmdal("kmeanspp", observed=True), _BMDAL)},
    "top-variance": {"bmdal_reg MaxDiag": Peer(_bmdal("maxdiag"), _BMDAL)},
    "batch-bald": {"batchbald_redux": Peer(_batch_bald, "batchbald_redux", largest=100_000)},
    "eigenmodes-alone": {
        "dense eigh": Peer(_eigh, largest=5_000),
        "scipy eigsh": Peer(_eigsh, largest=1_000_000),
    },
}
