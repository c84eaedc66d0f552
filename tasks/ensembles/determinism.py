"""Same seed, same bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Run each torch kernel on one thread, and restore the number of threads afterwards.

    How a kernel divides a sum among threads changes its rounding. One thread a kernel also is the fast choice here:
    the products are small, and on a busy machine threads that wait for each other made training 15 times slower.
    Work is spread over members and chunks instead.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
