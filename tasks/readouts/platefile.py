"""Reading of long-form plate files: one line per well."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd

from tasks.campaigns.config import ReadoutColumns
from tasks.readouts.rejections import RejectedInput, Rejection

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_ATTEMPT = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True, eq=False)
class PlateReadout:
    """One plate attempt as it stands in a file; not yet compared with a plate map.

    Attributes:
        barcode: Barcode of the plate.
        attempt: Attempt, counted from 1.
        run: Plates processed together in the lab.
        source: Name of the file.
        values: Columns well (as written), value (as written) and line (of the file, the header is line 1).
        run_written: Whether the file says which run it is; False when the run is the file's stem.
    """

    barcode: str
    attempt: int
    run: str
    source: str
    values: pd.DataFrame
    run_written: bool = True

    def same_content(self, other: PlateReadout) -> bool:
        """Whether the other readout says the same of the same plate attempt, in whatever order of lines.

        A run that is only the file's name is no content: a copy under another name is the same.
        """
        if self._written() != other._written():
            return False
        mine, theirs = (
            sorted(zip(table["well"], table["value"], strict=True)) for table in (self.values, other.values)
        )
        return mine == theirs

    def _written(self) -> tuple[str, int, str | None]:
        return self.barcode, self.attempt, self.run if self.run_written else None


@dataclass(frozen=True)
class _Line:
    number: int
    barcode: str
    attempt: int
    run: str
    well: str
    value: str


def read_plate_file(data: bytes, name: str, columns: ReadoutColumns) -> list[PlateReadout]:
    """Read a long-form CSV or TSV file with one or more plates.

    The delimiter is the one of comma, semicolon and tab with which the header names the configured columns. Text is
    UTF-8 with or without a byte order mark. Without a run column the file is one run, named by its stem; without an
    attempt column every plate is at its first attempt.

    Args:
        data: Content of the file.
        name: Name of the file, for messages and for the run.
        columns: Names of the columns.

    Returns:
        One readout per plate attempt, by barcode and attempt.

    Raises:
        RejectedInput: The file as a whole cannot be read: not UTF-8, a column is missing or double, no data, a line
            with another number of cells than the header, or a line that does not say which plate it belongs to.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refuse(
            name, [Rejection(name, "", None, f"not UTF-8 at byte {error.start}, expected UTF-8 text")]
        ) from None
    rows = _split(text, name, columns)
    lines, problems = _interpret(rows, name, columns)
    if not lines and not problems:
        problems = [Rejection(name, "", None, "no data line, expected one line per well below the header")]
    problems += _runs_disagree(lines, name)
    if problems:
        raise _refuse(name, problems)
    return _by_plate(lines, name, run_written=columns.run in rows[0][1])


def _refuse(name: str, problems: list[Rejection]) -> RejectedInput:
    return RejectedInput(f"file {name} refused", problems)


def _split(text: str, name: str, columns: ReadoutColumns) -> list[tuple[int, list[str]]]:
    """Lines of the file that are not blank, split into cells; the first is the header."""
    wanted = [columns.plate, columns.well, columns.value]
    headers = {mark: _header(text, name, mark) for mark in _DELIMITERS}
    delimiter = max(
        _DELIMITERS, key=lambda mark: (sum(column in headers[mark] for column in wanted), len(headers[mark]))
    )
    rows = list(_filled(text, name, delimiter))
    number, header = rows[0] if rows else (1, [])
    missing = [column for column in wanted if column not in header]
    if missing:
        found = ", ".join(repr(cell) for cell in header) or "an empty file"
        reason = f"no column {', '.join(map(repr, missing))}; found {found} ({_DELIMITERS[delimiter]}-separated)"
        if len(header) == 1 and all(column in header[0] for column in wanted):
            reason += "; is the whole line quoted?"
        raise _refuse(name, [Rejection(name, "", number, reason)])
    return rows


def _header(text: str, name: str, delimiter: str) -> list[str]:
    """Cells of the first line that is not blank; none when this delimiter cannot split it."""
    try:
        return next(_filled(text, name, delimiter), (1, []))[1]
    except RejectedInput:
        return []


def _filled(text: str, name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Lines with a filled cell, and their numbers."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise _refuse(name, [Rejection(name, "", reader.line_num, f"cannot be split into cells: {error}")]) from None


def _interpret(
    rows: list[tuple[int, list[str]]], name: str, columns: ReadoutColumns
) -> tuple[list[_Line], list[Rejection]]:
    (header_number, header), *body = rows
    names = (columns.plate, columns.well, columns.value, columns.run, columns.attempt)
    double = [column for column in names if header.count(column) > 1]
    if double:
        raise _refuse(name, [Rejection(name, "", header_number, f"column {double[0]!r} stands there more than once")])
    position = {column: header.index(column) for column in names if column in header}
    lines: list[_Line] = []
    problems: list[Rejection] = []
    for number, cells in body:
        if len(cells) != len(header):
            problems.append(Rejection(name, "", number, f"{len(cells)} cells, expected {len(header)} as in the header"))
            continue
        cell = {column: cells[place] for column, place in position.items()}
        barcode, attempt = cell[columns.plate], cell.get(columns.attempt, "1")
        run = cell.get(columns.run, PurePosixPath(name).stem)
        if not barcode or not run:
            empty = columns.plate if not barcode else columns.run
            problems.append(Rejection(name, barcode, number, f"empty cell in column {empty!r}, expected a name"))
        elif not _ATTEMPT.fullmatch(attempt):
            problems.append(Rejection(name, barcode, number, f"attempt is {attempt!r}, expected a whole number from 1"))
        else:
            lines.append(_Line(number, barcode, int(attempt), run, cell[columns.well], cell[columns.value]))
    return lines, problems


def _runs_disagree(lines: list[_Line], name: str) -> list[Rejection]:
    """A plate attempt was processed once, so all its lines must name one run."""
    first: dict[tuple[str, int], _Line] = {}
    problems = []
    for line in lines:
        known = first.setdefault((line.barcode, line.attempt), line)
        if line.run != known.run:
            reason = f"run {line.run!r}, expected {known.run!r} as on line {known.number} of the same plate attempt"
            problems.append(Rejection(name, line.barcode, line.number, reason))
    return problems


def _by_plate(lines: list[_Line], name: str, *, run_written: bool) -> list[PlateReadout]:
    plates: dict[tuple[str, int], list[_Line]] = {}
    for line in lines:
        plates.setdefault((line.barcode, line.attempt), []).append(line)
    readouts = []
    for (barcode, attempt), members in sorted(plates.items()):
        values = pd.DataFrame(
            [(line.well, line.value, line.number) for line in members], columns=["well", "value", "line"]
        )
        readouts.append(PlateReadout(barcode, attempt, members[0].run, name, values, run_written))
    return readouts
