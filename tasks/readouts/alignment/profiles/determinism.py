"""Same wells, same bits."""

from __future__ import annotations

from collections.abc import Callable

from threadpoolctl import threadpool_limits

from tasks.threads import OneThread


def _hold_blas() -> Callable[[], object]:
    limits = threadpool_limits(limits=1, user_api="blas")
    return lambda: limits.restore_original_limits()


#: Linear algebra on one thread: how a product is divided among threads changes its rounding. It also is the fast choice
#: for matrices of this size.
one_blas_thread = OneThread(_hold_blas)
