"""The layout of cellHTS2 (Bioconductor): plate list, plate configuration, screen log, annotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import pandas as pd
from pydantic import Field, model_validator

from tasks.errors import UserError
from tasks.readouts.layouts.model import (
    EXCLUSION_COLUMNS,
    FILE_COLUMNS,
    Layout,
    Role,
    ScreenLayout,
    Well,
    build_platemap,
    build_table,
    filled,
    once,
    well_of,
)
from tasks.readouts.layouts.plateconf import read_plateconf
from tasks.readouts.layouts.source import Line, Source, TextTable, read_table, whole_number
from tasks.readouts.wells import plate_wells

_CONTENTS: dict[str, Role] = {"sample": "sample", "neg": "negcon", "pos": "poscon", "other": "other", "empty": "empty"}
_NO_TABLE = TextTable((), ())


@dataclass(frozen=True)
class _Plate:
    """One measured plate, and its line of the plate list."""

    number: int
    replicate: int
    barcode: str
    line: Line

    def as_file(self) -> tuple[object, ...]:
        """As a row of `FILE_COLUMNS`."""
        cells = self.line.cells
        run, where = cells.get("Batch", ""), self.line.where
        return cells["Filename"], self.barcode, str(self.number), self.replicate, 1, run, where


class CellHts2(Layout):
    """Options of the style `cellhts2`.

    Source:
        Boutros, Brás & Huber 2006, Genome Biology 7:R66; the manual pages of cellHTS2.
    """

    platelist: str = Field(default="Platelist.txt", description="Which file is which plate and replicate.")
    plateconf: str = Field(default="Plateconf.txt", description="What stands in which well, as rules.")
    screenlog: str | None = Field(
        default="Screenlog.txt", description="Wells to exclude; null if there is no such file."
    )
    annotation: str | None = Field(default=None, description="File with the ids of what stands in each well.")
    id: str | None = Field(
        default=None,
        description="Column of the annotation with the perturbation. None: every position is a perturbation.",
    )
    controls: dict[str, Role] = Field(
        default_factory=dict, description="Role of further contents, as named controls: {GFP: negcon}."
    )
    channel: int | None = Field(default=None, ge=1, description="Which channel of several is read.")

    @model_validator(mode="after")
    def _id_is_annotation(self) -> Self:
        if self.id is not None and self.annotation is None:
            raise ValueError("id names a column of the annotation: give annotation too")
        return self

    def read(self, source: Source, fmt: int) -> ScreenLayout:
        """Read the layout. Every plate and replicate has a barcode of its own, as P03-R1.

        Raises:
            UserError: A mistake in the files; one line that names file and line.
        """
        plates, notes = self._plates(source)
        numbers = sorted({plate.number for plate in plates})
        contents = {**_CONTENTS, **{name.lower(): role for name, role in self.controls.items()}}
        roles = read_plateconf(source, self.plateconf, numbers, contents, fmt)
        table, ids = self._annotation(source, numbers, fmt)
        maps, unnamed = self._maps(roles, ids)
        if unnamed:
            count, example = len(unnamed), unnamed[0]
            notes.append(f"{count} sample wells have no {self.id}; they are named by their place, as {example}")
        columns = [column for column in table.columns if column not in ("Plate", "Well")]
        annotation = [
            (plate.barcode, well, *(filled(ids.get((plate.number, well)), column) for column in columns))
            for plate in plates
            for well in (plate_wells(fmt) if columns else ())
        ]
        return ScreenLayout(
            platemap=build_platemap({plate.barcode: (plate.replicate, maps[plate.number]) for plate in plates}, fmt),
            files=build_table([plate.as_file() for plate in plates], FILE_COLUMNS, ("barcode",)),
            exclusions=self._exclusions(source, plates, fmt),
            annotation=build_table(annotation, ("barcode", "well", *columns), ("barcode",)),
            notes=(*notes, *table.notes),
        )

    def _plates(self, source: Source) -> tuple[list[_Plate], list[str]]:
        """Plates of the chosen channel, and what to note."""
        table = read_table(source, self.platelist, ("Filename", "Plate", "Replicate"))
        notes, lines = list(table.notes), table.lines
        channels = sorted({line["Channel"] for line in lines}) if "Channel" in table.columns else []
        if self.channel is not None or len(channels) > 1:
            lines = tuple(line for line in lines if line.cells.get("Channel") == str(self.channel))
            notes.append(f"{self.platelist}: of the channels {', '.join(channels)}, {self.channel} is read")
        if not lines:
            raise UserError(
                "no plates" if not channels else "not one of its channels",
                where=self.platelist,
                got=None if not channels else f"layout.channel {self.channel}",
                expected=", ".join(channels),
            )
        width = max(2, len(str(max(_count(line, "Plate") for line in lines))))
        plates: list[_Plate] = []
        seen: dict[tuple[object, ...], int] = {}
        for line in lines:
            number, replicate = _count(line, "Plate"), _count(line, "Replicate")
            if not line["Filename"]:
                raise UserError("no file name", where=line.where)
            once(seen, ("file", line["Filename"]), line)
            once(seen, ("plate", number, "replicate", replicate), line)
            plates.append(_Plate(number, replicate, f"P{number:0{width}d}-R{replicate}", line))
        return plates, notes

    def _annotation(
        self, source: Source, numbers: Sequence[int], fmt: int
    ) -> tuple[TextTable, dict[tuple[int, str], Line]]:
        """The annotation, and its line of each plate and well."""
        if self.annotation is None:
            return _NO_TABLE, {}
        table = read_table(
            source, self.annotation, ("Plate", "Well") if self.id is None else ("Plate", "Well", self.id)
        )
        known = set(numbers)
        ids: dict[tuple[int, str], Line] = {}
        seen: dict[tuple[object, ...], int] = {}
        for line in table.lines:
            number, well = _count(line, "Plate"), well_of(line, "Well", fmt)
            if number not in known:
                raise UserError("unknown plate", where=line.where, got=number, expected=f"a plate of {self.platelist}")
            once(seen, ("plate", number, "well", well), line)
            ids[number, well] = line
        return table, ids

    def _maps(
        self, roles: Mapping[int, Mapping[str, Role]], ids: Mapping[tuple[int, str], Line]
    ) -> tuple[dict[int, dict[str, Well]], list[str]]:
        """Content of the wells of each plate, and the names of samples that the annotation does not name."""
        width = max(2, len(str(max(roles))))
        maps: dict[int, dict[str, Well]] = {number: {} for number in roles}
        unnamed: list[str] = []
        for number, plate in roles.items():
            for well, role in plate.items():
                name = ""
                if role == "sample":
                    place = f"P{number:0{width}d}-{well}"
                    name = filled(ids.get((number, well)), self.id) if self.id is not None else place
                    if not name:
                        unnamed.append(place)
                        name = place
                maps[number][well] = Well(role, name)
        return maps, unnamed

    def _exclusions(self, source: Source, plates: Sequence[_Plate], fmt: int) -> pd.DataFrame:
        """Wells of the screen log, all of which cellHTS2 sets to NA, whatever their flag is."""
        barcodes = {(plate.number, plate.replicate): plate.barcode for plate in plates}
        several = len({plate.replicate for plate in plates}) > 1
        rows: list[tuple[str, int, str, str]] = []
        seen: dict[tuple[object, ...], int] = {}
        needed = ("Plate", "Sample", "Well", "Flag") if several else ("Plate", "Well", "Flag")
        for line in read_table(source, self.screenlog, needed).lines if self.screenlog else ():
            if line.cells.get("Channel", str(self.channel)) != str(self.channel) and self.channel is not None:
                continue
            key = _count(line, "Plate"), _count(line, "Sample") if "Sample" in line.cells else plates[0].replicate
            if key not in barcodes:
                got, expected = f"plate {key[0]}, sample {key[1]}", f"a plate and replicate of {self.platelist}"
                raise UserError("unknown plate", where=line.where, got=got, expected=expected)
            well = well_of(line, "Well", fmt)
            once(seen, (barcodes[key], well), line)
            rows.append((barcodes[key], 0, well, line.cells.get("Comment") or f"flag {line['Flag']}"))
        return build_table(rows, EXCLUSION_COLUMNS, ("barcode", "attempt", "well"))


def _count(line: Line, column: str) -> int:
    number = whole_number(line[column])
    if not number:
        raise UserError(f"{column} is not a whole number from 1", where=line.where, got=repr(line[column]))
    return number
