"""Text tables of a layout, with the line that every row comes from."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.errors import UserError
from tasks.readouts.formats.text import CONTROL

#: Content of a file by its name. Raises FileNotFoundError or KeyError where there is none.
Source = Callable[[str], bytes]

_DELIMITERS = "\t,;"
_SHOWN = 5


def folder_source(folder: str | Path) -> Source:
    """Files below a folder; a name that leads out of it is refused.

    Raises:
        UserError: There is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError("no such folder", where=str(folder))

    def read(name: str) -> bytes:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise UserError("the name leads out of the folder", where=str(root), got=repr(name))
        try:
            return (root / path).read_bytes()
        except (IsADirectoryError, NotADirectoryError) as error:
            raise FileNotFoundError(name) from error
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL byte
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError("the file cannot be read", where=str(root), got=f"{name[:80]!r}: {reason}") from error

    return read


@dataclass(frozen=True)
class Line:
    """One row of a table: the file, its line (the first is 1), and the cells by column, without blanks around."""

    file: str
    number: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    @property
    def where(self) -> str:
        """The row in words, for messages."""
        return f"{self.file}, line {self.number}"


@dataclass(frozen=True)
class TextTable:
    """A table: its columns, its rows, and what had to be overlooked to read it."""

    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


def read_text(source: Source, name: str) -> str:
    """Text of a file, UTF-8 with or without a byte order mark.

    Raises:
        UserError: The file is missing, is not UTF-8, or holds a control character.
    """
    try:
        text = source(name).decode("utf-8-sig")
    except (FileNotFoundError, KeyError) as error:
        raise UserError("the layout's file is missing", where=name) from error
    except UnicodeDecodeError as error:
        raise UserError(
            "not UTF-8 text", where=name, got=f"byte {error.start}", todo="Save the file as UTF-8."
        ) from error
    control = CONTROL.search(text)
    if control is not None:
        line = text.count("\n", 0, control.start()) + 1
        where = f"{name}, line {line}"
        got, todo = f"U+{ord(control[0]):04X}", "Is the file damaged, or UTF-16? Save it as UTF-8."
        raise UserError("control character in the text", where=where, got=got, todo=todo)
    return text


def whole_number(text: str) -> int | None:
    """A whole number from 0 with at most nine digits; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def read_table(source: Source, name: str, needed: Sequence[str], skip: int = 0) -> TextTable:
    """Rows of a delimited text table with a header; the delimiter is the one with which the header names most columns.

    Blank lines are passed over. Empty cells beyond the header's columns (a stray tab) are dropped, with a note.

    Args:
        source: The layout's files.
        name: File to read.
        needed: Columns it must have.
        skip: Lines above the header that are no part of the table.

    Raises:
        UserError: The file is missing, a column is missing or double, or a row has another number of cells.
    """
    lines = read_text(source, name).splitlines(keepends=True)[skip:]
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(_DELIMITERS, key=lambda mark: (len(set(needed) & set(_cells(first, mark))), first.count(mark)))
    rows = _rows(lines, name, delimiter, skip)
    number, header = rows[0] if rows else (skip + 1, [])
    while header and not header[-1]:
        header.pop()
    where = f"{name}, line {number}"
    missing = [column for column in needed if column not in header]
    if missing:
        raise UserError(f"no column {', '.join(missing)}", where=where, got=", ".join(header) or "an empty file")
    double = next((column for column in header if header.count(column) > 1), None)
    if double is not None:
        raise UserError("column stands there more than once", where=where, got=repr(double))
    kept, stray = [], []
    for number, cells in rows[1:]:
        if len(cells) > len(header) and not any(cells[len(header) :]):
            stray.append(number)
            cells = cells[: len(header)]
        if len(cells) != len(header):
            raise UserError(
                "wrong number of cells", where=f"{name}, line {number}", got=len(cells), expected=str(len(header))
            )
        kept.append(Line(name, number, dict(zip(header, cells, strict=True))))
    return TextTable(tuple(header), tuple(kept), _stray_note(name, stray))


def _rows(lines: Sequence[str], name: str, delimiter: str, skip: int) -> list[tuple[int, list[str]]]:
    """Lines with a filled cell and their numbers, split into cells."""
    reader = csv.reader(io.StringIO("".join(lines), newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((reader.line_num + skip, cells))
    except csv.Error as error:
        where = f"{name}, line {reader.line_num + skip}"
        raise UserError("the line cannot be split into cells", where=where, got=str(error)) from error
    return rows


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(delimiter)]


def _stray_note(name: str, stray: Sequence[int]) -> tuple[str, ...]:
    if not stray:
        return ()
    numbers = ", ".join(map(str, stray[:_SHOWN])) + (", …" if len(stray) > _SHOWN else "")
    lines = "line" if len(stray) == 1 else "lines"
    return (f"{name}: {len(stray)} {lines} with a stray delimiter at the end ({lines} {numbers}), read without it",)
