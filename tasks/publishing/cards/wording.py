"""Numbers and names as people read them."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

NOTHING = "–"


def as_float(value: Any) -> float | None:
    """The number, or None when it is absent or not finite."""
    if value is None or value != value:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def as_text(value: Any) -> str:
    """The text, empty when it is absent."""
    return "" if value is None or value != value else str(value)


def percent(share: float | None, digits: int = 1) -> str:
    """0.8512 → 85.1%; a dash when there is no number."""
    return NOTHING if share is None else f"{100 * share:.{digits}f}%"


def percent_floor(share: float | None, digits: int = 1) -> str:
    """As `percent`, rounded down: a guaranteed bound must never read higher than it is."""
    if share is None:
        return NOTHING
    step = 10**digits
    return percent(math.floor(100 * share * step + 1e-9) / step / 100, digits)


def plain_percent(share: float | None) -> str:
    """A share that a person set: 0.9 → 90%, 0.925 → 92.5%."""
    return NOTHING if share is None else f"{100 * share:.4g}%"


def count(number: float | None) -> str:
    """1282 → 1,282."""
    return NOTHING if number is None else f"{round(number):,}"


def quantity(value: float | None, unit: str = "", zeros: bool = False) -> str:
    """Three significant digits and the unit; `zeros` keeps trailing zeros, for columns of numbers."""
    if value is None:
        return NOTHING
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".") if zeros else f"{value:.3g}"
    return f"{text} {unit}".strip().replace("-", "−", 1) if value < 0 else f"{text} {unit}".strip()


def span(values: Sequence[float]) -> str:
    """Smallest to largest, the number alone where they are equal."""
    low, high = quantity(min(values)), quantity(max(values))
    return low if low == high else f"{low} to {high}"


def things(number: int, one: str, many: str = "") -> str:
    """1 plate, 2 plates."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def shorten(text: str, length: int = 60) -> str:
    """Keep the beginning and the end of a text that is too long to show."""
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[head + 1 - length :]}"


def for_plotly(text: Any, length: int = 60) -> str:
    """A text for a plotly label, which reads a subset of HTML: shortened and escaped."""
    return html.escape(shorten(str(text), length), quote=False)


def axis_unit(unit: str, kind: str) -> str:
    """The unit in brackets for an axis or a hover label of plotly; classes and probabilities have none."""
    return f" [{for_plotly(unit)}]" if unit and kind == "continuous" else ""


def sentence(text: str) -> str:
    """The text with a capital first letter and a full stop."""
    stripped = text.strip()
    if not stripped:
        return ""
    return stripped[0].upper() + stripped[1:] + ("" if stripped[-1] in ".!?" else ".")


def listed(names: list[str], most: int = 4) -> str:
    """A, B and C; a long list ends in `and 7 more`."""
    shown = names[:most] if len(names) > most + 1 else names
    rest = len(names) - len(shown)
    if rest:
        return f"{', '.join(shown)} and {rest} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
