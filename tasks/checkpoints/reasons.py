"""Why a checkpoint had to be computed, in words, by comparing a node with its last recorded self."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.checkpoints.records import NodeRecord

_MOST_NAMED = 3


def why_computed(now: NodeRecord, before: NodeRecord | None, problem: str | None) -> str:
    """The reason of a computation, as `input wells/P3.2 is new` or `stage version 4 → 5`.

    Args:
        now: The node as it is to be computed.
        before: The same node in the last recorded run, None if it was not in it.
        problem: What was wrong with a checkpoint of this very key, None if there was none.
    """
    if problem:
        return problem
    if before is None or before.key == now.key:
        return "no checkpoint"
    reasons = []
    if before.version != now.version:
        reasons.append(f"stage version {before.version} → {now.version}")
    if before.seed != now.seed:
        reasons.append("another seed")
    reasons += _parameter_changes(before.params, now.params)
    reasons += _input_changes(before.inputs, now.inputs)
    named = reasons[:_MOST_NAMED]
    if len(reasons) > _MOST_NAMED:
        named.append(f"{len(reasons) - _MOST_NAMED} more")
    return "; ".join(named) or "no checkpoint"


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of nested mappings by dotted name.

    Args:
        params: Nested mappings.
        prefix: Before every name.
    """
    found: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _parameter_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    old, new = flat(before), flat(now)
    return [
        f"{name} {_short(old.get(name))} → {_short(new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _input_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    new = [f"input {name} is new" for name in sorted(now.keys() - before.keys())]
    changed = [f"input {name} changed" for name in sorted(now.keys() & before.keys()) if now[name] != before[name]]
    gone = [f"input {name} is gone" for name in sorted(before.keys() - now.keys())]
    return new + changed + gone


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
