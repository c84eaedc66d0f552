"""Text in the shape of the plate: 8 × 12, 16 × 24 or 32 × 48 cells, one or several grids a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.campaigns.config import ReadoutSection
from tasks.readouts.formats.grid_blocks import Grid, find_grids
from tasks.readouts.formats.lines import chosen_columns, first_problems, names_from_file, refuse
from tasks.readouts.formats.numeric import not_a_number, to_floats
from tasks.readouts.formats.plate import PlateReadout
from tasks.readouts.formats.text import DELIMITERS, Row, decode, split
from tasks.readouts.rejections import RejectedInput, Rejection
from tasks.readouts.wells import plate_shape, plate_wells, row_letters

_SMALLEST = 6  # cells of a line that may belong to a grid


@dataclass(frozen=True, eq=False)
class _Content:
    """Numbers of one grid by well, row by row, and what is wrong with it."""

    values: npt.NDArray[np.float64]
    lines: npt.NDArray[np.int64]
    problems: list[tuple[int, str]]


def recognises(data: bytes, source: str, section: ReadoutSection) -> bool:
    """Text that is nothing else is tried as a grid."""
    return True


def read(data: bytes, source: str, section: ReadoutSection, fmt: int) -> list[PlateReadout]:
    """Read a file with one or several grids, with or without row letters and column numbers.

    Several grids need titles (`find_grids`); one grid without a title belongs to the plate that the file's name says.

    Raises:
        RejectedInput: The file as a whole cannot be read: its encoding, no grid, a line that is not understood, or
            several grids of which some do not say to which plate they belong.
    """
    text = decode(data, source, section)
    lines = _split(text, source, section, fmt)
    grids = find_grids(lines, source)
    plates: dict[tuple[str, int], list[Grid]] = {}
    for grid in grids:
        plates.setdefault(_plate_of(grid, grids, source), []).append(grid)
    features = _features(grids, source, section)
    return [_read_plate(key, members, source, section, fmt, features) for key, members in sorted(plates.items())]


def _split(text: str, source: str, section: ReadoutSection, fmt: int) -> list[Row]:
    """Lines with the delimiter that gives most lines the width of the plate."""
    _, columns = plate_shape(fmt)
    found: list[tuple[int, int, list[Row]]] = []
    error: RejectedInput | None = None
    for mark in DELIMITERS:
        try:
            rows = split(text, source, mark)
        except RejectedInput as refused:
            error = error or refused
            continue
        lengths = [len(cells) for _, cells in rows]
        found.append((sum(columns <= n <= columns + 2 for n in lengths), sum(n >= _SMALLEST for n in lengths), rows))
    if not found:
        raise error or refuse(source, "cannot be split into cells")
    _, wide, rows = max(found, key=lambda item: item[:2])
    first = [cell.strip() for cell in rows[0][1]]
    if not wide or (len(first) >= _SMALLEST and all(cell[:1].isalpha() for cell in first)):
        names = section.columns
        named = f"{names.plate!r}, {names.well!r}, {names.value!r} (readout.columns)"
        shown = ", ".join(repr(cell[:40]) for cell in first[:_SMALLEST])
        reason = f"neither a header that names {named} nor a grid of {_shape(fmt)}; found {shown}"
        raise refuse(source, reason + ("; is the whole line quoted?" if len(first) == 1 else ""), rows[0][0])
    return rows


def _shape(fmt: int) -> str:
    rows, columns = plate_shape(fmt)
    return f"{rows} × {columns} cells (plates.format {fmt})"


def _plate_of(grid: Grid, grids: list[Grid], source: str) -> tuple[str, int]:
    """Barcode and attempt of a grid: from its title, or where no grid of the file has one from the file's name."""
    stem, attempt = names_from_file(source)
    titled = [other for other in grids if "barcode" in other.title]
    if "barcode" not in grid.title and titled:
        reason = f"grid without a barcode above it, expected one as the grid of line {titled[0].line} has"
        raise refuse(source, reason, grid.line)
    if not titled and len(grids) > 1 and any("feature" not in other.title for other in grids):
        reason = f"{len(grids)} grids, expected the barcode of its plate above each"
        raise refuse(source, reason, grids[1].line)
    return grid.title.get("barcode", stem), int(grid.title.get("attempt", attempt))


def _features(grids: list[Grid], source: str, section: ReadoutSection) -> list[str]:
    """Features of the file that the configuration asks for; `value` where it asks for none."""
    if section.features is None:
        named = next(
            (grid for grid in grids if grid.title.get("feature", section.columns.value) != section.columns.value), None
        )
        if named is not None:
            reason = f"grid of feature {named.title['feature']!r}, but readout.features is not set"
            raise refuse(source, reason, named.line)
        return ["value"]
    unnamed = next((grid for grid in grids if "feature" not in grid.title), None)
    if unnamed is not None:
        reason = "grid that does not say its feature, expected a title such as 'P1;DAPI' (readout.features is set)"
        raise refuse(source, reason, unnamed.line)
    return chosen_columns(list(dict.fromkeys(grid.title["feature"] for grid in grids)), section, source)


def _read_plate(
    key: tuple[str, int], grids: list[Grid], source: str, section: ReadoutSection, fmt: int, features: list[str]
) -> PlateReadout:
    barcode, attempt = key
    columns: dict[str, _Content] = {}
    problems: list[tuple[int, str]] = []
    for grid in grids:
        name = "value" if section.features is None else grid.title["feature"]
        if name in columns:
            problems.append((grid.line, f"a second grid of {'this plate' if name == 'value' else name}, expected one"))
        elif name in features:
            columns[name] = _read_grid(grid, section, fmt)
            problems += columns[name].problems
    if section.output is not None and section.output not in columns:
        problems.append((grids[0].line, f"no grid of {section.output!r} (readout.output) for this plate"))
    runs = [grid.title.get("run") for grid in grids]
    if len(set(runs)) > 1:
        problems.append((grids[0].line, f"runs {', '.join(str(run) for run in runs)} of one plate, expected one run"))
    values = pd.DataFrame({"well": pd.Series(plate_wells(fmt), dtype=object)})
    values["line"] = next(iter(columns.values())).lines if columns else np.int64(grids[0].line)
    numbers = pd.DataFrame({name: content.values for name, content in columns.items()}, index=values.index)
    told = [Rejection(source, barcode, line, reason) for line, reason in sorted(problems)]
    run = runs[0] or PurePosixPath(source).stem
    table = pd.concat([values, numbers], axis=1)
    return PlateReadout(barcode, attempt, run, source, table, runs[0] is not None, first_problems(told))


def _read_grid(grid: Grid, section: ReadoutSection, fmt: int) -> _Content:
    """Values of one grid in the order of `plate_wells`; NaN all over where it has not the shape of the plate."""
    rows, columns = plate_shape(fmt)
    problems = _wrong_shape(grid, fmt)
    if problems:
        return _Content(np.full(fmt, np.nan), np.full(fmt, grid.line, dtype=np.int64), problems)
    placed = {place if row is None else row: (line, cells) for place, (line, row, cells) in enumerate(grid.rows)}
    lines = np.repeat([placed[row][0] for row in range(rows)], columns)
    cells = [cell for row in range(rows) for cell in placed[row][1][:columns]]
    values, bad = to_floats(cells, section.decimal)
    of = f"{grid.title['feature']} of " if "feature" in grid.title else ""
    wells = plate_wells(fmt)
    found = [(int(lines[at]), f"{of}{wells[at]}: {not_a_number(cells[at], section.decimal)}") for at in bad]
    return _Content(values, lines.astype(np.int64), found)


def _wrong_shape(grid: Grid, fmt: int) -> list[tuple[int, str]]:
    """Why a grid is not one of this plate format; nothing where it is."""
    rows, columns = plate_shape(fmt)
    widths = {len(cells) for _, _, cells in grid.rows}
    closed = all(cells[-1] == "" for _, _, cells in grid.rows if cells)  # every line ends with a delimiter
    width = max(widths, default=0)
    found = grid.columns or (width - 1 if closed and width != columns else width)
    if len(grid.rows) != rows or (len(widths) <= 1 and found != columns):
        hint = ". Write NA into wells without a value" if len(grid.rows) < rows and found == columns else ""
        return [(grid.line, f"grid of {len(grid.rows)} × {found} cells, expected {_shape(fmt)}{hint}")]
    if widths not in ({columns}, {columns + 1}) or (widths == {columns + 1} and not closed):
        usual = columns + 1 if closed and columns not in widths else columns
        wrong = [(line, len(cells)) for line, _, cells in grid.rows if len(cells) != usual]
        return [(line, f"{n} cells, expected {columns} in each row of the grid") for line, n in wrong]
    letters = [row for _, row, _ in grid.rows]
    if all(row is None for row in letters) or sorted(row for row in letters if row is not None) == list(range(rows)):
        return []
    return [(grid.line, f"row letters of the grid are not A to {row_letters(rows - 1)}, each once")]
