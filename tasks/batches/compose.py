"""A round's batch: repeats, strategic slots, releases of hidden audit members, and the random arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.batches.pool import BoolArray, ExhaustedStrategy, IntArray, Picks, PoolView, largest_remainder
from tasks.batches.slots import Order, read_slots
from tasks.campaigns.batch_settings import Hits, Slot
from tasks.errors import NumericalError, UserError

BATCH_COLUMNS = ("perturbation", "action", "arm", "slot", "rank", "score", "mode", "reason")
AGAIN = "its plates were given up: measured again, and keeps its place"
DTYPES = {"rank": "int64", "score": "float64", "mode": "int64"}


def initial_batch(
    n_library: int, ids: Sequence[str], audit: int, wells: int, seed: int, vetoed: BoolArray | None = None
) -> pd.DataFrame:
    """Round 0: the audit set and the first training set, both drawn uniformly.

    Args:
        n_library: Perturbations in the library (N).
        ids: Their N ids.
        audit: Perturbations of the audit set, drawn first.
        wells: Perturbations that round 0 measures, the audit set included.
        seed: Seed of the draw.
        vetoed: (N,) who may not be measured.

    Returns:
        Batch table (columns BATCH_COLUMNS); arm `audit`, then arm `initial`, all with action `measure`. If the library
        is smaller than `wells`, all of it.

    Raises:
        UserError: If the audit set leaves no perturbation to train on.
    """
    if len(ids) != n_library:
        raise UserError("ids and library differ in length", got=len(ids), expected=str(n_library))
    allowed = np.ones(n_library, dtype=bool) if vetoed is None else ~vetoed
    size = min(wells, int(allowed.sum()))
    if not 0 <= audit < size:
        raise UserError(
            "the audit set leaves nothing to train on in round 0",
            where="batch.audit, plates.initial",
            got=f"an audit set of {audit}, room for {size}",
            expected=f"an audit set of fewer than {size} perturbations",
            todo="Raise plates.initial or lower batch.audit.",
        )
    order = np.random.default_rng(seed).permutation(n_library)
    order = order[allowed[order]][:size]
    why = {"audit": "drawn uniformly from the library; hidden", "initial": "drawn uniformly from the rest"}
    records = [
        _record(ids[row], "measure", arm, arm, rank, 0.0, -1, why[arm])
        for arm, rows in (("audit", order[:audit]), ("initial", order[audit:]))
        for rank, row in enumerate(rows.tolist())
    ]
    return _table(records)


def compose(
    pool: PoolView,
    hidden_audit: BoolArray,
    slots: Sequence[Slot],
    wells: int,
    random_arm: float,
    seed: int,
    ids: Sequence[str],
    returned: BoolArray | None = None,
    hits: Hits | None = None,
    vetoed: BoolArray | None = None,
    repeats: BoolArray | None = None,
) -> pd.DataFrame:
    """Choose the next batch.

    Strategies do not know who is a hidden audit member. One that is picked is released, at no well, and the slot goes
    on until it is full. The random arm is then drawn uniformly from what nobody picked and nobody hides, and joins the
    audit. So those still hidden stay a uniform random subset of everything neither chosen nor vetoed.

    Args:
        pool: The library (N perturbations) and who may be chosen. **Every** hidden member must be open, also one whose
            plate failed: leaving those out would tell the strategy who they are. What waits for its plate is not open.
        hidden_audit: (N,) who is a hidden audit member. Nothing below may depend on what the audit says.
        slots: Strategies and their shares of the strategic wells that the hits leave.
        wells: Perturbations to measure, at least 1.
        random_arm: Share of `wells` for the random arm, rounded, at least one perturbation if positive.
        seed: Seed of strategies, random arm and ties.
        ids: (N,) ids of the library.
        returned: (N,) whose plates were all abandoned. Chosen before, they are open to strategies alone. Hidden, they
            are measured when picked, because there is no measurement to release.
        hits: Strategic wells that look for hits, filled after the slots.
        vetoed: (N,) who may not be measured: neither picked nor drawn.
        repeats: (N,) what is measured again: first, in the order of the library, on strategic wells; what finds no room
            waits. Nobody's standing changes. Hidden ones stay open; one that is picked stands on its repeat's well.

    Returns:
        Batch table (columns BATCH_COLUMNS): repeats, slots in their order, hits, random arm. `rank` counts the picks of
        a slot, releases included; `score` is 0 for draws. Fewer than `wells` only if nothing is left; reasons say so.

    Raises:
        ExhaustedStrategy: If a strategy cannot supply its slot although the pool could.
        UserError: A strategy, option or mask that does not fit, one strategy in two slots, or wells < 1.
    """
    orders = read_slots(slots, hits, pool.kind)
    returned, vetoed, repeats = (_or_nobody(mask, pool) for mask in (returned, vetoed, repeats))
    _check(pool, {"hidden_audit": hidden_audit, "returned": returned, "vetoed": vetoed, "repeats": repeats}, wells)
    arm_wells = arm_size(random_arm, wells)
    arm_seed, *slot_seeds = np.random.SeedSequence(seed).spawn(len(orders) + 1)
    rng = np.random.default_rng(arm_seed)
    again = np.flatnonzero(repeats & ~vetoed)[: wells - arm_wells]
    placed = np.isin(np.arange(len(pool)), again)
    # What was chosen and is to be repeated is as good as known: no strategy should choose it, or what lies next to it.
    # Of hidden members no strategy may know, whatever became of their plates: keeping one from it spoils the sample.
    pool = pool.without(repeats & ~hidden_audit).forbidding(vetoed)
    settled = hidden_audit & (~returned | placed)
    places = largest_remainder([order.share for order in orders], wells - arm_wells - len(again), rng)
    picked, taken = _fill_slots(pool, settled, placed, orders, places, slot_seeds, ids)
    records = _repeats(again[~taken[again]], ids) + picked
    records += _random_arm(pool.open & ~(taken | hidden_audit | returned), taken, arm_wells, rng, ids)
    return _table(records, nothing_left=not (pool.open & ~taken & ~hidden_audit).any())


def arm_size(random_arm: float, wells: int) -> int:
    """Perturbations of the random arm among so many: its share, rounded, at least one if it is positive."""
    return min(wells, max(1, round(random_arm * wells))) if random_arm > 0 else 0


def _fill_slots(
    pool: PoolView,
    settled: BoolArray,
    placed: BoolArray,
    orders: Sequence[Order],
    places: IntArray,
    seeds: Sequence[np.random.SeedSequence],
    ids: Sequence[str],
) -> tuple[list[dict[str, Any]], BoolArray]:
    """Records of all slots, one after the other, and (N,) who they took."""
    taken = np.zeros(len(pool), dtype=bool)
    records: list[dict[str, Any]] = []
    for order, count, seed in zip(orders, places.tolist(), seeds, strict=True):
        records += _fill_slot(pool, settled, placed, taken, order, count, np.random.default_rng(seed), ids)
    return records, taken


def _fill_slot(
    pool: PoolView,
    settled: BoolArray,
    placed: BoolArray,
    taken: BoolArray,
    order: Order,
    wells: int,
    rng: np.random.Generator,
    ids: Sequence[str],
) -> list[dict[str, Any]]:
    """Records of one slot; marks its picks in `taken`.

    A hidden member that is `settled` costs no further well: it was measured and is released, or it is `placed` on the
    well of its repeat.
    """
    records: list[dict[str, Any]] = []
    while wells > 0 and not taken[pool.open].all():
        left = pool.without(taken)
        # How much is asked for depends on what was revealed so far, never on who else is hidden.
        picks = _ask(order, left, min(wells, left.available), rng, len(records))
        for row, score, mode, reason in zip(picks.rows, picks.score, picks.mode, picks.reason, strict=True):
            action = "release" if settled[row] and not placed[row] else "measure"
            said = f"{reason}; already measured for the audit" if action == "release" else reason
            said = f"{said}; {AGAIN}" if placed[row] else said
            rank = len(records)
            records.append(_record(ids[row], action, "strategy", order.name, rank, float(score), int(mode), said))
        taken[picks.rows] = True
        wells -= int((~settled[picks.rows]).sum())
    return records


def _ask(order: Order, pool: PoolView, n: int, rng: np.random.Generator, before: int) -> Picks:
    """Picks of a strategy that has made so many for this slot before."""
    try:
        picks = order.pick(pool, n, rng)
    except ExhaustedStrategy as error:
        if not before:
            raise
        where = f"{error.where} after {before} others of this slot"
        raise ExhaustedStrategy(
            error.what, where=where, got=error.got, expected=error.expected, todo=error.todo
        ) from error
    if len(picks.rows) != n:
        raise ExhaustedStrategy(
            "the strategy did not supply what its slot asks for",
            where=f"strategy {order.name}, pick {len(picks.rows) + 1}",
            got=len(picks.rows),
            expected=f"{n} perturbations",
        )
    if not pool.open[picks.rows].all():
        closed = int(picks.rows[~pool.open[picks.rows]][0])
        raise NumericalError(f"strategy {order.name} picked row {closed}, which may not be picked")
    return picks


def _repeats(rows: IntArray, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Records of what is measured again and no strategy picked."""
    return [_record(ids[row], "measure", "repeat", "repeat", k, 0.0, -1, AGAIN) for k, row in enumerate(rows.tolist())]


def _random_arm(
    open_: BoolArray, taken: BoolArray, wells: int, rng: np.random.Generator, ids: Sequence[str]
) -> list[dict[str, Any]]:
    """Records of the random arm, drawn uniformly from `open_` (N,); marks them in `taken`."""
    candidates: IntArray = np.flatnonzero(open_)
    rows = rng.choice(candidates, size=min(wells, len(candidates)), replace=False) if len(candidates) else candidates
    taken[rows] = True
    why = "drawn uniformly from what nobody chose; joins the audit"
    return [
        _record(ids[row], "measure", "random", "random", rank, 0.0, -1, why) for rank, row in enumerate(rows.tolist())
    ]


def _check(pool: PoolView, masks: dict[str, BoolArray], wells: int) -> None:
    if wells < 1:
        raise UserError("a batch needs at least one perturbation", where="compose", got=wells)
    for name, mask in masks.items():
        if mask.shape != (len(pool),):
            raise UserError(
                f"{name} does not fit the pool", where="compose", got=mask.shape, expected=f"({len(pool)},)"
            )


def _record(
    perturbation: str, action: str, arm: str, slot: str, rank: int, score: float, mode: int, reason: str
) -> dict[str, Any]:
    return dict(zip(BATCH_COLUMNS, (perturbation, action, arm, slot, rank, score, mode, reason), strict=True))


def _or_nobody(mask: BoolArray | None, pool: PoolView) -> BoolArray:
    return np.zeros(len(pool), dtype=bool) if mask is None else mask


def _table(records: list[dict[str, Any]], nothing_left: bool = False) -> pd.DataFrame:
    if nothing_left:
        for record in records:
            record["reason"] += "; nothing is left to measure after this batch"
    return pd.DataFrame(records, columns=list(BATCH_COLUMNS)).astype(DTYPES)
