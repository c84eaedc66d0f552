"""Rows that stay where a device holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import array_api_compat
import numpy as np
import numpy.typing as npt

from tasks.errors import NumericalError, UserError
from tasks.operators.rows import Vector, first_not_finite

R = TypeVar("R")

#: Rows of a chunk: a GPU wants more of them at once than a core's cache holds.
DEVICE_CHUNK = 2**20


class DeviceRows:
    """Rows of one tensor on any device of torch, where the functions of a pass compute too.

    They get tensors: write them with `array_api_compat.array_namespace`, as all of `tasks.operators` are. Chunks are
    larger than in memory, so sums round differently there: results are close to those of the CPU, not the same bits.

    Args:
        tensor: (N, r) float32 or float64.
        chunk: Rows of a chunk.

    Raises:
        UserError: It is no matrix of floating-point numbers.
        NumericalError: A value is not finite.
    """

    def __init__(self, tensor: Any, chunk: int = DEVICE_CHUNK) -> None:
        self.tensor, self._chunk = tensor, chunk
        if len(tensor.shape) != 2 or self.dtype not in (np.float32, np.float64):
            got = f"shape {tuple(tensor.shape)} of {tensor.dtype}"
            raise UserError("rows need a matrix", got=got, expected="(N, r) of float32 or float64")
        for bad in self.map(first_not_finite):
            if bad is not None:
                raise NumericalError(f"row {bad} of a matrix of shape {self.shape} is not finite")

    @property
    def shape(self) -> tuple[int, int]:
        """N and r."""
        rows, columns = self.tensor.shape
        return int(rows), int(columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As numpy names it."""
        return np.dtype(str(self.tensor.dtype).removeprefix("torch."))

    def __len__(self) -> int:
        """N."""
        return self.shape[0]

    def map(self, function: Callable[..., R], *args: Any, along: Sequence[Any] = ()) -> Iterator[R]:
        """See `Rows.map`: one chunk after another; the device has threads of its own."""
        for start in range(0, len(self), self._chunk):
            rows = slice(start, start + self._chunk)
            yield function(self.tensor[rows], start, *(vector[rows] for vector in along), *args)

    def take(self, rows: npt.NDArray[np.integer]) -> Vector:
        """See `Rows.take`."""
        xp = array_api_compat.array_namespace(self.tensor)
        index = xp.asarray(np.asarray(rows, dtype=np.int64), device=array_api_compat.device(self.tensor))
        return np.asarray(array_api_compat.to_device(self.tensor[index], "cpu"))
