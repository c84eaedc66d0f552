"""Well names and positions on 96-, 384- and 1536-well plates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from tasks.errors import UserError

#: Rows and columns of each plate format.
PLATE_SHAPES: dict[int, tuple[int, int]] = {96: (8, 12), 384: (16, 24), 1536: (32, 48)}

_WELL = re.compile(r"([A-Za-z]{1,2})0*([1-9][0-9]?)")


def plate_shape(fmt: int) -> tuple[int, int]:
    """Rows and columns of a plate format.

    Raises:
        UserError: The format is not 96, 384 or 1536.
    """
    if fmt not in PLATE_SHAPES:
        raise UserError("unknown plate format", got=fmt, expected="96, 384 or 1536")
    return PLATE_SHAPES[fmt]


def position_to_well(row: int, column: int, fmt: int) -> str:
    """Name of the well at a position: (0, 0) is A01, (31, 47) of a 1536-well plate is AF48.

    Args:
        row: Row, counted from 0 at the top.
        column: Column, counted from 0 at the left.
        fmt: Wells of the plate: 96, 384 or 1536.

    Raises:
        UserError: The position is outside the plate.
    """
    rows, columns = plate_shape(fmt)
    if not (0 <= row < rows and 0 <= column < columns):
        raise UserError(
            "position outside the plate",
            got=f"row {row}, column {column}",
            expected=f"rows 0-{rows - 1} and columns 0-{columns - 1} of a {fmt}-well plate",
        )
    return f"{row_letters(row)}{column + 1:02d}"


def row_letters(row: int) -> str:
    """Name of a row, counted from 0: A to Z, then AA to AF."""
    return chr(ord("A") + row) if row < 26 else "A" + chr(ord("A") + row - 26)


@lru_cache(maxsize=3)
def plate_wells(fmt: int) -> tuple[str, ...]:
    """All wells of a plate format, row by row."""
    rows, columns = plate_shape(fmt)
    return tuple(position_to_well(row, column, fmt) for row in range(rows) for column in range(columns))


@lru_cache(maxsize=16384)
def well_to_position(well: str, fmt: int) -> tuple[int, int]:
    """Row and column, counted from 0, of a well. Takes every spelling that `normalise_well` takes.

    Raises:
        UserError: The text is not a well, or the well is outside the plate.
    """
    rows, columns = plate_shape(fmt)
    expected = f"a well from A01 to {position_to_well(rows - 1, columns - 1, fmt)}"
    match = _WELL.fullmatch(well.strip())
    if match is None:
        raise UserError("not a well", got=repr(well), expected=expected)
    row = 0
    for letter in match[1].upper():
        row = row * 26 + ord(letter) - ord("A") + 1
    row, column = row - 1, int(match[2]) - 1
    if row >= rows or column >= columns:
        raise UserError(f"well outside the {fmt}-well plate", got=repr(well), expected=expected)
    return row, column


@lru_cache(maxsize=16384)
def normalise_well(text: str, fmt: int) -> str:
    """The one spelling of a well that is used inside: A1, a1, A01 and A001 become A01.

    Raises:
        UserError: The text is not a well, or the well is outside the plate.
    """
    return position_to_well(*well_to_position(text, fmt), fmt)


def expand_wells(wells: Sequence[str], fmt: int) -> list[str]:
    """Wells and rectangles of wells, spelled out.

    Args:
        wells: Wells (`A01`) or rectangles from upper left to lower right (`C01:H02`).
        fmt: Wells of the plate: 96, 384 or 1536.

    Returns:
        Normalised wells in the order given, each rectangle row by row.

    Raises:
        UserError: Not a well, outside the plate, a rectangle from lower right to upper left, or a well named twice.
    """
    found: dict[str, str] = {}
    for text in wells:
        first, colon, last = text.partition(":")
        top, left = well_to_position(first, fmt)
        bottom, right = well_to_position(last, fmt) if colon else (top, left)
        if bottom < top or right < left:
            raise UserError(
                "rectangle the wrong way round", got=repr(text), expected="upper left:lower right, as A01:H02"
            )
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                well = position_to_well(row, column, fmt)
                if well in found:
                    raise UserError("well named twice", got=f"{well} in {found[well]!r} and in {text!r}")
                found[well] = text
    return list(found)


def is_edge(row: int, column: int, fmt: int) -> bool:
    """Whether a position (counted from 0) lies in the outermost rows or columns of the plate."""
    rows, columns = plate_shape(fmt)
    return row in (0, rows - 1) or column in (0, columns - 1)
