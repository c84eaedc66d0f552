"""Where the grids of a text file begin and end, and what their titles say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.campaigns.ids import USABLE, usable
from tasks.readouts.formats.lines import ATTEMPT, refuse
from tasks.readouts.formats.numeric import MISSING
from tasks.readouts.formats.text import Row
from tasks.readouts.wells import PLATE_SHAPES, row_letters

_KEYS = {
    "plate": "barcode",
    "barcode": "barcode",
    "plate barcode": "barcode",
    "feature": "feature",
    "channel": "feature",
    "attempt": "attempt",
    "run": "run",
}
_KEYED = re.compile(r"(plate barcode|plate|barcode|feature|channel|attempt|run)\s*:\s*(.*)", re.IGNORECASE)
_CORNERS = ("", "<>")
_NUMERIC = re.compile(r"[+-]?[0-9.,]+([eE][+-]?[0-9]+)?")
_WIDTHS = [columns for _, columns in PLATE_SHAPES.values()]
_ROWS = {row_letters(row): row for row in range(32)}

Title = dict[str, str]


@dataclass(eq=False)
class Grid:
    """One grid as it stands in a file.

    Attributes:
        title: What stands above it, as far as named: barcode, feature, attempt, run.
        line: Line on which it begins, its title included.
        columns: How many column numbers it has; None where it has none.
        rows: Line, row (from 0 by its letter, None where it has no letter) and cells of each row.
    """

    title: Title
    line: int
    columns: int | None = None
    rows: list[tuple[int, int | None, list[str]]] = field(default_factory=list)


def find_grids(lines: Sequence[Row], source: str) -> list[Grid]:
    """Grids of a file, with their titles.

    A title stands above its grid, or in the corner of the column numbers. It is a barcode, or a barcode and a feature,
    or it names each: `Plate: P1`, `Barcode;P1`, `Feature: DAPI`, `Attempt: 2`, `Run: R01`. A grid ends where another
    title or other column numbers begin, or at a blank line.

    Args:
        lines: Lines with a filled cell: number and cells.
        source: Name of the file, for messages.

    Raises:
        RejectedInput: A title is not understood, says something twice, or has no grid below it.
    """
    grids: list[Grid] = []
    grid: Grid | None = None
    title: Title = {}
    above = before = 0
    for number, raw in lines:
        cells = [cell.strip() for cell in raw]
        if number > before + 1:
            grid = None
        before = number
        numbered = _column_numbers(cells, inside=grid is not None)
        if numbered is None and _is_title(cells):
            grid, above = None, above or number
            _add(title, _parse_title(cells, source, number), source, number)
            continue
        if numbered is not None or grid is None:
            if numbered is not None and numbered[0] not in _CORNERS:
                _add(title, {"feature" if "barcode" in title else "barcode": numbered[0]}, source, number)
            grid = Grid(title, above or number, None if numbered is None else numbered[1])
            grids.append(grid)
            title, above = {}, 0
        if numbered is None:
            grid.rows.append((number, *_labelled(cells)))
    if title:
        raise refuse(source, f"a title without a grid below it: {', '.join(title.values())}", above)
    return grids


def _column_numbers(cells: list[str], *, inside: bool) -> tuple[str, int] | None:
    """Corner and count of a line of column numbers; None where it is none.

    Inside a grid only a line with a corner is one: 1, 2, 3 … could be values.
    """
    trimmed = cells[:-1] if cells[-1] == "" else cells
    for corner, numbers in ((trimmed[:1], trimmed[1:]), ([""], trimmed)):
        counted = [str(number) for number in range(1, len(numbers) + 1)]
        if len(numbers) in _WIDTHS and [cell.lstrip("0") for cell in numbers] == counted:
            return None if inside and numbers is trimmed else (corner[0], len(numbers))
    return None


def _is_title(cells: list[str]) -> bool:
    first, filled = cells[0], sum(map(bool, cells))
    if _KEYED.match(first) or (first.casefold() in _KEYS and filled > 1):
        return True
    if filled > 2 or not first or first.casefold() in MISSING or _NUMERIC.fullmatch(first):
        return False
    return first.upper() not in _ROWS or len(cells) <= 2


def _parse_title(cells: list[str], source: str, number: int) -> Title:
    said: Title = {}
    words = iter([cell for cell in cells if cell])
    for word in words:
        keyed = _KEYED.fullmatch(word)
        if keyed is not None:
            _add(said, {_KEYS[keyed[1].casefold()]: keyed[2] or next(words, "")}, source, number)
        elif word.casefold() in _KEYS:
            _add(said, {_KEYS[word.casefold()]: next(words, "")}, source, number)
        elif ":" in word:
            expected = "Plate, Barcode, Feature, Channel, Attempt or Run before the colon"
            raise refuse(source, f"line not understood, got {word[:60]!r}, expected {expected}", number)
        else:
            _add(said, {"feature" if "barcode" in said else "barcode": word}, source, number)
    return said


def _add(title: Title, more: Title, source: str, number: int) -> None:
    for key, text in more.items():
        if key in title:
            raise refuse(source, f"title with a second {key}, got {text[:60]!r} after {title[key][:60]!r}", number)
        if not (ATTEMPT.fullmatch(text) if key == "attempt" else usable(text)):
            expected = "a whole number from 1" if key == "attempt" else f"a name of {USABLE}"
            raise refuse(source, f"{key} in the title is {text[:60]!r}, expected {expected}", number)
    title.update(more)


def _labelled(cells: list[str]) -> tuple[int | None, list[str]]:
    row = _ROWS.get(cells[0].upper())
    return (None, cells) if row is None else (row, cells[1:])
