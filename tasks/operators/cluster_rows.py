"""Rows in storage that the workers of a Dask cluster read and compute with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from tasks.ensembles.cluster import ClusterError
from tasks.errors import UserError
from tasks.operators.rows import Rows, Vector
from tasks.operators.stored_rows import Places, StoredRows, by_piece, map_piece
from tasks.threads import one_blas_thread

if TYPE_CHECKING:
    from distributed import Client, Future

R = TypeVar("R")

#: Rows that one task of the cluster handles, unless a piece holds more.
SHARE = 2**18


class ClusterRows:
    """Rows of which each worker handles a share; chunks, and so the bits of every sum, are those of the stored rows.

    What travels is functions, their arguments and small results. A worker that is lost costs the shares that it held or
    was at: the scheduler has them read and computed anew by another.

    Args:
        client: Of a cluster whose workers see the storage and run the same versions; it stays the caller's.
        rows: In storage.
        keep: Whether workers keep what they have read. Else every pass reads again.

    Raises:
        UserError: The rows are not in storage: a cluster would have to be sent them in every pass.
    """

    def __init__(self, client: Client, rows: Rows, keep: bool = True) -> None:
        if not isinstance(rows, StoredRows):
            todo = "Store them, and read them by StoredRows."
            raise UserError("rows for a cluster have to be in storage", got=type(rows).__name__, todo=todo)
        self._client, self._rows, self._keep = client, rows, keep
        self._shares = [rows.part(first, last) for first, last in _cuts(rows.bounds)]
        self._starts = [0, *accumulate(len(share) for share in self._shares)]
        self._held: list[Future] = []

    @property
    def shape(self) -> tuple[int, int]:
        """N and r."""
        return self._rows.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored rows."""
        return self._rows.dtype

    def __len__(self) -> int:
        """N."""
        return len(self._rows)

    def map(self, function: Callable[..., R], *args: Any, along: Sequence[Any] = ()) -> Iterator[R]:
        """See `Rows.map`.

        Raises:
            ClusterError: The cluster was lost, or several workers died of one share.
        """
        if self._keep and not self._held:
            self._held = [self._client.submit(_read, share, pure=False) for share in self._shares]
        futures = []
        for number, share in enumerate(self._held or self._shares):
            start, stop = self._starts[number : number + 2]
            beside = [vector[start:stop] for vector in along]
            futures.append(self._client.submit(_map_share, share, start, beside, function, args, pure=False))
        for results in _results(futures):
            yield from results

    def take(self, rows: npt.NDArray[np.integer]) -> Vector:
        """See `Rows.take`: from the workers if they keep what they read, else from storage."""
        if not self._held:
            return self._rows.take(rows)
        places, futures = [], []
        for number, some, inside in by_piece(self._starts, rows):
            places.append(some)
            futures.append(self._client.submit(_take_share, self._held[number], inside, pure=False))
        taken = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        for some, part in zip(places, _results(futures), strict=True):
            taken[some] = part
        return taken


def _cuts(bounds: Sequence[int]) -> list[tuple[int, int]]:
    """First piece of each share, and the one after its last."""
    cuts, first = [], 0
    for last in range(1, len(bounds)):
        if last == len(bounds) - 1 or bounds[last + 1] - bounds[first] > SHARE:
            cuts.append((first, last))
            first = last
    return cuts


def _read(share: StoredRows) -> list[Vector]:
    return [share.piece(number) for number in range(len(share.pieces))]


def _map_share(
    share: StoredRows | list[Vector], start: int, along: Sequence[Any], function: Callable[..., R], args: Sequence[Any]
) -> list[R]:
    """Results of all chunks of a share, on a worker."""
    results: list[R] = []
    first = 0
    with one_blas_thread():
        for piece in share if isinstance(share, list) else (share.piece(n) for n in range(len(share.pieces))):
            last = first + len(piece)
            results += map_piece(piece, start + first, [vector[first:last] for vector in along], function, args)
            first = last
    return results


def _take_share(pieces: list[Vector], rows: Places) -> Vector:
    """Rows of a share, on the worker that keeps it."""
    bounds = [0, *accumulate(len(piece) for piece in pieces)]
    taken = np.empty((len(rows), pieces[0].shape[1]), dtype=pieces[0].dtype)
    for number, places, inside in by_piece(bounds, rows):
        taken[places] = pieces[number][inside]
    return taken


def _results(futures: list[Future]) -> Iterator[Any]:
    """What futures give, in their order. None is left to the workers, whatever happens."""
    try:
        for future in futures:
            yield _result(future)
            future.release()
    finally:
        for future in futures:
            future.release()


def _result(future: Future) -> Any:
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise ClusterError(
            f"{error.allowed_failures + 1} workers died while they computed rows of a matrix, the last one was "
            f"{error.last_worker.address}. Probably a share needs more memory than a worker has"
        ) from error
    except CancelledError as error:
        raise ClusterError(f"rows of a matrix: the connection to the scheduler was lost ({error})") from error
