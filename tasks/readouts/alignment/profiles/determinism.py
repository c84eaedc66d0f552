"""Same wells, same bits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

_lock = threading.Lock()
_inside: list[threadpool_limits] = []


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run linear algebra on one thread, and restore the number when the last caller leaves.

    How a product is divided among threads changes its rounding. One thread also is the fast choice for matrices of this
    size. The number belongs to the whole process: no caller may restore it while another still computes.
    """
    with _lock:
        _inside.append(_inside[0] if _inside else threadpool_limits(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _lock:
            limits = _inside.pop()
            if not _inside:
                limits.restore_original_limits()
