"""Parquet: a table with one row per well, with the column names of long text."""

from __future__ import annotations

from tasks.campaigns.config import ReadoutSection
from tasks.campaigns.parquet_files import read_parquet
from tasks.readouts.formats.lines import chosen_columns, missing_columns, refuse, to_plates
from tasks.readouts.formats.plate import PlateReadout
from tasks.readouts.formats.tables import CELLS, CELLS_PER_BYTE, text_columns, to_lines

_MAGIC = b"PAR1"


def recognises(data: bytes, source: str, section: ReadoutSection) -> bool:
    """Whether the file begins as Parquet, or is called so."""
    return data.startswith(_MAGIC) or source.lower().endswith((".parquet", ".pq"))


def read(data: bytes, source: str, section: ReadoutSection, fmt: int) -> list[PlateReadout]:
    """Read a Parquet file with one or more plates. Values may be numbers or text.

    Raises:
        RejectedInput: Not Parquet, cut off or damaged, larger than sane, a column is missing, or a row does not say
            which plate it belongs to.
    """
    if len(data) < 12 or not data.startswith(_MAGIC) or not data.endswith(_MAGIC):
        raise refuse(source, "not a whole Parquet file: is the upload cut off?")
    if section.columns.positional:
        raise refuse(source, "columns are configured by position (readout.columns), expected names for Parquet")
    columns: tuple[dict[str, str], list[str]] = {}, []

    def choose(names: list[str]) -> list[str]:
        nonlocal columns
        columns = _columns(names, source, section)
        return [*columns[0].values(), *columns[1]]

    try:
        table = read_parquet(data, choose, CELLS, CELLS_PER_BYTE)
    except ValueError as error:
        raise refuse(source, f"damaged Parquet file: {' '.join(str(error).split())[:200]}") from None
    texts, numbers = columns
    lines = to_lines(
        {name: table[column] for name, column in texts.items()},
        {name: table[name] for name in numbers},
        source,
        section,
    )
    return to_plates(lines, section, fmt)


def _columns(names: list[str], source: str, section: ReadoutSection) -> tuple[dict[str, str], list[str]]:
    missing = missing_columns(names, section)
    if missing:
        found = ", ".join(map(repr, names[:20])) + (", …" if len(names) > 20 else "")
        raise refuse(source, f"no column {', '.join(map(repr, missing))}; found {found}")
    texts = text_columns(names, section)
    numbers = chosen_columns([name for name in names if name not in texts.values()], section, source)
    double = next((name for name in [*texts.values(), *numbers] if names.count(name) > 1), None)
    if double is not None:
        raise refuse(source, f"column {double!r} is there more than once")
    return texts, numbers
