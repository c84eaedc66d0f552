"""CSV, TSV and semicolon-separated text with one line per well."""

from __future__ import annotations

import numpy as np

from tasks.campaigns.config import ReadoutSection
from tasks.readouts.formats.lines import Lines, chosen_columns, meanings, missing_columns, refuse, to_plates
from tasks.readouts.formats.numeric import not_a_number, to_floats
from tasks.readouts.formats.plate import PlateReadout
from tasks.readouts.formats.text import DELIMITERS, Row, best_delimiter, decode, first_line, split
from tasks.readouts.rejections import RejectedInput, Rejection


def recognises(data: bytes, source: str, section: ReadoutSection) -> bool:
    """Whether columns are given by position, or the first line names the well or the value column."""
    if section.columns.positional:
        return True
    text = data[:1_000_000].decode("utf-8-sig", errors="replace")
    named = {section.columns.well, section.columns.value}
    return any(named & set(first_line(text, mark)) for mark in DELIMITERS)


def read(data: bytes, source: str, section: ReadoutSection, fmt: int) -> list[PlateReadout]:
    """Read a file with one line per well and one or more plates.

    The delimiter is the one of tab, semicolon and comma with which the header names most configured columns; in files
    without a header the one that gives most cells.

    Raises:
        RejectedInput: The file as a whole cannot be read: its encoding, a column is missing or double, no data, a line
            with another number of cells than the first, or a line that does not say which plate it belongs to.
    """
    text = decode(data, source, section)
    names = {str(column) for column in [*meanings(section.columns).values(), section.columns.value]}
    if section.columns.positional:
        delimiter = best_delimiter(text, lambda cells: (len(cells), 0))
        rows = split(text, source, delimiter)
        header = [str(place) for place in range(1, len(rows[0][1]) + 1)]
        body = rows
    else:
        delimiter = best_delimiter(text, lambda cells: (sum(cell in names for cell in cells), len(cells)))
        rows = split(text, source, delimiter)
        header, body = [cell.strip() for cell in rows[0][1]], rows[1:]
    _check_header(header, rows[0][0], delimiter, source, section)
    _check_lengths(body, len(header), source)
    return to_plates(_lines(body, header, rows[0][0], source, section), section, fmt)


def _check_header(header: list[str], number: int, delimiter: str, source: str, section: ReadoutSection) -> None:
    columns = section.columns
    if columns.positional:
        positions = [column for column in [*meanings(columns).values(), columns.value] if isinstance(column, int)]
        if max(positions) > len(header):
            found = f"{len(header)} {DELIMITERS[delimiter]}-separated cells"
            raise refuse(source, f"{found}, expected at least {max(positions)} (readout.columns)", number)
        return
    missing = missing_columns(header, section)
    if missing:
        found = ", ".join(map(repr, header[:20])) + (", …" if len(header) > 20 else "")
        reason = f"no column {', '.join(map(repr, missing))}; found {found} ({DELIMITERS[delimiter]}-separated)"
        if len(header) == 1 and all(column in header[0] for column in missing):
            reason += "; is the whole line quoted?"
        raise refuse(source, reason, number)
    names = [*meanings(columns).values(), *([columns.value] if section.features is None else [])]
    double = next((name for name in names if header.count(str(name)) > 1), None)
    if double is not None:
        raise refuse(source, f"column {double!r} stands there more than once", number)


def _check_lengths(body: list[Row], expected: int, source: str) -> None:
    wrong = [
        Rejection(source, "", number, f"{len(cells)} cells, expected {expected} as on the first line")
        for number, cells in body
        if len(cells) != expected
    ]
    if wrong:
        raise RejectedInput(f"file {source} refused", wrong)


def _lines(body: list[Row], header: list[str], header_line: int, source: str, section: ReadoutSection) -> Lines:
    """The cells of the configured columns; everything else in the file is left alone."""
    columns = list(zip(*(cells for _, cells in body), strict=True)) or [() for _ in header]
    known = {name: str(column) for name, column in meanings(section.columns).items() if str(column) in header}
    texts = {name: [cell.strip() for cell in columns[header.index(column)]] for name, column in known.items()}
    free = [name for name in header if name not in known.values()]
    chosen = chosen_columns(free, section, source, header_line)
    values = np.empty((len(body), len(chosen)))
    refused: dict[tuple[int, int], str] = {}
    for place, name in enumerate(chosen):
        cells = columns[header.index(name)]
        values[:, place], bad = to_floats(cells, section.decimal)
        refused |= {(at, place): not_a_number(cells[at], section.decimal) for at in bad}
    names = chosen if section.features is not None else ["value"]
    numbers = np.array([number for number, _ in body], dtype=np.int64)
    return Lines(source, numbers, texts, values, names, refused)
