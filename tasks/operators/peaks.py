"""The point that loads most on each eigenmode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt

from tasks.errors import UserError
from tasks.operators.eigenmodes import Eigenmodes
from tasks.operators.factors import Factor
from tasks.operators.linear import Float64
from tasks.operators.passes import to_numpy
from tasks.operators.rows import CHUNK

Bools = npt.NDArray[np.bool_]

_BLOCK = 4096  # rows whose largest loading is noted
_MOST = 0.5  # share of rows that may be long enough for their lengths to be looked at
_SQUARES = 1e-30, 1e30  # sums of squares beyond these may have under- or overflowed in float32
_FOLD = 16  # rows side by side while it is sought: wide enough for vector instructions


@dataclass(frozen=True)
class Peaks:
    """For each of k modes the point whose |loading| is largest, the first one of several.

    Attributes:
        rows: (k,) points.
        loadings: (k,) their entries of the eigenvectors.
    """

    rows: npt.NDArray[np.int64]
    loadings: Float64


def largest_loadings(modes: Eigenmodes, factor: Factor, chosen: Bools | None = None) -> Peaks:
    """The point that loads most on each mode: one pass in the precision of the factor, then exact.

    The pass notes the largest |loading| of every block of rows. Blocks that come within twice the largest possible
    rounding of the best, (r + 2)·u·‖a‖·‖R_j‖ for a row a and a column R_j of the rotation, are computed again in
    float64. So the answer is that of float64 throughout, and no array of size N×k is written. Rows too short to hold
    a largest loading, by |a·R_j| ≤ ‖a‖·‖R_j‖ and what the first rows hold, are passed over where that is most of them.

    Args:
        modes: Of the factor, over the same or other points.
        factor: A (N, r).
        chosen: (N,) points to look among; everybody when None.

    Raises:
        UserError: A factor of other columns, a mask of other points, or no point to look among.

    Source:
        Rounding of a scalar product: Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1.
    """
    among = _checked(modes, factor, chosen)
    columns, rotation = factor.columns, modes.rotation
    first = np.arange(min(len(factor), CHUNK))
    beside = [] if chosen is None else [among]
    shortest = _shortest(columns.take(first), [mask[first] for mask in beside], rotation)
    noted = list(columns.map(_block_maxima, rotation, shortest, along=beside))
    starts, largest = np.concatenate([found[0] for found in noted]), np.concatenate([found[1] for found in noted])
    slack = _slack(rotation, columns.dtype, max(found[2] for found in noted))
    near = largest >= largest.max(axis=0) - 2 * slack
    return _settled(factor, rotation, among, starts, near)


def _settled(factor: Factor, rotation: Float64, among: Bools, starts: npt.NDArray[np.int64], near: Bools) -> Peaks:
    """The largest loadings in float64 of the blocks (b,) that come near (b, k) the best on a mode."""
    rows, loadings = np.full(rotation.shape[1], among.argmax(), dtype=np.int64), np.zeros(rotation.shape[1])
    for start, wanted in zip(starts[near.any(axis=1)], near[near.any(axis=1)], strict=True):
        block = np.arange(start, min(start + _BLOCK, len(factor)))
        block = block[among[block]]
        if not len(block):
            continue
        exact = factor.columns.take(block).astype(np.float64) @ rotation[:, wanted]
        best = np.abs(exact).argmax(axis=0)
        found = exact[best, np.arange(len(best))]
        better = np.abs(found) > np.abs(loadings[wanted])
        here = np.flatnonzero(wanted)[better]
        rows[here], loadings[here] = block[best[better]], found[better]
    return Peaks(rows, loadings)


def _checked(modes: Eigenmodes, factor: Factor, chosen: Bools | None) -> Bools:
    """Who is looked among (N,)."""
    if factor.rank != len(modes.rotation):
        raise UserError("modes of another factor", got=f"{factor.rank} columns", expected=f"{len(modes.rotation)}")
    among = np.ones(len(factor), dtype=bool) if chosen is None else chosen
    if among.shape != (len(factor),) or not among.any():
        got = f"{int(among.sum())} points, mask of shape {among.shape}"
        raise UserError("no points to look for the largest loading among", got=got, expected=f"some of {len(factor)}")
    return among


def _slack(rotation: Float64, dtype: np.dtype[Any], longest: float) -> Float64:
    """Largest rounding of loadings (k,) on each mode, of rows that are no longer than `longest`."""
    rounding: Float64 = (len(rotation) + 2) * np.finfo(dtype).eps * longest * np.linalg.norm(rotation, axis=0)
    return rounding


def _shortest(rows: Any, chosen: list[Bools], rotation: Float64) -> float:
    """Length below which a row cannot hold a largest loading, as some rows show; 0 where it would spare little."""
    _, largest, longest = _block_maxima(rows, 0, *chosen, rotation, 0.0)
    length = np.linalg.norm(rotation, axis=0)
    reached = largest.max(axis=0, initial=0.0) - _slack(rotation, rows.dtype, longest)
    shortest = 0.999 * float(np.min(reached / length, initial=np.inf))  # less than the rounding of lengths takes away
    if not 0 < shortest < np.inf or np.mean(np.linalg.norm(rows, axis=1) >= shortest) > _MOST:
        return 0.0
    return shortest


def _block_maxima(chunk: Any, start: int, *rest: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating], float]:
    """Starts (b,) of blocks, the largest |loading| on each mode in them (b, k), and the length of the longest row.

    The rest is who is looked among (n,), if not everybody; the rotation; the length below which rows are passed over.
    """
    *chosen, rotation, shortest = rest
    xp, device = array_api_compat.array_namespace(chunk), array_api_compat.device(chunk)
    small = xp.asarray(rotation, dtype=chunk.dtype, device=device)
    cuts = [slice(row, min(row + _BLOCK, chunk.shape[0])) for row in range(0, chunk.shape[0], _BLOCK)]
    memory = xp.empty((_BLOCK, small.shape[1]), dtype=chunk.dtype, device=device)
    largest, longest = [], 0.0
    for cut in cuts:
        rows = chunk[cut]
        if chosen and not chosen[0][cut].all():
            rows = rows[xp.asarray(chosen[0][cut], device=device)]
        squares = xp.vecdot(rows, rows)
        if rows.shape[0]:
            longest = max(longest, float(xp.max(squares)) ** 0.5)
        if shortest:
            rows = xp.take(rows, xp.nonzero(squares >= shortest**2)[0], axis=0)
        loadings = memory[: rows.shape[0]]
        xp.matmul(rows, small, out=loadings)
        xp.abs(loadings, out=loadings)
        largest.append(to_numpy(_column_maxima(xp, loadings)))
    if not _SQUARES[0] < longest**2 < _SQUARES[1]:
        longest = chunk.shape[1] ** 0.5 * max(float(xp.max(chunk)), -float(xp.min(chunk))) if chunk.shape[1] else 0.0
    return start + np.array([cut.start for cut in cuts], dtype=np.int64), np.array(largest), 1.001 * longest


def _column_maxima(xp: Any, values: Any) -> Any:
    """Largest of each column (k,) of values (n, k) that are not negative."""
    rows, columns = int(values.shape[0]), int(values.shape[1])
    whole = rows - rows % _FOLD
    parts = [xp.zeros((1, columns), dtype=values.dtype, device=array_api_compat.device(values)), values[whole:]]
    if whole:
        folded = xp.max(xp.reshape(values[:whole], (whole // _FOLD, _FOLD * columns)), axis=0)
        parts.append(xp.reshape(folded, (_FOLD, columns)))
    return xp.max(xp.concat(parts, axis=0), axis=0)
