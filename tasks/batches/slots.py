"""Which strategies fill a batch, in which order, with which options: checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from tasks.batches.options import read_options
from tasks.batches.pool import Kind, Picks, PoolView
from tasks.batches.registry import STRATEGIES
from tasks.campaigns.batch_settings import Hits, Slot
from tasks.errors import UserError


@dataclass(frozen=True)
class Order:
    """A slot that can be filled.

    Attributes:
        name: The strategy.
        share: Of the strategic wells; all orders together 1.
        pick: The strategy with its options.
        needs: Parts of the pool view that it needs.
    """

    name: str
    share: float
    pick: Callable[[PoolView, int, np.random.Generator], Picks]
    needs: tuple[str, ...] = ()


def with_random(slots: Sequence[Slot], share: float) -> tuple[Slot, ...]:
    """The slots with a share of their wells for random picks, last; what the others have shrinks in proportion."""
    if share <= 0:
        return tuple(slots)
    own = sum(slot.share for slot in slots if slot.strategy == "random")
    others = [
        slot.model_copy(update={"share": slot.share * (1 - share)}) for slot in slots if slot.strategy != "random"
    ]
    kept = [slot for slot in others if slot.share > 0]
    return (*kept, Slot(strategy="random", share=min(1.0, own * (1 - share) + share)))


def read_slots(slots: Sequence[Slot], hits: Hits | None, kind: Kind, where: str = "batch.slots") -> list[Order]:
    """What fills the strategic wells: the slots in their order, then the hits.

    Args:
        slots: Strategies and their shares of what the hits leave.
        hits: Wells that look for hits, if any.
        kind: What a readout is.
        where: Where the slots stand, for messages.

    Raises:
        UserError: An unknown strategy, one that is not defined for the readout, one strategy twice, or an option that
            does not fit.
    """
    wanted = [*slots] if hits is None or hits.share < 1 else []
    wanted += [Slot(strategy=hits.strategy, share=hits.share, options=hits.options)] if hits else []
    rest = 1.0 - hits.share if hits else 1.0
    names = [slot.strategy for slot in wanted]
    orders = []
    for slot in wanted:
        name = slot.strategy
        if name not in STRATEGIES:
            known = ", ".join(sorted(STRATEGIES))
            raise UserError("unknown strategy", where=where, got=repr(name), expected=f"one of {known}")
        strategy = STRATEGIES[name]
        if kind not in strategy.kinds:
            todo = f"Use {strategy.instead}." if strategy.instead else ""
            expected = f"a readout that is {' or '.join(strategy.kinds)}"
            got = f"a {kind} readout"
            raise UserError(f"{name} is not defined for it", where=where, got=got, expected=expected, todo=todo)
        if names.count(name) > 1:
            raise UserError("one strategy in two slots", where=where, got=name, todo="Add their shares up.")
        options = read_options(name, strategy.pick, slot.options)
        share = slot.share if hits and slot is wanted[-1] else slot.share * rest
        orders.append(Order(name, share, partial(strategy.pick, **options), strategy.needed(kind)))
    return orders
