"""Columns of binary tables as text and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tasks.campaigns.config import ReadoutSection
from tasks.readouts.formats.lines import Lines, meanings, refuse
from tasks.readouts.formats.numeric import not_a_number, to_floats

#: A table of so many cells may be in any file, and so many more for each of its bytes: readouts are noise, which takes
#: bytes. What claims to hold more is refused before it is read.
CELLS, CELLS_PER_BYTE = 1_000_000, 8


def to_lines(
    texts: Mapping[str, pd.Series], numbers: Mapping[str, pd.Series], source: str, section: ReadoutSection
) -> Lines:
    """Lines from the columns of a table.

    Args:
        texts: Columns by their meaning (well, plate, run, attempt, perturbation, role).
        numbers: Columns with numbers or text by name.
        source: Name of the file.
        section: Names and decimal mark.

    Raises:
        RejectedInput: A column holds something that is neither text nor numbers.
    """
    rows = len(texts["well"])
    values = np.empty((rows, len(numbers)))
    refused: dict[tuple[int, int], str] = {}
    for place, (name, column) in enumerate(numbers.items()):
        if _is_numeric(column):
            values[:, place] = column.to_numpy(dtype=np.float64, na_value=np.nan)
            infinite = np.flatnonzero(np.isinf(values[:, place])).tolist()
            refused |= {(at, place): not_a_number(str(values[at, place]), section.decimal) for at in infinite}
            values[infinite, place] = np.nan
        elif pd.api.types.is_string_dtype(column.dropna()):
            cells = as_text(column, source)
            values[:, place], bad = to_floats(cells, section.decimal)
            refused |= {(at, place): not_a_number(cells[at], section.decimal) for at in bad}
        else:
            raise refuse(source, f"column {name!r} holds {column.dtype}, expected numbers")
    names = list(numbers) if section.features is not None else ["value"]
    plain = {name: as_text(column, source) for name, column in texts.items()}
    return Lines(source, np.arange(1, rows + 1, dtype=np.int64), plain, values, names, refused)


def text_columns(names: Sequence[str], section: ReadoutSection) -> dict[str, str]:
    """Columns of the table that are configured for something else than numbers, by their meaning."""
    return {name: str(column) for name, column in meanings(section.columns).items() if column in names}


def as_text(column: pd.Series, source: str) -> list[str]:
    """A column of names or whole numbers as text, empty where missing.

    Raises:
        RejectedInput: It holds neither; a barcode or an attempt as 1.0 would not be what the lab wrote.
    """
    kind = column.dtype.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    filled = column.astype(object)[column.notna()]
    if not (pd.api.types.is_integer_dtype(kind) or filled.map(lambda item: isinstance(item, str | int)).all()):
        raise refuse(source, f"column {column.name!r} holds {column.dtype}, expected text or whole numbers")
    text = column.astype(object).where(column.notna(), "")
    return [str(item).strip() for item in text]


def _is_numeric(column: pd.Series) -> bool:
    kind = column.dtype
    return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) and kind.kind in "iuf"
