"""Same seed, same bits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside: list[int] = []  # for each caller inside, the number of threads that was set before the first one came


@contextmanager
def one_thread() -> Iterator[None]:
    """Run each torch kernel on one thread, and restore the number of threads when the last caller leaves.

    How a kernel divides a sum among threads changes its rounding. One thread a kernel also is the fast choice here:
    the products are small, and on a busy machine threads that wait for each other made training 15 times slower.
    Work is spread over members and chunks instead. torch's setting belongs to the whole process, so that callers in
    several threads share it: none may restore it while another still computes.
    """
    with _lock:
        _inside.append(_inside[0] if _inside else torch.get_num_threads())
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            before = _inside.pop()
            if not _inside:
                torch.set_num_threads(before)
