"""Numerics on one thread, so that the same input gives the same bits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

#: Sets a process-wide number of threads to one; answers with what restores it.
Hold = Callable[[], Callable[[], object]]


class OneThread:
    """Holds a number of threads at one while anybody is inside, and restores it when the last caller leaves.

    The number belongs to the whole process, and callers in several threads share it: none may restore it while another
    still computes.

    Args:
        hold: Sets it, and gives what restores it.
    """

    def __init__(self, hold: Hold) -> None:
        self._hold, self._lock = hold, threading.Lock()
        self._inside = 0
        self._restore: Callable[[], object] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Be inside; also a decorator."""
        with self._lock:
            if not self._inside:
                self._restore = self._hold()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside and self._restore is not None:
                    self._restore()


def hold_blas() -> Callable[[], object]:
    """Linear algebra of numpy and scipy on one thread; answers with what restores it."""
    limits = _libraries().limit(limits=1, user_api="blas")
    restore: Callable[[], object] = limits.restore_original_limits
    return restore


@cache
def _libraries() -> ThreadpoolController:
    """Libraries of numpy and scipy. Looking for them takes milliseconds, so it is done once, when both are there."""
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()


#: Linear algebra on one thread: how a product is divided among threads changes its rounding. It also is the fast choice
#: for matrices of a plate's size.
one_blas_thread = OneThread(hold_blas)
