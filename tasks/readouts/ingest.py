"""Plate files and plate maps become the table of wells. A plate enters whole or not at all."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd

from tasks.errors import UserError
from tasks.readouts.platefile import PlateReadout, read_plate_file
from tasks.readouts.rejections import RejectedInput, Rejection
from tasks.readouts.wells import normalise_well

__all__ = [
    "WELL_COLUMNS",
    "Matched",
    "PlateReadout",
    "RejectedInput",
    "Rejection",
    "match_platemap",
    "match_plates",
    "read_plate_file",
    "resolve_copies",
]

T = TypeVar("T")

#: Columns of the table of wells, in order.
WELL_COLUMNS = ["barcode", "attempt", "run", "well", "row", "column", "role", "perturbation", "replicate", "value"]

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MISSING = {"", "na", "n/a", "nan"}


@dataclass(frozen=True, eq=False)
class Matched:
    """Every plate of an upload, sorted into accepted and refused.

    Attributes:
        wells: Table of wells of the accepted plates (columns `WELL_COLUMNS`).
        rejections: Every reason for which a plate was refused.
    """

    wells: pd.DataFrame
    rejections: tuple[Rejection, ...]


def match_platemap(readout: PlateReadout, platemap: pd.DataFrame, fmt: int) -> pd.DataFrame:
    """Join one plate's readout to its plate map.

    An empty cell, `NA`, `N/A` or `NaN` is a missing value, as is a used well that the file does not name: it stays in
    the table with value NaN and quality control judges it.

    Args:
        readout: One plate of a plate file.
        platemap: Plate maps: barcode, well, row, column, role, perturbation, replicate; one row per well.
        fmt: Wells of the plate: 96, 384 or 1536.

    Returns:
        Columns `WELL_COLUMNS`, one row per used well (role other than empty), row by row. `value` is raw, in the
        instrument's unit.

    Raises:
        RejectedInput: The barcode is unknown, or a line names a well twice, a well outside the plate, a value in a well
            that the map says is empty, or something that is not a finite number. All problems are listed.
    """
    plan = platemap[platemap["barcode"] == readout.barcode]
    if plan.empty:
        reason = f"unknown barcode, got {readout.barcode!r}, expected a plate that was designed"
        raise RejectedInput("plate refused", [Rejection(readout.source, readout.barcode, None, reason)])
    roles = dict(zip(plan["well"], plan["role"], strict=True))
    values, problems = _read_wells(readout, roles, fmt)
    if problems:
        raise RejectedInput("plate refused", problems)
    used = plan[plan["role"] != "empty"].sort_values(["row", "column"], ignore_index=True)
    wells = used[["barcode", "well", "row", "column", "role", "perturbation", "replicate"]].assign(
        attempt=readout.attempt, run=readout.run, value=used["well"].map(values).astype("float64")
    )
    return wells[WELL_COLUMNS]


def _read_wells(readout: PlateReadout, roles: dict[str, str], fmt: int) -> tuple[dict[str, float], list[Rejection]]:
    """Value of each well that the file names, and all that is wrong with the lines."""
    values: dict[str, float] = {}
    lines: dict[str, int] = {}
    problems: list[Rejection] = []
    table = readout.values
    for text, written, line in zip(table["well"], table["value"], table["line"], strict=True):
        found: list[str] = []
        well = _checked(found, normalise_well, text, fmt)
        value = _checked(found, _parse_value, written)
        if well is not None and well in lines:
            found.append(f"well named twice, got {well} here and on line {lines[well]}, expected one line a well")
        elif well is not None:
            lines[well] = int(line)
            if value is not None and not math.isnan(value) and roles.get(well, "empty") == "empty":
                found.append(f"got value {written.strip()} in {well}, which the plate map says is empty, expected none")
            values[well] = math.nan if value is None else value
        problems.extend(Rejection(readout.source, readout.barcode, int(line), reason) for reason in found)
    return values, problems


def _checked(found: list[str], parse: Callable[..., T], *arguments: object) -> T | None:
    """What `parse` makes of the arguments; None when it refuses, with its reason added to `found`."""
    try:
        return parse(*arguments)
    except UserError as error:
        found.append(str(error))
        return None


def _parse_value(text: str) -> float:
    """A finite number, or NaN for a missing value."""
    stripped = text.strip()
    if stripped.lower() in _MISSING:
        return math.nan
    value = float(stripped) if _NUMBER.fullmatch(stripped) else math.nan
    if not math.isfinite(value):
        raise UserError(
            "not a finite number", got=repr(text), expected="a finite number with a decimal point, or an empty cell"
        )
    return value


def match_plates(readouts: Sequence[PlateReadout], platemap: pd.DataFrame, fmt: int) -> Matched:
    """Match many plates at once; refused plates are listed and do not stop the others.

    Args:
        readouts: Plates of any number of files; copies should be resolved first (`resolve_copies`).
        platemap: Plate maps of all designed plates.
        fmt: Wells of the plate: 96, 384 or 1536.

    Returns:
        Wells of the accepted plates by barcode and attempt, and every rejection.
    """
    plans = dict(iter(platemap.groupby("barcode", sort=False)))
    unknown = platemap.iloc[:0]
    tables: list[pd.DataFrame] = []
    rejections: list[Rejection] = []
    for readout in sorted(readouts, key=lambda plate: (plate.barcode, plate.attempt, plate.source)):
        try:
            tables.append(match_platemap(readout, plans.get(readout.barcode, unknown), fmt))
        except RejectedInput as error:
            rejections.extend(error.rejections)
    wells = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=WELL_COLUMNS)
    return Matched(wells, tuple(rejections))


def resolve_copies(readouts: Sequence[PlateReadout]) -> tuple[list[PlateReadout], tuple[Rejection, ...]]:
    """One readout for each plate attempt, whatever order the files arrived in.

    The same content uploaded twice counts once (the source that sorts first). Different contents for one attempt are
    all refused: nothing tells which of them is meant.

    Returns:
        The readouts that are left, by barcode and attempt, and the rejections.
    """
    groups: dict[tuple[str, int], list[PlateReadout]] = {}
    for readout in sorted(readouts, key=lambda plate: (plate.barcode, plate.attempt, plate.source)):
        groups.setdefault((readout.barcode, readout.attempt), []).append(readout)
    kept: list[PlateReadout] = []
    rejections: list[Rejection] = []
    for (barcode, attempt), copies in groups.items():
        if all(copy.same_content(copies[0]) for copy in copies):
            kept.append(copies[0])
            continue
        sources = ", ".join(dict.fromkeys(copy.source for copy in copies))
        reason = f"attempt {attempt} differs between {sources}; expected one content (a repeat is the next attempt)"
        rejections.extend(Rejection(copy.source, barcode, None, reason) for copy in copies)
    return kept, tuple(rejections)
