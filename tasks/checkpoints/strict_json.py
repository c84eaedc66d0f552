"""JSON as this project writes it, and nothing else: no key twice, no NaN, no nesting without end."""

from __future__ import annotations

import json
from typing import Any


def parse_json(data: bytes | str) -> Any:
    """Value of a JSON text.

    Raises:
        ValueError: It is not UTF-8 or not JSON, names a key twice, holds NaN or infinity, or is nested too deeply.
    """
    try:
        text = data.decode() if isinstance(data, bytes) else data  # json itself would take UTF-16 too
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {double!r} stands twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
