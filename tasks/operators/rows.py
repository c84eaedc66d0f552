"""A tall matrix that is only ever seen some rows at a time: in memory, on a device, in storage, on a cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar, runtime_checkable

import array_api_compat
import numpy as np
import numpy.typing as npt

from tasks.checkpoints.pieces import cores
from tasks.errors import NumericalError, UserError
from tasks.threads import one_blas_thread

T = TypeVar("T")
R = TypeVar("R")
Vector = npt.NDArray[Any]

#: Rows of a chunk. Sums are taken chunk by chunk in order, so it decides their rounding and never changes with the
#: number of threads or workers. Pieces in storage that hold a multiple of it give the same bits as memory.
CHUNK = 16_384
_AHEAD = 8  # chunks for each core that may wait to be asked for


@runtime_checkable
class Rows(Protocol):
    """A matrix (N, r) of finite numbers, by chunks of rows."""

    @property
    def shape(self) -> tuple[int, int]:
        """N and r."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """As numpy names it: float32 or float64."""

    def __len__(self) -> int:
        """N."""

    def map(self, function: Callable[..., R], *args: Any, along: Sequence[Any] = ()) -> Iterator[R]:
        """What a function gives for every chunk, in their order: function(chunk, start, *slices of along, *args).

        Chunks are computed side by side, so the function may not depend on the others. It is a function of a module,
        and its arguments can be pickled: they may go to another process. What it gives is small, or is used before
        the next ones are asked for: no more than some chunks are ahead. Who makes many passes holds
        `tasks.threads.one_blas_thread` around all of them, which saves a millisecond a pass.

        Args:
            function: Gets the chunk (n_i, r), a numpy array (a torch tensor where `DeviceRows` hold them), and the row
                at which it starts. It may not write to the chunk.
            args: The same for all chunks.
            along: Arrays (or sparse matrices by rows) of N rows; the function gets the rows of its chunk.
        """

    def take(self, rows: npt.NDArray[np.integer]) -> Vector:
        """Some rows (k, r), in the order asked for, as a numpy array of this dtype."""


class MemoryRows:
    """Rows of one array.

    Args:
        array: (N, r), float32 or float64: numpy, or a torch tensor on the CPU, whose memory is shared.
        chunk: Rows of a chunk.

    Raises:
        UserError: It is no matrix of floating-point numbers.
        NumericalError: A value is not finite.
    """

    def __init__(self, array: Any, chunk: int = CHUNK) -> None:
        self.array, self._chunk = np.asarray(array), chunk
        if self.array.ndim != 2 or self.array.dtype not in (np.float32, np.float64):
            got = f"shape {self.array.shape} of {self.array.dtype}"
            raise UserError("rows need a matrix", got=got, expected="(N, r) of float32 or float64")
        for bad in self.map(first_not_finite):
            if bad is not None:
                raise NumericalError(f"row {bad} of a matrix of shape {self.shape} is not finite")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Vector:
        """The array itself."""
        return np.array(self.array, dtype=dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, int]:
        """N and r."""
        rows, columns = self.array.shape
        return int(rows), int(columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array."""
        return self.array.dtype

    def __len__(self) -> int:
        """N."""
        return self.shape[0]

    def map(self, function: Callable[..., R], *args: Any, along: Sequence[Any] = ()) -> Iterator[R]:
        """See `Rows.map`: as many chunks at once as there are cores, each on one thread."""

        def one(start: int) -> R:
            rows = slice(start, start + self._chunk)
            return function(self.array[rows], start, *(vector[rows] for vector in along), *args)

        return in_order(one, range(0, len(self), self._chunk))

    def take(self, rows: npt.NDArray[np.integer]) -> Vector:
        """See `Rows.take`."""
        taken: Vector = np.take(self.array, rows, axis=0)  # thrice as fast as indexing
        return taken


def as_rows(matrix: Any) -> Rows:
    """Rows of a matrix (N, r): numpy, torch on any device, or what is `Rows` already."""
    if isinstance(matrix, Rows) and not isinstance(matrix, np.ndarray):
        return matrix
    if array_api_compat.is_torch_array(matrix) and matrix.device.type != "cpu":
        from tasks.operators.device_rows import DeviceRows

        return DeviceRows(matrix)
    return MemoryRows(matrix)


def in_order(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """function(item) for every item, in their order, as many at once as there are cores, each on one BLAS thread."""
    with ExitStack() as stack:
        stack.enter_context(one_blas_thread())
        if min(len(items), cores()) < 2:
            yield from map(function, items)
            return
        threads = stack.enter_context(ThreadPoolExecutor(cores()))
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(threads.submit(function, item))
                if len(waiting) >= _AHEAD * cores():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def first_not_finite(chunk: Any, start: int) -> int | None:
    """First row of the matrix in this chunk that holds a value that is not finite, if there is one."""
    xp = array_api_compat.array_namespace(chunk)
    finite = xp.isfinite(chunk)
    if bool(xp.all(finite)):
        return None
    return start + int(xp.argmin(xp.astype(xp.all(finite, axis=1), xp.int8)))
