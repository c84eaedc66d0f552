"""A round's batch: strategic slots, releases of hidden audit members, and the random arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.batches import STRATEGIES
from tasks.batches.pool import BoolArray, ExhaustedStrategy, IntArray, Picks, PoolView, Strategy, largest_remainder
from tasks.campaigns.config import Slot
from tasks.errors import UserError

BATCH_COLUMNS = ("perturbation", "action", "arm", "slot", "rank", "score", "mode", "reason")
DTYPES = {"rank": "int64", "score": "float64", "mode": "int64"}


def initial_batch(n_library: int, ids: Sequence[str], audit: int, wells: int, seed: int) -> pd.DataFrame:
    """Round 0: the audit set and the first training set, both drawn uniformly.

    Args:
        n_library: Perturbations in the library (N).
        ids: Their N ids.
        audit: Perturbations of the audit set, drawn first.
        wells: Perturbations that round 0 measures, the audit set included.
        seed: Seed of the draw.

    Returns:
        Batch table (columns BATCH_COLUMNS); arm `audit`, then arm `initial`, all with action `measure`. If the library
        is smaller than `wells`, all of it.

    Raises:
        UserError: If the audit set leaves no perturbation to train on.
    """
    if len(ids) != n_library:
        raise UserError("ids and library differ in length", got=len(ids), expected=str(n_library))
    size = min(wells, n_library)
    if not 0 <= audit < size:
        raise UserError(
            "the audit set leaves nothing to train on in round 0",
            where="batch.audit, plates.initial",
            got=f"an audit set of {audit}, room for {size}",
            expected=f"an audit set of fewer than {size} perturbations",
            todo="Raise plates.initial or lower batch.audit.",
        )
    order = np.random.default_rng(seed).permutation(n_library)[:size]
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
) -> pd.DataFrame:
    """Choose the next batch.

    Strategies do not know who is a hidden audit member. One that a strategy picks is released (it costs no well) and
    the slot goes on until its wells are filled or the pool is used up. The random arm is then drawn uniformly from
    what nobody picked and nobody hides, and joins the hidden audit set. So membership is only ever revealed pick by
    pick, and the members still hidden stay a uniform random subset of everything not chosen.

    Args:
        pool: Everything that may be chosen (P perturbations). It must hold **every** hidden audit member, also one
            whose plate failed: leaving those out would tell the strategy who they are.
        hidden_audit: (P,) who is a hidden audit member.
        slots: Strategies and their shares of the strategic wells.
        wells: Perturbations to measure, at least 1.
        random_arm: Share of `wells` for the random arm, rounded, at least one perturbation if positive.
        seed: Seed of strategies, random arm and ties. It must not depend on the audit.
        ids: Ids of the library; `pool.index` points into them.
        returned: (P,) whose plates were all abandoned: to measure again. Chosen before, they are back in the pool for
            the strategies alone: they are no part of what the audit stands for. Hidden, they are measured when a
            strategy picks them, because there is no measurement to release.

    Returns:
        Batch table (columns BATCH_COLUMNS): slots in their order, then the random arm. `rank` counts the picks of a
        slot, releases included; `score` is 0 for draws. Fewer than `wells` to measure only if nothing is left; the
        reasons then say so.

    Raises:
        ExhaustedStrategy: If a strategy cannot supply its slot although the pool could.
        UserError: On an unknown strategy, one strategy in two slots, or wells < 1.
    """
    strategies = _strategies(slots)
    returned = np.zeros(len(pool), dtype=bool) if returned is None else returned
    _check(pool, hidden_audit, returned, wells)
    measured = hidden_audit & ~returned
    arm_wells = min(wells, max(1, round(random_arm * wells))) if random_arm > 0 else 0
    arm_seed, *slot_seeds = np.random.SeedSequence(seed).spawn(len(slots) + 1)
    rng = np.random.default_rng(arm_seed)
    places = largest_remainder([slot.share for slot in slots], wells - arm_wells, rng)
    taken = np.zeros(len(pool), dtype=bool)
    records: list[dict[str, Any]] = []
    for slot, strategy, count, slot_seed in zip(slots, strategies, places.tolist(), slot_seeds, strict=True):
        stream = np.random.default_rng(slot_seed)
        records += _fill_slot(pool, measured, taken, slot.strategy, strategy, count, stream, ids)
    records += _random_arm(pool, ~(taken | hidden_audit | returned), taken, arm_wells, rng, ids)
    if not (~taken & ~hidden_audit).any():
        for record in records:
            record["reason"] += "; nothing is left to measure after this batch"
    return _table(records)


def _fill_slot(
    pool: PoolView,
    measured: BoolArray,
    taken: BoolArray,
    name: str,
    strategy: Strategy,
    wells: int,
    rng: np.random.Generator,
    ids: Sequence[str],
) -> list[dict[str, Any]]:
    """Records of one slot; marks its picks in `taken`. A hidden member that was measured is released, at no well."""
    records: list[dict[str, Any]] = []
    while wells > 0 and not taken.all():
        open_rows = np.flatnonzero(~taken)
        # How much is asked for depends on what was revealed so far, never on who else is hidden.
        picks = _ask(strategy, name, pool.without(taken), min(wells, len(open_rows)), rng)
        rows = open_rows[picks.rows]
        for row, score, mode, reason in zip(rows, picks.score, picks.mode, picks.reason, strict=True):
            action = "release" if measured[row] else "measure"
            said = f"{reason}; already measured for the audit" if measured[row] else reason
            identity = ids[pool.index[row]]
            records.append(_record(identity, action, "strategy", name, len(records), float(score), int(mode), said))
        taken[rows] = True
        wells -= int((~measured[rows]).sum())
    return records


def _ask(strategy: Strategy, name: str, pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    picks = strategy(pool, n, rng)
    if len(picks.rows) != n:
        raise ExhaustedStrategy(
            "the strategy did not supply what its slot asks for",
            where=f"strategy {name}, pick {len(picks.rows) + 1}",
            got=len(picks.rows),
            expected=f"{n} perturbations",
        )
    return picks


def _random_arm(
    pool: PoolView, open_: BoolArray, taken: BoolArray, wells: int, rng: np.random.Generator, ids: Sequence[str]
) -> list[dict[str, Any]]:
    """Records of the random arm, drawn uniformly from `open_` (P,); marks them in `taken`."""
    candidates: IntArray = np.flatnonzero(open_)
    rows = rng.choice(candidates, size=min(wells, len(candidates)), replace=False) if len(candidates) else candidates
    taken[rows] = True
    why = "drawn uniformly from what nobody chose; joins the audit"
    return [
        _record(ids[pool.index[row]], "measure", "random", "random", rank, 0.0, -1, why)
        for rank, row in enumerate(rows.tolist())
    ]


def _strategies(slots: Sequence[Slot]) -> list[Strategy]:
    names = [slot.strategy for slot in slots]
    for name in names:
        if name not in STRATEGIES:
            known = ", ".join(sorted(STRATEGIES))
            raise UserError("unknown strategy", where="batch.slots", got=name, expected=f"one of {known}")
        if names.count(name) > 1:
            raise UserError("one strategy in two slots", where="batch.slots", got=name, todo="Add their shares up.")
    return [STRATEGIES[name] for name in names]


def _check(pool: PoolView, hidden: BoolArray, returned: BoolArray, wells: int) -> None:
    if wells < 1:
        raise UserError("a batch needs at least one perturbation", where="compose", got=wells)
    for name, mask in (("hidden_audit", hidden), ("returned", returned)):
        if mask.shape != (len(pool),):
            raise UserError(
                f"{name} does not fit the pool", where="compose", got=mask.shape, expected=f"({len(pool)},)"
            )


def _record(
    perturbation: str, action: str, arm: str, slot: str, rank: int, score: float, mode: int, reason: str
) -> dict[str, Any]:
    return dict(zip(BATCH_COLUMNS, (perturbation, action, arm, slot, rank, score, mode, reason), strict=True))


def _table(records: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(records, columns=list(BATCH_COLUMNS)).astype(DTYPES)
