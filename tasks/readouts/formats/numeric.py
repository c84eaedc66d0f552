"""Numbers as instruments write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MISSING = frozenset({"", "na", "n/a", "nan"})

_NUMBER = {
    mark: re.compile(rf"[+-]?([0-9]+({re.escape(mark)}[0-9]*)?|{re.escape(mark)}[0-9]+)([eE][+-]?[0-9]+)?")
    for mark in ".,"
}
_PLAIN = re.compile(r"[0-9.eE+\-\n]+")
_COMMA_TO_POINT = str.maketrans(",.", ".,")
_OTHER_MARK = {".": ",", ",": "."}


def to_floats(cells: Sequence[str], decimal: str) -> tuple[npt.NDArray[np.float64], list[int]]:
    """Numbers of text cells.

    Empty, NA, N/A and NaN (in any case) are missing. Nothing is guessed: digit groups, hexadecimal numbers,
    underscores, words such as OVER, infinities and the other decimal mark are no numbers.

    Args:
        cells: Text of each cell.
        decimal: Decimal mark, `.` or `,`.

    Returns:
        The numbers, NaN where missing or no number, and the positions of cells that are no finite number.
    """
    quick = _quick(cells, decimal)
    if quick is None:
        missing = [cell.strip().lower() in MISSING for cell in cells]
        quick = _quick(["0" if gone else cell for cell, gone in zip(cells, missing, strict=True)], decimal)
        if quick is not None:
            quick[missing] = np.nan
    return (quick, []) if quick is not None else _one_by_one(cells, decimal)


def _quick(cells: Sequence[str], decimal: str) -> npt.NDArray[np.float64] | None:
    """All cells at once; None unless every one of them is a plain, finite number."""
    text = "\n".join(cells)
    if decimal == ",":
        text = text.translate(_COMMA_TO_POINT)
    if not _PLAIN.fullmatch(text):
        return None
    try:
        values = np.array(list(map(float, text.split("\n"))), dtype=np.float64)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _one_by_one(cells: Sequence[str], decimal: str) -> tuple[npt.NDArray[np.float64], list[int]]:
    fits = _NUMBER[decimal].fullmatch
    values = np.empty(len(cells), dtype=np.float64)
    bad: list[int] = []
    for at, cell in enumerate(cells):
        text = cell.strip()
        if fits(text):
            values[at] = float(text.replace(",", "."))
        else:
            values[at] = np.nan if text.lower() in MISSING else np.inf
        if values[at] in (np.inf, -np.inf):
            bad.append(at)
            values[at] = np.nan
    return values, bad


def not_a_number(text: str, decimal: str) -> str:
    """Reason for which a cell is refused, with the way out where one can be seen."""
    reason = (
        f"not a finite number; got {text[:40]!r}, expected a number with the decimal mark {decimal!r}, or an empty cell"
    )
    if _NUMBER[_OTHER_MARK[decimal]].fullmatch(text.strip()):
        return f"{reason}; is readout.decimal {_OTHER_MARK[decimal]!r}?"
    return reason
