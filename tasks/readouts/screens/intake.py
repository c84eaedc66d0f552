"""The plate files of a finished screen, named by its layout or by a pattern, as plates with the layout's barcodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from tasks.campaigns.config import ReadoutSection
from tasks.errors import UserError
from tasks.readouts.ingest import PlateReadout, RejectedInput, Rejection, read_plate_file, resolve_copies
from tasks.readouts.layouts import ScreenLayout, Source

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Intake:
    """Plates of a screen, copies resolved, and what was refused."""

    plates: tuple[PlateReadout, ...]
    rejections: tuple[Rejection, ...]


def take_in_files(
    layout: ScreenLayout,
    names: Sequence[str],
    source: Source,
    readout: ReadoutSection,
    fmt: int,
    run: str,
    progress: Progress = lambda done, total: None,
) -> Intake:
    """Read the plate files of a screen.

    A file that the layout names holds one plate, which takes barcode, attempt and run from the layout, whatever the
    instrument called it. Other files say themselves which plates they hold.

    Args:
        layout: The screen's layout.
        names: Files to read; none if the layout names them.
        source: Gives the content of a file.
        readout: Form and columns of the files.
        fmt: Wells of a plate.
        run: Run of plates of which neither layout nor file says it.
        progress: Told how many files are done, and of how many.

    Raises:
        UserError: A file that the layout names is missing, or nothing names the files, or both do.
    """
    named = {str(row.file): row for row in layout.files.itertuples() if row.file}
    if bool(named) == bool(names):
        what = "the layout names its files, and screen.files does too" if named else "nothing names the plate files"
        raise UserError(what, where="screen.files", todo="Take it out." if named else "Give a pattern, as *.csv.")
    plates: list[PlateReadout] = []
    rejections: list[Rejection] = []
    files = sorted(named or names)
    for done, name in enumerate(files):
        progress(done, len(files))
        try:
            found = read_plate_file(_content(source, name, named), name, readout, fmt)
            plates += [_of_layout(found, named[name])] if named else found
        except RejectedInput as error:
            rejections += error.rejections
    kept, refused = resolve_copies([_with_run(plate, layout.files, run) for plate in plates])
    return Intake(tuple(kept), (*rejections, *refused))


def _content(source: Source, name: str, named: Mapping[str, object]) -> bytes:
    try:
        return source(name)
    except (FileNotFoundError, KeyError) as error:
        where = getattr(named.get(name), "line", "")
        raise UserError("the plate file is missing", where=where or name, got=name) from error


def _of_layout(found: Sequence[PlateReadout], row: object) -> PlateReadout:
    """The one plate of a file under the barcode that the layout gives it."""
    (name, line, barcode) = (str(getattr(row, field)) for field in ("file", "line", "barcode"))
    if len(found) != 1:
        plates = ", ".join(plate.barcode for plate in found)
        reason = f"{len(found)} plates ({plates}), expected the one of {line}"
        raise RejectedInput("file refused", [Rejection(name, barcode, None, reason)])
    problems = tuple(replace(problem, plate=barcode) for problem in found[0].problems)
    return replace(found[0], barcode=barcode, attempt=1, problems=problems)


def _with_run(plate: PlateReadout, files: pd.DataFrame, run: str) -> PlateReadout:
    """The plate with the run that the layout says, else the file, else the screen's."""
    told = files.loc[files["barcode"] == plate.barcode, "run"]
    known = str(told.iloc[0]) if len(told) else ""
    if plate.run_written and known and plate.run != known:
        problem = Rejection(plate.source, plate.barcode, None, f"run {plate.run!r}, expected {known!r} of the layout")
        return replace(plate, problems=(*plate.problems, problem))
    return replace(plate, run=known or (plate.run if plate.run_written else run), run_written=True)
