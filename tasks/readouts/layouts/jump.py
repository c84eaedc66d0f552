"""The two-level layout of the JUMP Cell Painting consortium and the Broad Institute.

A table says which barcode has which plate map, a file a map says which sample stands in which well, and further tables
say what the samples are.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator

from tasks.errors import UserError
from tasks.readouts.layouts.jump_samples import Samples, read_samples
from tasks.readouts.layouts.model import (
    FILE_COLUMNS,
    Layout,
    Role,
    ScreenLayout,
    Well,
    build_platemap,
    build_table,
    filled,
    once,
    read_exclusions,
    well_of,
)
from tasks.readouts.layouts.source import Line, Source, TextTable, read_table

_BARCODE, _MAP, _WELL = "Assay_Plate_Barcode", "Plate_Map_Name", "well_position"
_NO_IDS = {_WELL, "plate_map_name"}
_USUAL_DOSE = "mmoles_per_liter"


@dataclass(frozen=True)
class _Map:
    """One plate map: the table, the line of each well, and its content."""

    table: TextTable
    lines: dict[str, Line]
    wells: dict[str, Well]


class Jump(Layout):
    """Options of the style `jump`.

    Source:
        The files of github.com/jump-cellpainting/JUMP-Target and github.com/broadinstitute/lincs-cell-painting.
    """

    barcodes: str = Field(
        default="barcode_platemap.csv", description="Table with Assay_Plate_Barcode and Plate_Map_Name."
    )
    platemaps: str = Field(default="platemap/{}.txt", description="File of a plate map; {} is the name of the map.")
    metadata: tuple[str, ...] = Field(
        default=(), description="Tables that say what the samples are: pert_type, control_type, and further columns."
    )
    sample: str = Field(default="broad_sample", description="Column of maps and metadata with the sample.")
    id: str | None = Field(
        default=None, description="Column of the metadata with the perturbation (InChIKey, genes). None: the sample."
    )
    dose: str | None = Field(
        default=None, description="Column of the maps with the dose; each dose is then a perturbation, as NAME@10."
    )
    run: str | None = Field(default=None, description="Column of the barcode table with the run (Batch_Number).")
    controls: dict[str, Role] = Field(
        default_factory=dict, description="Role of a sample or of a control type, before what the metadata say."
    )
    blank: Literal["negcon", "other", "empty"] | None = Field(
        default=None, description="Role of wells without a sample, where the metadata do not tell it."
    )
    exclusions: str | None = Field(default=None, description="Table of wells to exclude: barcode, well, reason.")

    @field_validator("platemaps")
    @classmethod
    def _names_the_map(cls, value: str) -> str:
        if value.count("{}") != 1:
            raise ValueError("the name of the map stands in it once, as {}")
        return value

    def read(self, source: Source, fmt: int) -> ScreenLayout:
        """Read the layout. Barcodes with the same map are replicates, numbered by barcode.

        Raises:
            UserError: A mistake in the files; one line that names file and line.
        """
        plates = self._plates(source)
        samples = read_samples(source, self.metadata, self.sample, self.id, self.controls, self.blank)
        maps = {name: self._map(source, name, samples, fmt) for name in sorted({line[_MAP] for line in plates})}
        of_map: dict[str, list[str]] = defaultdict(list)
        files = []
        for line in plates:
            of_map[line[_MAP]].append(line[_BARCODE])
            run = line[self.run] if self.run is not None else ""
            files.append(("", line[_BARCODE], line[_MAP], len(of_map[line[_MAP]]), 1, run, line.where))
        contents = {
            barcode: (number, maps[name].wells)
            for name, barcodes in of_map.items()
            for number, barcode in enumerate(barcodes, start=1)
        }
        columns, cells = _annotation(maps, samples)
        annotation = [
            (barcode, *row) for name, barcodes in of_map.items() for barcode in barcodes for row in cells[name]
        ]
        return ScreenLayout(
            platemap=build_platemap(contents, fmt),
            files=build_table(files, FILE_COLUMNS, ("barcode",)),
            exclusions=read_exclusions(source, self.exclusions, list(contents), fmt),
            annotation=build_table(annotation, ("barcode", "well", *columns), ("barcode", "well")),
            notes=(*samples.notes, *self._notes(maps)),
        )

    def _plates(self, source: Source) -> list[Line]:
        """Lines of the barcode table, by barcode."""
        needed = (_BARCODE, _MAP) if self.run is None else (_BARCODE, _MAP, self.run)
        lines = read_table(source, self.barcodes, needed).lines
        if not lines:
            raise UserError("no plates", where=self.barcodes)
        seen: dict[tuple[object, ...], int] = {}
        for line in lines:
            if not line[_BARCODE] or not line[_MAP]:
                raise UserError("a plate without barcode or map", where=line.where)
            once(seen, ("barcode", line[_BARCODE]), line)
        return sorted(lines, key=lambda line: line[_BARCODE])

    def _map(self, source: Source, name: str, samples: Samples, fmt: int) -> _Map:
        file = self.platemaps.replace("{}", name)
        table = read_table(source, file, (_WELL, self.sample, *([self.dose] if self.dose else [])))
        lines: dict[str, Line] = {}
        wells: dict[str, Well] = {}
        seen: dict[tuple[object, ...], int] = {}
        for line in table.lines:
            well = well_of(line, _WELL, fmt)
            once(seen, ("well", well), line)
            lines[well], wells[well] = line, self._content(line, samples)
        return _Map(table, lines, wells)

    def _content(self, line: Line, samples: Samples) -> Well:
        sample = filled(line, self.sample)
        role = samples.role(sample, line)
        if role != "sample":
            return Well(role)
        perturbation, reagent = samples.perturbation(sample), "" if self.id is None else sample
        if self.dose is None:
            return Well(role, perturbation, reagent)
        return Well(role, f"{perturbation}@{_dose(line, self.dose)}", reagent)

    def _notes(self, maps: dict[str, _Map]) -> list[str]:
        notes = [note for each in maps.values() for note in each.table.notes]
        doses: dict[str, set[str]] = defaultdict(set)
        for each in maps.values():
            for well, content in each.wells.items():
                if content.role == "sample" and self.dose is None and _USUAL_DOSE in each.table.columns:
                    doses[content.perturbation].add(_dose(each.lines[well], _USUAL_DOSE))
        several = sum(len(found) > 1 for found in doses.values())
        if several:
            notes.append(
                f"samples at several doses, which count as replicates: {several}; layout.dose: {_USUAL_DOSE} "
                "makes each dose a perturbation"
            )
        return notes


def _dose(line: Line, column: str) -> str:
    """A dose as text, numbers with six digits: 9.99999999999999999 is 10."""
    try:
        return f"{float(line[column]):.6g}"
    except ValueError as error:
        raise UserError("dose is not a number", where=line.where, got=repr(line[column])) from error


def _annotation(maps: dict[str, _Map], samples: Samples) -> tuple[list[str], dict[str, list[tuple[str, ...]]]]:
    """Columns of maps and metadata, and by map the well and its cells."""
    own = [column for each in maps.values() for column in each.table.columns if column not in _NO_IDS]
    further = [column for line in samples.metadata.values() for column in line.cells]
    columns = list(dict.fromkeys(own + further))
    cells: dict[str, list[tuple[str, ...]]] = {}
    for name, each in maps.items():
        cells[name] = []
        for well, line in each.lines.items():
            metadata = samples.metadata.get(filled(line, samples.column))
            sources = [line] if metadata is None else [line, metadata]
            found = (next((s for s in sources if column in s.cells), None) for column in columns)
            row = (filled(s, column) for s, column in zip(found, columns, strict=True))
            cells[name].append((well, *row))
    return columns, cells
