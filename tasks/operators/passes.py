"""What is done with a chunk of rows: the inner loops of the algebra, on numpy arrays and on tensors alike.

Every function is of the form that `Rows.map` asks for. Sums are in float64; a chunk is converted block by block, so
that the converted rows stay in the core's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt
import scipy.sparse

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_BLOCK = 2**21  # bytes of a block in float64


def gram(chunk: Any, start: int, chosen: Bools | None = None) -> Float64:
    """AᵀA (r, r) of the chunk's rows A, or of the `chosen` (n,) ones."""
    return _gram(chunk, None if chosen is None or chosen.all() else chosen, None)


def weighted_gram(chunk: Any, start: int, weights: Float64) -> Float64:
    """Aᵀ diag(weights) A (r, r) of the chunk's rows A, weights (n,) not negative."""
    return _gram(chunk, None, np.sqrt(weights))


def _gram(chunk: Any, chosen: Bools | None, scale: Float64 | None) -> Float64:
    xp = array_api_compat.array_namespace(chunk)
    total = np.zeros((chunk.shape[1], chunk.shape[1]))
    for rows, cut in _blocks(chunk):
        block = rows
        if chosen is not None:
            block = block[_beside(xp, chunk, chosen[cut])]
        if scale is not None:
            block = block * _beside(xp, chunk, scale[cut])[:, None]
        total += to_numpy(block.T @ block)
    return total


def inner(chunk: Any, start: int, vectors: Float64) -> Float64:
    """AᵀX (r, k) of the chunk's rows A and the same rows of X (n, k)."""
    xp = array_api_compat.array_namespace(chunk)
    total = np.zeros((chunk.shape[1], vectors.shape[1]))
    for block, cut in _blocks(chunk):
        total += to_numpy(block.T @ _beside(xp, chunk, vectors[cut]))
    return total


def inner_sparse(chunk: Any, start: int, weights: scipy.sparse.csr_array) -> Float64:
    """AᵀW (r, q) of the chunk's rows A and the same rows of a sparse W (n, q)."""
    total = np.zeros((chunk.shape[1], weights.shape[1]))
    for block, cut in _blocks(chunk):
        total += np.asarray(weights[cut].T @ to_numpy(block)).T
    return total


def product(chunk: Any, start: int, core: Float64) -> Float64:
    """AC (n, k) of the chunk's rows A and a small matrix C (r, k)."""
    xp = array_api_compat.array_namespace(chunk)
    small = _beside(xp, chunk, core)
    parts = [to_numpy(block @ small) for block, _ in _blocks(chunk)]
    return np.concatenate(parts) if parts else np.empty((0, core.shape[1]))


def signed_squares(chunk: Any, start: int, signs: Float64) -> Float64:
    """Σ_j signs_j A_ij² (n,) of the chunk's rows A."""
    xp = array_api_compat.array_namespace(chunk)
    small = _beside(xp, chunk, signs)
    parts = [to_numpy((block * block) @ small) for block, _ in _blocks(chunk)]
    return np.concatenate(parts) if parts else np.empty(0)


def to_numpy(array: Any) -> npt.NDArray[Any]:
    """The same numbers in this process's memory."""
    return np.asarray(array_api_compat.to_device(array, "cpu"))


def block_rows(columns: int) -> int:
    """Rows of a block, a power of two."""
    return 1 << max(_BLOCK // (8 * max(columns, 1)), 64).bit_length() - 1


def _blocks(chunk: Any) -> Iterator[tuple[Any, slice]]:
    """Blocks of the chunk in float64, and which of its rows they are. A device takes the chunk at once.

    They share one piece of memory: fresh memory for each would cost more than the arithmetic.
    """
    xp = array_api_compat.array_namespace(chunk)
    rows, columns = (int(size) for size in chunk.shape)
    step = min(block_rows(columns), rows) if isinstance(chunk, np.ndarray) else rows
    exact = chunk.dtype == xp.float64
    memory = None if exact else xp.empty((step, columns), dtype=xp.float64, device=array_api_compat.device(chunk))
    for start in range(0, rows, max(step, 1)):
        cut = slice(start, min(start + step, rows))
        if memory is None:
            yield chunk[cut], cut
        else:
            block = memory[: cut.stop - start]
            block[...] = chunk[cut]
            yield block, cut


def _beside(xp: Any, chunk: Any, array: npt.NDArray[Any]) -> Any:
    """A numpy array as what the chunk is, where the chunk is."""
    return xp.asarray(array, device=array_api_compat.device(chunk))
