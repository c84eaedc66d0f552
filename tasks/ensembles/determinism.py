"""Same seed, same bits: one thread a kernel, and random numbers by purpose."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np
import torch

from tasks.threads import OneThread, hold_blas


class Purpose(IntEnum):
    """What random numbers are for; numbers of two purposes are independent."""

    MEMBER = 0
    DEAL = 1
    SKETCH = 2
    MASK = 3
    LANDMARKS = 4
    KERNEL_LABELS = 5
    FREQUENCIES = 6
    GRADIENTS = 7


def generator(seed: int, purpose: Purpose, *index: int) -> np.random.Generator:
    """Random numbers of one thing: they depend on the ensemble's seed, the purpose and the thing's index alone."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *index)))


def _hold() -> Callable[[], object]:
    before, restore_blas = torch.get_num_threads(), hold_blas()
    torch.set_num_threads(1)

    def restore() -> None:
        torch.set_num_threads(before)
        restore_blas()

    return restore


#: Each kernel of torch, numpy and scipy on one thread: how a kernel divides a sum among threads changes its rounding.
#: It also is the fast choice here: the products are small, and on a busy machine threads that wait for each other made
#: training 15 times slower. Work is spread over members and chunks instead.
one_thread = OneThread(_hold)
