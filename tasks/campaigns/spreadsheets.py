"""Text that a spreadsheet would run as a formula, made harmless in every CSV file, and what it was again."""

from __future__ import annotations

import re

import pandas as pd

# Full-width signs too: some spreadsheets take them for the narrow ones.
FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")


def escape_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before every text cell that a spreadsheet would run as a formula; twice is as once."""
    escaped = table.copy()
    for place, kind in enumerate(table.dtypes):
        if not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_datetime64_any_dtype(kind)):
            escaped.isetitem(place, table.iloc[:, place].astype(object).map(_escape).to_numpy(dtype=object))
    return escaped


def unescape_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table before `escape_formulas`; ids do not begin with an apostrophe and such a sign themselves."""
    plain = table.copy()
    for place, kind in enumerate(table.dtypes):
        if kind.kind == "O":
            plain.isetitem(place, table.iloc[:, place].map(unescape).to_numpy(dtype=object))
    return plain


def unescape(cell: object) -> object:
    """A cell before `escape_formulas`."""
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and FORMULA.match(cell, 1) else cell


def escaped_names(names: pd.Index) -> list[object]:
    """Names of columns, safe in a spreadsheet."""
    return [_escape(name) for name in names]


def _escape(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell
