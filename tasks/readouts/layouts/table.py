"""A plate map as one table in the project's own columns, as `hybridscreen open` writes it."""

from __future__ import annotations

from typing import get_args

from pydantic import Field

from tasks.campaigns.spreadsheets import unescape
from tasks.errors import UserError
from tasks.readouts.layouts.model import (
    FILE_COLUMNS,
    PLATEMAP_COLUMNS,
    Layout,
    Role,
    ScreenLayout,
    Well,
    build_platemap,
    build_table,
    once,
    read_exclusions,
    well_of,
)
from tasks.readouts.layouts.source import Line, Source, read_table, whole_number
from tasks.readouts.wells import well_to_position

_ROLES: dict[str, Role] = {role: role for role in get_args(Role)}


class Table(Layout):
    """Options of the style `table`: barcode, well, role, perturbation; replicate, slot, reagent if there are any."""

    files: tuple[str, ...] = Field(default=("platemap.csv",), min_length=1, description="Tables with the plate maps.")
    exclusions: str | None = Field(default=None, description="Table of wells to exclude: barcode, well, reason.")

    def read(self, source: Source, fmt: int) -> ScreenLayout:
        """Read the layout. Wells that are not named are empty, further columns are annotation.

        Raises:
            UserError: A mistake in the files; one line that names file and line.
        """
        tables = [read_table(source, name, ("barcode", "well", "role", "perturbation")) for name in self.files]
        maps: dict[str, dict[str, Well]] = {}
        owners: dict[str, str] = {}
        seen: dict[tuple[object, ...], int] = {}
        extra = sorted({column for table in tables for column in table.columns} - {*PLATEMAP_COLUMNS, "reagent"})
        annotation = []
        for line in (line for table in tables for line in table.lines):
            barcode, well = line["barcode"], well_of(line, "well", fmt)
            if owners.setdefault(barcode, line.file) != line.file or not barcode:
                expected = "one plate map for each barcode"
                raise UserError(
                    "no barcode, or one of another file", where=line.where, got=repr(barcode), expected=expected
                )
            once(seen, (barcode, well), line)
            maps.setdefault(barcode, {})[well] = _content(line, well, fmt)
            annotation.append((barcode, well, *(line.cells.get(column, "") for column in extra)))
        if not maps:
            raise UserError("no plates", where=", ".join(self.files))
        files = [("", barcode, barcode, 1, 1, "", "") for barcode in maps]
        return ScreenLayout(
            platemap=build_platemap({barcode: (1, wells) for barcode, wells in maps.items()}, fmt),
            files=build_table(files, FILE_COLUMNS, ("barcode",)),
            exclusions=read_exclusions(source, self.exclusions, list(maps), fmt),
            annotation=build_table(annotation if extra else [], ("barcode", "well", *extra), ("barcode", "well")),
            notes=tuple(note for table in tables for note in table.notes),
        )


def _content(line: Line, well: str, fmt: int) -> Well:
    role, perturbation = _ROLES.get(line["role"]), str(unescape(line["perturbation"]))
    if role is None:
        raise UserError("unknown role", where=line.where, got=repr(line["role"]), expected=", ".join(_ROLES))
    if (role == "sample") != bool(perturbation):
        expected = "a perturbation in every sample well, and in no other"
        raise UserError(
            "role and perturbation disagree", where=line.where, got=f"{role} {perturbation!r}", expected=expected
        )
    row, column = well_to_position(well, fmt)
    if (line.cells.get("row", str(row)), line.cells.get("column", str(column))) != (str(row), str(column)):
        got, expected = (
            f"row {line.cells.get('row')}, column {line.cells.get('column')}",
            f"row {row}, column {column} of {well}",
        )
        raise UserError("row and column are not those of the well", where=line.where, got=got, expected=expected)
    written = line.cells.get("replicate", "1" if role == "sample" else "0")
    replicate = whole_number(written)
    if replicate is None or (replicate > 0) != (role == "sample"):
        raise UserError("wrong replicate", where=line.where, got=repr(written), expected="1, 2, … for a sample, 0 else")
    return Well(role, perturbation, str(unescape(line.cells.get("reagent", ""))), line.cells.get("slot", ""), replicate)
