"""What a pass over a matrix costs here at the least: bytes at the bandwidth, multiply-adds at the GEMM rate."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from tasks.checkpoints.pieces import cores
from tasks.threads import one_blas_thread

Clock = Callable[[], float]

_SQUARE = 1024  # side of the product whose rate is taken when none is told
_BLOCK = 2**18  # numbers of a tall block: what stays in a core's cache
_READ = 2**26  # float32 numbers read, 256 MiB: more than caches hold
_TIMES = 5


def floor_seconds(
    bytes_read: float, multiply_adds: float, columns: int | None = None, clock: Clock = time.perf_counter
) -> float:
    """Seconds that reading and multiplying take at the least, with all cores that this process may use.

    Both rates are measured now, so call it beside what it is compared with. Nothing overlaps: the time of the bytes and
    that of the products add up.

    Args:
        bytes_read: Bytes read from memory.
        multiply_adds: Multiply-adds in float32.
        columns: Width of the matrix: the GEMM rate is that of tall blocks (n, columns) in cache by (columns, columns).
            When None it is that of square matrices, which a narrow product cannot reach.
        clock: What a core's time is taken with. By `time.thread_time` it is seconds of each core's own work, which
            other work on the machine lengthens little: compare it with processor seconds over the number of cores.

    Returns:
        Seconds [s], all cores at work.
    """
    with one_blas_thread(), ThreadPoolExecutor(cores()) as threads:
        return bytes_read / _bandwidth(threads, clock) + multiply_adds / _gemm_rate(threads, columns, clock)


def floor_of_passes(
    rows: int, columns: int, reads: int, products: int, itemsize: int = 4, clock: Clock = time.perf_counter
) -> float:
    """Floor of reading a matrix (rows, columns) and multiplying it by (columns, columns), several times.

    Args:
        rows: N.
        columns: r.
        reads: Passes over the matrix.
        products: GEMMs of N·r² multiply-adds each.
        itemsize: Bytes of a number.
        clock: See `floor_seconds`.

    Returns:
        Seconds [s]; see `floor_seconds`.
    """
    return floor_seconds(reads * rows * columns * itemsize, products * rows * columns**2, columns, clock)


def _bandwidth(threads: ThreadPoolExecutor, clock: Clock) -> float:
    """Bytes a second that all cores together read."""
    parts = np.array_split(np.ones(_READ, dtype=np.float32), cores())
    return _READ * 4 / _seconds(threads, [partial(np.dot, part, part) for part in parts], clock)


def _gemm_rate(threads: ThreadPoolExecutor, columns: int | None, clock: Clock) -> float:
    """Multiply-adds a second of all cores together."""
    inner = _SQUARE if columns is None else columns
    rows = _SQUARE if columns is None else max(_BLOCK // (2 * columns), 1)
    times = max(int(5e8 / (rows * inner**2)), 1)
    a, b = np.ones((rows, inner), dtype=np.float32), np.ones((inner, inner), dtype=np.float32)

    def multiply() -> None:
        mine, out = a.copy(), np.empty((rows, inner), dtype=np.float32)
        for _ in range(times):
            np.matmul(mine, b, out=out)

    return cores() * times * rows * inner**2 / _seconds(threads, [multiply] * cores(), clock)


def _seconds(threads: ThreadPoolExecutor, work: list[Callable[[], object]], clock: Clock) -> float:
    """Seconds until every thread has done its share; the middle of some tries after a first one."""

    def timed(share: Callable[[], object]) -> float:
        started = clock()
        share()
        return clock() - started

    tries = [max(threads.map(timed, work)) for _ in range(_TIMES + 1)]
    return statistics.median(tries[1:])
