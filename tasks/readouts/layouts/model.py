"""What a layout says, whatever form it was kept in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from tasks.campaigns.ids import USABLE, usable
from tasks.campaigns.section import Section
from tasks.errors import UserError
from tasks.readouts.layouts.source import Line, Source, read_table, whole_number
from tasks.readouts.wells import normalise_well, plate_shape, plate_wells

Role = Literal["sample", "negcon", "poscon", "other", "empty"]

PLATEMAP_COLUMNS = ("barcode", "well", "row", "column", "role", "perturbation", "replicate", "slot")
FILE_COLUMNS = ("file", "barcode", "plate", "replicate", "attempt", "run", "line")
EXCLUSION_COLUMNS = ("barcode", "attempt", "well", "reason")


@dataclass(frozen=True, eq=False)
class ScreenLayout:
    """Where everything stood on the plates of a screen.

    Attributes:
        platemap: Plate maps (`PLATEMAP_COLUMNS`), one row per well of the format; `reagent` as a further column where
            what is dispensed is not the perturbation.
        files: The plates, by barcode (`FILE_COLUMNS`). `file` is the file that holds the plate, and `line` where the
            layout says so; empty where any file may. `run` is empty where the layout does not tell it.
        exclusions: Wells whose value is not to be used, and why (`EXCLUSION_COLUMNS`); attempt 0 means every attempt.
        annotation: barcode, well, and the further columns that the layout has on its wells; NA is an empty text.
        notes: What a reader of the layout should know: what was overlooked, what was decided.
    """

    platemap: pd.DataFrame
    files: pd.DataFrame
    exclusions: pd.DataFrame
    annotation: pd.DataFrame
    notes: tuple[str, ...]


class Layout(Section, ABC):
    """A style of layout: its options, and how it is read."""

    @abstractmethod
    def read(self, source: Source, fmt: int) -> ScreenLayout:
        """Read the layout of plates with `fmt` wells.

        Raises:
            UserError: A mistake in the files; one line that names file and line.
        """


@dataclass(frozen=True)
class Well:
    """What a plate map says of one well."""

    role: Role
    perturbation: str = ""
    reagent: str = ""
    slot: str = ""
    replicate: int | None = None

    @property
    def ids(self) -> list[str]:
        """The names that it has."""
        return [name for name in (self.perturbation, self.reagent) if name]


_EMPTY = Well("empty")


def build_platemap(plates: Mapping[str, tuple[int, Mapping[str, Well]]], fmt: int) -> pd.DataFrame:
    """Plate maps of all plates, by barcode, well by well.

    Args:
        plates: Barcode -> replicate (from 1) and content of its wells; a well that is not named is empty.
        fmt: Wells of a plate.

    Raises:
        UserError: A barcode or a perturbation is no usable id.
    """
    names = list(plate_wells(fmt))
    row, column = np.divmod(np.arange(fmt), plate_shape(fmt)[1])
    tables = []
    for barcode in sorted(plates):
        replicate, content = plates[barcode]
        _check_ids(barcode, content)
        wells = [content.get(name, _EMPTY) for name in names]
        numbers = [0 if w.role != "sample" else replicate if w.replicate is None else w.replicate for w in wells]
        columns = {
            "barcode": barcode,
            "well": names,
            "row": row,
            "column": column,
            "role": [well.role for well in wells],
            "perturbation": [well.perturbation for well in wells],
            "replicate": numbers,
            "slot": [well.slot for well in wells],
            "reagent": [well.reagent for well in wells],
        }
        tables.append(pd.DataFrame(columns))
    platemap = pd.concat(tables, ignore_index=True)
    return platemap if (platemap["reagent"] != "").any() else platemap.drop(columns="reagent")


def _check_ids(barcode: str, content: Mapping[str, Well]) -> None:
    for well, what in (("", barcode), *((f", well {name}", id_) for name, w in content.items() for id_ in w.ids)):
        if not usable(what):
            raise UserError(f"unusable id{well}", where=f"plate {barcode!r}", got=repr(what[:60]), expected=USABLE)


def build_table(rows: Sequence[Sequence[object]], columns: Sequence[str], by: Sequence[str]) -> pd.DataFrame:
    """A table sorted by some of its columns, so that the order of the lines does not matter."""
    frame = pd.DataFrame(rows, columns=list(columns)).sort_values(list(by), ignore_index=True, kind="stable")
    return frame.astype({name: "int64" for name in ("replicate", "attempt") if name in columns})


def well_of(line: Line, column: str, fmt: int) -> str:
    """The well that a line names.

    Raises:
        UserError: Not a well of the format; names file and line.
    """
    try:
        return normalise_well(line[column], fmt)
    except UserError as error:
        raise UserError(error.what, where=line.where, got=error.got, expected=error.expected) from error


def filled(line: Line | None, column: str) -> str:
    """A cell; empty where there is no line, and where it says NA."""
    text = "" if line is None else line[column]
    return "" if text == "NA" else text


def once(seen: dict[tuple[object, ...], int], key: tuple[object, ...], line: Line) -> None:
    """Note that a line names a thing.

    Args:
        seen: What was named so far, and on which line.
        key: The thing, in words.
        line: The line that names it.

    Raises:
        UserError: An earlier line named it already.
    """
    first = seen.setdefault(key, line.number)
    if first != line.number:
        got = " ".join(map(str, key))
        raise UserError(
            "named twice", where=line.where, got=f"{got}, which stands on line {first}", expected="each once"
        )


def read_exclusions(source: Source, name: str | None, barcodes: Sequence[str], fmt: int) -> pd.DataFrame:
    """An exclusion log: columns barcode, well, reason, and where it is about one attempt of the plate, attempt.

    Raises:
        UserError: A mistake in the file: an unknown plate, no such well, a well twice, no reason.
    """
    rows: list[tuple[str, int, str, str]] = []
    seen: dict[tuple[object, ...], int] = {}
    known = set(barcodes)
    for line in read_table(source, name, ("barcode", "well", "reason")).lines if name else ():
        if line["barcode"] not in known:
            raise UserError(
                "unknown plate", where=line.where, got=repr(line["barcode"]), expected="a plate of the layout"
            )
        if not line["reason"]:
            raise UserError("exclusion without a reason", where=line.where)
        well = well_of(line, "well", fmt)
        written = line.cells.get("attempt") or "0"
        attempt = whole_number(written)
        if attempt is None:
            raise UserError("attempt is not a whole number from 1", where=line.where, got=repr(written))
        about = (line["barcode"], *([f"attempt {attempt}"] if attempt else []), well)
        once(seen, about, line)
        rows.append((line["barcode"], attempt, well, line["reason"]))
    return build_table(rows, EXCLUSION_COLUMNS, ("barcode", "attempt", "well"))


def is_exclusion_log(name: str) -> bool:
    """Whether an uploaded file is an exclusion log by its name: exclusions…, whatever its ending."""
    return name.rpartition("/")[2].lower().startswith("exclusions")


def excluded(wells: pd.DataFrame, exclusions: pd.DataFrame) -> pd.Series[str]:
    """Why each well is excluded; missing where it is not.

    Args:
        wells: Table of wells.
        exclusions: Columns `EXCLUSION_COLUMNS`.
    """
    if exclusions.empty:
        return pd.Series(None, index=wells.index, dtype=object)
    reasons = exclusions.set_index(["barcode", "attempt", "well"])["reason"].to_dict()
    keys = zip(wells["barcode"], wells["attempt"], wells["well"], strict=True)
    found = [reasons.get((b, a, w), reasons.get((b, 0, w))) for b, a, w in keys]
    return pd.Series(found, index=wells.index, dtype=object)


def exclude(wells: pd.DataFrame, exclusions: pd.DataFrame, values: Sequence[str] = ("value",)) -> pd.DataFrame:
    """Make the values of excluded wells missing.

    Args:
        wells: Table of wells.
        exclusions: Columns `EXCLUSION_COLUMNS`.
        values: Columns that become missing.
    """
    hit = excluded(wells, exclusions).notna()
    if not hit.any():
        return wells
    return wells.assign(**{column: wells[column].mask(hit) for column in values})
