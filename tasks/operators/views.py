"""Rows made of other rows, chunk by chunk: nothing of size N×r is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import array_api_compat
import numpy as np
import numpy.typing as npt

from tasks.errors import UserError
from tasks.operators.rows import Rows, Vector

R = TypeVar("R")


class Transformed:
    """Rows that a function makes of each chunk of others, in every pass anew.

    Args:
        rows: (N, q).
        function: A function of a module (or a `functools.partial` of one): chunk (n, q) → (n, columns), of the same
            dtype, each row from the same row.
        columns: r.
    """

    def __init__(self, rows: Rows, function: Callable[[Any], Any], columns: int) -> None:
        self._rows, self._function, self._columns = rows, function, columns

    @property
    def shape(self) -> tuple[int, int]:
        """N and r."""
        return len(self._rows), self._columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows that it is made of."""
        return self._rows.dtype

    def __len__(self) -> int:
        """N."""
        return len(self._rows)

    def map(self, function: Callable[..., R], *args: Any, along: Sequence[Any] = ()) -> Iterator[R]:
        """See `Rows.map`."""
        return self._rows.map(_Then(self._function, function), *args, along=along)

    def take(self, rows: npt.NDArray[np.integer]) -> Vector:
        """See `Rows.take`."""
        return np.asarray(self._function(self._rows.take(rows)))


class SideBySide:
    """Rows of several matrices over the same points as one, (N, r₁ + r₂ + …).

    Args:
        parts: At least one. The chunks are those of the first.

    Raises:
        UserError: They have different numbers of rows.
    """

    def __init__(self, parts: Sequence[Rows]) -> None:
        if not parts or len({len(part) for part in parts}) != 1:
            raise UserError("only rows of the same points stand side by side", got=[len(part) for part in parts])
        self._parts = tuple(parts)

    @property
    def shape(self) -> tuple[int, int]:
        """N and the columns of all."""
        return len(self), sum(part.shape[1] for part in self._parts)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The widest."""
        return np.result_type(*(part.dtype for part in self._parts))

    def __len__(self) -> int:
        """N."""
        return len(self._parts[0])

    def map(self, function: Callable[..., R], *args: Any, along: Sequence[Any] = ()) -> Iterator[R]:
        """See `Rows.map`."""
        first, *others = self._parts
        beside = [_ByRows(other) for other in others]
        return first.map(_Beside(len(others), function), *args, along=[*beside, *along])

    def take(self, rows: npt.NDArray[np.integer]) -> Vector:
        """See `Rows.take`."""
        return np.concatenate([part.take(rows) for part in self._parts], axis=1)


@dataclass(frozen=True)
class _Then:
    """A function of a pass, after another one has made the chunk."""

    first: Callable[[Any], Any]
    function: Callable[..., Any]

    def __call__(self, chunk: Any, start: int, *rest: Any) -> Any:
        return self.function(self.first(chunk), start, *rest)


@dataclass(frozen=True)
class _Beside:
    """A function of a pass, after the same rows of other matrices were put beside the chunk."""

    others: int
    function: Callable[..., Any]

    def __call__(self, chunk: Any, start: int, *rest: Any) -> Any:
        xp = array_api_compat.array_namespace(chunk)
        device = array_api_compat.device(chunk)
        parts = [chunk, *(xp.asarray(part, device=device) for part in rest[: self.others])]
        kind = xp.result_type(*parts)
        whole = xp.concat([xp.astype(part, kind, copy=False) for part in parts], axis=1)
        return self.function(whole, start, *rest[self.others :])


@dataclass(frozen=True)
class _ByRows:
    """Rows that can be cut as `along` of a pass over others."""

    rows: Rows

    def __getitem__(self, cut: slice) -> Vector:
        return self.rows.take(np.arange(*cut.indices(len(self.rows))))
