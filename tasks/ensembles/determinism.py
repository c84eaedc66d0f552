"""Same seed, same bits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from tasks.threads import OneThread


def _hold_torch() -> Callable[[], object]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    return partial(torch.set_num_threads, before)


#: Each torch kernel on one thread: how a kernel divides a sum among threads changes its rounding. It also is the fast
#: choice here: the products are small, and on a busy machine threads that wait for each other made training 15 times
#: slower. Work is spread over members and chunks instead.
one_thread = OneThread(_hold_torch)
