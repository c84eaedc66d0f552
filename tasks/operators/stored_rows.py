"""Rows that lie in storage in pieces, read piece by piece as a pass comes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import zarr

from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import CheckpointStore
from tasks.errors import NumericalError, UserError
from tasks.operators.rows import CHUNK, Vector, first_not_finite, in_order

R = TypeVar("R")
Places = npt.NDArray[np.int64]

#: Bytes of pieces that stay in memory once they were read.
KEEP = 2**30


@dataclass(frozen=True)
class StoredPiece:
    """Some rows that follow each other.

    Attributes:
        rows: How many (n_i).
        read: Gives them, (n_i, r), from wherever it is called: a function of a module in a `functools.partial`.
    """

    rows: int
    read: Callable[[], Vector]


class StoredRows:
    """Rows in pieces. Each core reads and computes a piece of its own.

    The first pieces stay in memory once read, so that the next pass need not read them again; the rest is read again
    in every pass. That values are finite is checked when a piece is read for the first time.

    Args:
        pieces: In the order of their rows.
        columns: r.
        dtype: Of all pieces, float32 or float64.
        keep: Bytes of pieces that may stay in memory.

    Raises:
        UserError: Other numbers than float32 or float64. Later, by a pass: a piece is not as described.
        NumericalError: By a pass: a value is not finite.
    """

    def __init__(self, pieces: Sequence[StoredPiece], columns: int, dtype: Any, keep: int = KEEP) -> None:
        self.pieces, self._columns = tuple(pieces), columns
        self._dtype: np.dtype[Any] = np.dtype(dtype)
        if self._dtype not in (np.float32, np.float64):
            raise UserError("stored rows of another type", got=self._dtype, expected="float32 or float64")
        #: Row at which each piece starts, and N.
        self.bounds = (0, *accumulate(piece.rows for piece in self.pieces))
        self._keep = keep
        self._kept: dict[int, Vector] = {}
        self._checked: set[int] = set()

    @classmethod
    def of_zarr(cls, array: zarr.Array[Any], keep: int = KEEP) -> Self:
        """Rows of a zarr array (N, r), a piece for each row of its chunks.

        Raises:
            UserError: It is no matrix of float32 or float64.
        """
        if array.ndim != 2:
            raise UserError("stored rows need a matrix", got=f"shape {array.shape}", expected="(N, r)")
        rows, columns = array.shape
        step = (array.shards or array.chunks)[0]
        cuts = [(start, min(start + step, rows)) for start in range(0, rows, step)]
        pieces = [StoredPiece(stop - start, partial(_read_zarr, array, start, stop)) for start, stop in cuts]
        return cls(pieces, columns, array.dtype, keep)

    @classmethod
    def of_refs(cls, store: CheckpointStore, refs: Sequence[Ref], keep: int = KEEP) -> Self:
        """Rows of stored arrays (n_i, r), one below the other; the first is read at once.

        Raises:
            UserError: There is none, or one is no stored matrix.
        """
        for ref in refs:
            if ref.kind != "array" or ref.shape is None or len(ref.shape) != 2:
                raise UserError("stored rows need matrices", where=ref.uri, got=f"{ref.kind} of shape {ref.shape}")
        if not refs:
            raise UserError("no piece to read rows from")
        pieces = [StoredPiece((ref.shape or (0,))[0], partial(store.load, ref)) for ref in refs]
        first = pieces[0].read()
        rows = cls(pieces, first.shape[1], first.dtype, keep)
        if first.nbytes <= keep:
            rows._kept[0] = first
            rows._check(0, first)
        return rows

    def __getstate__(self) -> dict[str, Any]:
        """Without what is in memory: it is read again where it is wanted."""
        return {**self.__dict__, "_kept": {}, "_checked": set()}

    @property
    def shape(self) -> tuple[int, int]:
        """N and r."""
        return self.bounds[-1], self._columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pieces."""
        return self._dtype

    def __len__(self) -> int:
        """N."""
        return self.bounds[-1]

    def map(self, function: Callable[..., R], *args: Any, along: Sequence[Any] = ()) -> Iterator[R]:
        """See `Rows.map`: a piece on each core, cut into chunks of `CHUNK` rows."""

        def one(number: int) -> list[R]:
            start, stop = self.bounds[number], self.bounds[number + 1]
            return map_piece(self.piece(number), start, [vector[start:stop] for vector in along], function, args)

        for results in in_order(one, range(len(self.pieces))):
            yield from results

    def take(self, rows: npt.NDArray[np.integer]) -> Vector:
        """See `Rows.take`: reads the pieces that hold them, one on each core."""
        taken = np.empty((len(rows), self._columns), dtype=self._dtype)

        def one(some: tuple[int, Places, Places]) -> None:
            number, places, inside = some
            taken[places] = self.piece(number)[inside]

        for _ in in_order(one, list(by_piece(self.bounds, rows))):
            pass
        return taken

    def part(self, first: int, last: int) -> StoredRows:
        """Rows of the pieces from one to before another, as rows of their own; nothing of them stays in memory."""
        return StoredRows(self.pieces[first:last], self._columns, self._dtype, keep=0)

    def piece(self, number: int) -> Vector:
        """The rows (n_i, r) of a piece."""
        if (kept := self._kept.get(number)) is not None:
            return kept
        piece = self.pieces[number]
        rows = piece.read()
        if rows.shape != (piece.rows, self._columns) or rows.dtype != self._dtype:
            expected = f"shape {(piece.rows, self._columns)} of {self._dtype}"
            got = f"shape {rows.shape} of {rows.dtype}"
            raise UserError("a stored piece is not as described", where=f"piece {number}", got=got, expected=expected)
        self._check(number, rows)
        if self.bounds[number + 1] * self._columns * self._dtype.itemsize <= self._keep:
            self._kept[number] = rows
        return rows

    def _check(self, number: int, rows: Vector) -> None:
        if number in self._checked:
            return
        if (bad := first_not_finite(rows, self.bounds[number])) is not None:
            raise NumericalError(f"row {bad} of a stored matrix of shape {self.shape} is not finite")
        self._checked.add(number)


def by_piece(bounds: Sequence[int], rows: npt.NDArray[np.integer]) -> Iterator[tuple[int, Places, Places]]:
    """Which pieces hold some rows.

    Args:
        bounds: Row at which each piece starts, and N.
        rows: (k,) in any order; below 0 they count from the end.

    Yields:
        Number of a piece, where its rows stand among the k, and which of its own rows they are.

    Raises:
        IndexError: There is no such row.
    """
    wanted = np.asarray(rows, dtype=np.int64)
    wanted = np.where(wanted < 0, wanted + bounds[-1], wanted)
    if wanted.size and not (wanted.min() >= 0 and wanted.max() < bounds[-1]):
        raise IndexError(f"rows {wanted.min()} to {wanted.max()} of {bounds[-1]}")
    held_by = np.searchsorted(bounds, wanted, side="right") - 1
    order = np.argsort(held_by, kind="stable")
    numbers, starts = np.unique(held_by[order], return_index=True)
    for number, places in zip(numbers.tolist(), np.split(order, starts)[1:], strict=True):
        yield number, places, wanted[places] - bounds[number]


def map_piece(
    piece: Vector, start: int, along: Sequence[Any], function: Callable[..., R], args: Sequence[Any]
) -> list[R]:
    """What a function gives for every chunk of a piece.

    Args:
        piece: (n, r) rows.
        start: Row of the matrix at which the piece starts.
        along: Arrays of n rows.
        function: As of `Rows.map`.
        args: Its other arguments.
    """
    cuts = [slice(row, row + CHUNK) for row in range(0, len(piece), CHUNK)]
    return [function(piece[cut], start + cut.start, *(vector[cut] for vector in along), *args) for cut in cuts]


def _read_zarr(array: zarr.Array[Any], start: int, stop: int) -> Vector:
    return np.asarray(array[start:stop])
