"""What changed between two published screens, and why: values, certificate, plates, and the steps behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from tasks.checkpoints.reasons import flat, why_computed
from tasks.checkpoints.records import NodeRecord, RoundLock
from tasks.errors import UserError


@dataclass(frozen=True)
class Side:
    """One of the two screens.

    Attributes:
        number: Its number.
        round_index: Round that it shows.
        run: Run of that round.
        screen: The screen as published.
        lock: Lock of its run.
        plates: Plates as that run saw them: barcode, attempt, state, reason.
    """

    number: int
    round_index: int
    run: int
    screen: ad.AnnData
    lock: RoundLock
    plates: pd.DataFrame


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ValueChange(_Frozen):
    """Another value of one perturbation.

    `standard_errors` is the difference over √(the two squared standard errors added up), None where both are 0.
    """

    perturbation: str
    before: float
    after: float
    standard_errors: float | None
    why: str


class Change(_Frozen):
    """Something that has another value now; None where it was or is not there."""

    name: str
    before: str | float | bool | None
    after: str | float | bool | None


class NodeChange(_Frozen):
    """A step that is new, gone or computed from something else. `root`: no other changed step led to it."""

    node: str
    reason: str
    root: bool


class ScreenDiff(_Frozen):
    """What changed from one published screen to another. Lists of perturbations are in library order.

    Attributes:
        before: Number, round and run of the one screen.
        after: The same of the other.
        newly_measured: Predicted before, measured now.
        no_longer_measured: Measured before, predicted now.
        measured_again: Measured in both, but from other wells or plates.
        beyond_errors: Values that changed by more than their standard errors allow, the largest first.
        beyond_tolerance: Values that changed by more than the tolerance of the readout, the largest first.
        crossed: Values of another sign; of a classification, of another class.
        flags: Flags that changed.
        certificate: What the certificate says otherwise.
        plates: Attempts of plates whose state differs, as BARCODE.ATTEMPT.
        nodes: Steps of the lock that differ, roots first.
        versions: Packages of another version.
    """

    before: dict[str, int]
    after: dict[str, int]
    newly_measured: list[str]
    no_longer_measured: list[str]
    measured_again: list[str]
    beyond_errors: list[ValueChange]
    beyond_tolerance: list[ValueChange]
    crossed: list[ValueChange]
    flags: list[Change]
    certificate: list[Change]
    plates: list[Change]
    nodes: list[NodeChange]
    versions: list[Change]


def compare_screens(before: Side, after: Side) -> ScreenDiff:
    """Compare two published screens of one campaign.

    Args:
        before: The one.
        after: The other; neither need be the older one.

    Raises:
        UserError: They are not of the same library.
    """
    old, new = before.screen.obs, after.screen.obs
    if not old.index.equals(new.index):
        raise UserError("the screens are not of one library", where=f"screens {before.number} and {after.number}")
    was, now = ((obs["source"] == "measured").to_numpy() for obs in (old, new))
    other = (old["n"].to_numpy() != new["n"].to_numpy()) | (old["plates"].to_numpy() != new["plates"].to_numpy())
    ids = old.index.astype(str)
    return ScreenDiff(
        before={"screen": before.number, "round": before.round_index, "run": before.run},
        after={"screen": after.number, "round": after.round_index, "run": after.run},
        newly_measured=ids[~was & now].tolist(),
        no_longer_measured=ids[was & ~now].tolist(),
        measured_again=ids[was & now & other].tolist(),
        **_values(before, after, was, now, other),
        flags=_flags(old, new),
        certificate=_entries(before.screen.uns["certificate"], after.screen.uns["certificate"]),
        plates=_entries(_states(before.plates), _states(after.plates)),
        nodes=compare_locks(before.lock, after.lock),
        versions=_entries(before.lock.versions, after.lock.versions),
    )


def compare_locks(before: RoundLock, after: RoundLock) -> list[NodeChange]:
    """Steps that differ between two locks, with the reason; those that no other one explains come first.

    Args:
        before: The one lock.
        after: The other.
    """
    old, new = before.nodes, after.nodes
    differ = [name for name in sorted(new) if name not in old or old[name].key != new[name].key]
    known = {ref.sha256 for node in old.values() for ref in node.outputs.values()}
    made = {ref.sha256 for name in differ for ref in new[name].outputs.values()} - known
    changes = [
        NodeChange(node=name, reason=_why(old.get(name), new[name]), root=_root(new[name], made)) for name in differ
    ]
    changes += [NodeChange(node=name, reason="is gone", root=False) for name in sorted(old.keys() - new.keys())]
    same = [name for name in sorted(old.keys() & new.keys()) if old[name].key == new[name].key]
    changes += [
        NodeChange(node=name, reason="the same inputs gave another output", root=True)
        for name in same
        if {o: r.sha256 for o, r in old[name].outputs.items()} != {o: r.sha256 for o, r in new[name].outputs.items()}
    ]
    return sorted(changes, key=lambda change: not change.root)


def _why(before: NodeRecord | None, now: NodeRecord) -> str:
    return "is new" if before is None else why_computed(now, before, None)


def _root(node: NodeRecord, made: set[str]) -> bool:
    """Whether a node made something new, and none of its inputs came from another node that did."""
    return bool(made & {ref.sha256 for ref in node.outputs.values()}) and not made & set(node.inputs.values())


def _values(
    before: Side, after: Side, was: NDArray[np.bool_], now: NDArray[np.bool_], other: NDArray[np.bool_]
) -> dict[str, list[ValueChange]]:
    """Values that changed beyond their errors or the tolerance, and those of another sign or class."""
    old, new = before.screen.obs, after.screen.obs
    a, b = (obs["value"].to_numpy(np.float64) for obs in (old, new))
    error = np.hypot(*(obs["standard_error"].to_numpy(np.float64) for obs in (old, new)))
    step = np.abs(b - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(step > 0, step / error, 0.0)
    readout = after.screen.var.iloc[0]
    binary, tolerance = readout["kind"] == "binary", float(readout.get("tolerance", np.nan))
    side = (a > 0.5) != (b > 0.5) if binary else np.sign(a) != np.sign(b)

    def listed(rows: NDArray[np.intp]) -> list[ValueChange]:
        return [
            ValueChange(
                perturbation=str(old.index[int(row)]),
                before=a[row],
                after=b[row],
                standard_errors=float(score[row]) if np.isfinite(score[row]) else None,
                why=_because(was[row], now[row], other[row], int(new["round"].iloc[row])),
            )
            for row in rows
        ]

    far = np.flatnonzero(score > 1)
    wide = np.flatnonzero(step > tolerance) if np.isfinite(tolerance) and not binary else far[:0]
    return {
        "beyond_errors": listed(far[np.argsort(-score[far], kind="stable")]),
        "beyond_tolerance": listed(wide[np.argsort(-step[wide], kind="stable")]),
        "crossed": listed(np.flatnonzero(side)),
    }


def _because(was: bool, now: bool, other: bool, round_index: int) -> str:
    if now and not was:
        return f"measured in round {round_index}"
    if was and not now:
        return "its measurement is not used any more"
    if not now:
        return "predicted by another model"
    return "measured from other wells" if other else "the same wells, aligned otherwise"


def _flags(old: pd.DataFrame, new: pd.DataFrame) -> list[Change]:
    """Rows whose flags changed; a screen of an older schema has none."""
    a, b = (obs["flags"] if "flags" in obs else pd.Series("", index=obs.index) for obs in (old, new))
    rows = np.flatnonzero(a.to_numpy(object) != b.to_numpy(object))
    return [Change(name=str(old.index[int(row)]), before=str(a.iloc[row]), after=str(b.iloc[row])) for row in rows]


def _states(plates: pd.DataFrame) -> dict[str, str]:
    """State and reason of every attempt, by BARCODE.ATTEMPT."""
    keys = plates["barcode"].astype(str) + "." + plates["attempt"].astype(str)
    return dict(zip(keys, plates["state"].astype(str) + ": " + plates["reason"].astype(str), strict=True))


def _entries(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Entries of nested mappings that differ, by dotted name."""
    old, new = (
        {name: value.item() if isinstance(value, np.generic) else value for name, value in flat(mapping).items()}
        for mapping in (before, after)
    )
    return [
        Change(name=name, before=old.get(name), after=new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
