"""Probabilities of classes, block by block, for the strategies that are about classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import entr

from tasks.batches.pool import FloatArray, Kind, PoolView, needed
from tasks.errors import NumericalError, UserError

#: Probabilities of a block in float64: 16 MiB at a time.
_NUMBERS = 2**21
#: How far from 1 the probabilities of float32 members may sum up.
_SLACK = 1e-3


def by_members(pool: PoolView, name: str, function: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """A score of every open row from what each member says of its classes.

    Args:
        pool: A library with classes.
        name: The strategy, for messages.
        function: (k, M, T, C) probabilities of T outputs with C classes each → (k,).

    Returns:
        (P,) in the order of the open rows.

    Raises:
        UserError: The readout has no classes, or the pool view no members.
        NumericalError: Values that are no probabilities.
    """
    require_classes(pool, name)
    said = needed(pool.members, "members", name)
    rows = np.flatnonzero(pool.open)
    score = np.empty(len(rows))
    numbers = 2 * int(np.prod(said.shape[1:]))
    step = max(1, _NUMBERS // numbers)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        score[start : start + step] = function(member_probabilities(said[part], pool.kind))
    return score


def member_probabilities(members: npt.NDArray[np.floating], kind: Kind) -> FloatArray:
    """(k, M, T, C) float64 of some rows of `PoolView.members`: what each member says of them."""
    given = members.astype(np.float64)
    return _classes(given[..., None] if given.ndim == 2 else given, kind)


def mean_probabilities(pool: PoolView, name: str) -> FloatArray:
    """(P, T, C): the ensemble's probabilities of the open rows; T outputs of C classes each.

    Raises:
        UserError: The readout has no classes.
        NumericalError: Values that are no probabilities.
    """
    require_classes(pool, name)
    mean = pool.predictions[pool.open]
    return _classes(mean[:, None] if mean.ndim == 1 else mean, pool.kind)


def entropy(probabilities: FloatArray) -> FloatArray:
    """Entropy [nat] over the last axis: −Σ p log p."""
    return np.asarray(entr(probabilities).sum(axis=-1))


def mutual_information(members: FloatArray) -> FloatArray:
    """(k,) what the class says of the member [nat]: H(mean p) − mean H(p), summed over outputs; at least 0.

    Args:
        members: (k, M, T, C).

    Source: Houlsby et al. 2011, equation 2 (BALD).
    """
    gain = entropy(members.mean(axis=1)) - entropy(members).mean(axis=1)
    # 1e-12: rounding of entropies; members that agree have nothing to say.
    return np.asarray(np.where(gain > 1e-12, gain, 0.0).sum(axis=1))


def require_classes(pool: PoolView, name: str) -> None:
    """Stop a strategy about classes on a continuous readout.

    Raises:
        UserError: The readout has no classes.
    """
    if pool.kind == "continuous":
        raise UserError(
            "the strategy is about classes", where=f"strategy {name}", got=pool.kind, expected="binary or multi-class"
        )


def _classes(values: npt.NDArray[np.float64], kind: Kind) -> FloatArray:
    """(…, T) probabilities of class 1 → (…, T, 2); (…, C) of the classes of one output → (…, 1, C)."""
    if values.size and not (values.min() > -_SLACK and values.max() < 1 + _SLACK):
        raise NumericalError(f"probabilities between {values.min():.4g} and {values.max():.4g}")
    values = values.clip(0.0, 1.0)
    if kind == "binary":
        return np.stack([1.0 - values, values], axis=-1)
    total = values.sum(axis=-1, keepdims=True)
    if not (np.abs(total - 1.0) < _SLACK).all():
        raise NumericalError(f"probabilities of the classes sum up to {total.min():.4g} to {total.max():.4g}, not 1")
    return np.asarray((values / total)[..., None, :])
