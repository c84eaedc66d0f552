"""Which readouts are hits, for the strategies that look for them."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tasks.batches.pool import FloatArray, PoolView, needed
from tasks.errors import UserError

Tail = Literal["high", "low", "both"]


def hit_values(pool: PoolView, name: str, tail: Tail, output: int) -> FloatArray:
    """(P,) how much of a hit each open row is predicted to be: larger is better.

    Args:
        pool: The library.
        name: The strategy, for messages.
        tail: high: large readouts (probable ones of classes) are hits. low: small ones. both: those far from 0.
        output: Which output, or class of a multi-class readout, from 0.

    Raises:
        UserError: There is no such output, or `both` for a readout of classes.
    """
    columns = 1 if pool.predictions.ndim == 1 else pool.predictions.shape[1]
    if output >= columns:
        raise UserError(
            "no such output", where=f"strategy {name}, option output", got=output, expected=f"0 to {columns - 1}"
        )
    if tail == "both" and pool.kind != "continuous":
        raise UserError(
            "a probability has no two tails", where=f"strategy {name}, option tail", got=tail, expected="high or low"
        )
    value = pool.predictions[pool.open] if pool.predictions.ndim == 1 else pool.predictions[pool.open, output]
    return {"high": value, "low": -value, "both": np.abs(value)}[tail]


def hit_spread(pool: PoolView, name: str, output: int) -> FloatArray:
    """(P,) standard deviation of `hit_values`: of the operator where there is one output, else of the members.

    The operator holds the sum over outputs.

    Raises:
        UserError: Of several outputs or classes the pool view has no members.
    """
    if pool.predictions.ndim == 1:
        return np.asarray(np.sqrt(pool.variance[pool.open].clip(0.0)))
    rows, said = np.flatnonzero(pool.open), needed(pool.members, "members", name)
    blocks = [rows[start : start + 65536] for start in range(0, max(1, len(rows)), 65536)]
    return np.concatenate([said[block, :, output].std(axis=1, ddof=1, dtype=np.float64) for block in blocks])
