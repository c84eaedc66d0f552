"""Lines that say plate, well and values, whatever file they come from, become plates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.campaigns.config import ReadoutColumns, ReadoutSection
from tasks.campaigns.ids import USABLE, usable
from tasks.errors import UserError
from tasks.readouts.formats.plate import TEXTS, PlateReadout
from tasks.readouts.rejections import RejectedInput, Rejection
from tasks.readouts.wells import normalise_well

ATTEMPT = re.compile(r"[1-9][0-9]{0,5}")
_MOST_TOLD = 200
_NAMED_ATTEMPT = re.compile(r"(.+)\.attempt([1-9][0-9]{0,5})")
_TAKEN = frozenset({"barcode", "attempt", "run", "well", "row", "column", "role", "perturbation", "replicate", "value"})
_TAKEN |= {"line", "aligned", "reagent"}


@dataclass(frozen=True, eq=False)
class Lines:
    """Content of a file as columns of equal length, one entry per reported well.

    Attributes:
        source: Name of the file.
        numbers: Line of the file of each entry, or row of a table (n,).
        texts: Columns as text by their meaning: well, and where the file has them plate, run, attempt, perturbation,
            role.
        values: Numbers (n, columns), NaN where missing or refused.
        columns: Names of the columns of `values`.
        refused: Position in `values` (entry, column) of cells that are no finite number, with the reason.
    """

    source: str
    numbers: npt.NDArray[np.int64]
    texts: Mapping[str, Sequence[str]]
    values: npt.NDArray[np.float64]
    columns: Sequence[str]
    refused: Mapping[tuple[int, int], str] = field(default_factory=dict)


def refuse(source: str, reason: str, line: int | None = None) -> RejectedInput:
    """A file that is refused as a whole, for one reason."""
    return RejectedInput(f"file {source} refused", [Rejection(source, "", line, reason)])


def names_from_file(source: str) -> tuple[str, int]:
    """Barcode and attempt that the name of a file says: its stem, and 1 unless the stem ends in `.attempt2`."""
    stem = PurePosixPath(source).stem
    named = _NAMED_ATTEMPT.fullmatch(stem)
    return (named[1], int(named[2])) if named else (stem, 1)


def chosen_columns(names: Sequence[str], section: ReadoutSection, source: str, line: int | None = None) -> list[str]:
    """Columns with numbers that the configuration asks for, in the order of the file.

    Args:
        names: All columns of the file that could hold numbers.
        section: Its `features` and `output`, or its value column.
        source: Name of the file, for messages.
        line: Line of the header, for messages.

    Raises:
        RejectedInput: A pattern matches no column, the output is not among the columns, a column is there twice, or it
            has a name that tables of wells need themselves.
    """
    if section.features is None:
        return [str(section.columns.value)]
    unmatched = [pattern for pattern in section.features if not any(fnmatchcase(name, pattern) for name in names)]
    if unmatched:
        raise refuse(source, f"no column matches {', '.join(map(repr, unmatched))} of readout.features", line)
    chosen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in section.features)]
    if section.output not in chosen:
        raise refuse(source, f"no column {section.output!r} (readout.output) among the features", line)
    double = next((name for name in chosen if chosen.count(name) > 1), None) if len(set(chosen)) < len(chosen) else None
    if double is not None:
        raise refuse(source, f"column {double!r} stands there more than once", line)
    taken = sorted(set(chosen) & _TAKEN)
    if taken:
        raise refuse(
            source, f"a feature cannot be called {taken[0]!r}: tables of wells have a column of that name", line
        )
    return chosen


def meanings(columns: ReadoutColumns) -> dict[str, str | int]:
    """Configured column by what it means; the value column is left out.

    In files without a header a column that has no position is not there.
    """
    named = {name: column for name, column in columns if name != "value"}
    return {name: column for name, column in named.items() if isinstance(column, int) or not columns.positional}


def missing_columns(header: Sequence[str], section: ReadoutSection) -> list[str]:
    """Needed columns that a header lacks, and columns that it spells with other capitals.

    The plate column is needed where its name is configured; otherwise the file's name may stand for it.
    """
    columns = section.columns
    needed = ["well"] + (["plate"] if columns.plate != ReadoutColumns().plate else [])
    wanted = [str(getattr(columns, name)) for name in needed]
    wanted += [str(columns.value)] if section.features is None else []
    optional = [str(column) for column in meanings(columns).values() if str(column) not in header]
    folded = {cell.casefold() for cell in header}
    lacking = [column for column in wanted if column not in header]
    return lacking + [column for column in optional if column not in lacking and column.casefold() in folded]


def to_plates(lines: Lines, section: ReadoutSection, fmt: int) -> list[PlateReadout]:
    """Plates of a file, by barcode and attempt.

    Raises:
        RejectedInput: There is no line, or a line does not say which plate attempt it belongs to.
    """
    n = len(lines.numbers)
    if not n:
        raise refuse(lines.source, "no data line, expected one line per well")
    barcode, attempt = names_from_file(lines.source)
    barcodes = lines.texts.get("plate") or [barcode] * n
    attempts = lines.texts.get("attempt") or [str(attempt)] * n
    _check_plates(lines, barcodes, attempts, section)
    groups: dict[tuple[str, str], list[int]] = {}
    for at, key in enumerate(zip(barcodes, attempts, strict=True)):
        groups.setdefault(key, []).append(at)
    numbered = sorted(((name, int(text)), members) for (name, text), members in groups.items())
    return [_plate(lines, key, members, section, fmt) for key, members in numbered]


def _check_plates(lines: Lines, barcodes: Sequence[str], attempts: Sequence[str], section: ReadoutSection) -> None:
    wrong = {text for text in set(attempts) if not ATTEMPT.fullmatch(text)}
    unseen = {text for text in set(barcodes) if text and not usable(text)}
    if not wrong and not unseen and all(barcodes):
        return
    problems = []
    for at, (barcode, attempt) in enumerate(zip(barcodes, attempts, strict=True)):
        line = int(lines.numbers[at])
        if not barcode:
            reason = f"empty cell in column {section.columns.plate!r}, expected a barcode"
            problems.append(Rejection(lines.source, "", line, reason))
        if barcode in unseen:
            problems.append(Rejection(lines.source, "", line, f"barcode {barcode[:60]!r}, expected {USABLE}"))
        if attempt in wrong:
            reason = f"attempt is {attempt[:60]!r}, expected a whole number from 1"
            problems.append(Rejection(lines.source, barcode, line, reason))
    raise RejectedInput(f"file {lines.source} refused", problems)


def _plate(lines: Lines, key: tuple[str, int], members: list[int], section: ReadoutSection, fmt: int) -> PlateReadout:
    """One plate; what is wrong with its lines becomes its problems."""
    barcode, attempt = key
    found: list[tuple[int, str]] = []
    wells = _wells(lines, members, fmt, found)
    rows = list(wells.values())
    whole = members if len(members) < len(lines.numbers) else range(len(members))
    if lines.refused:
        inside = set(whole)
        found += [(at, f"{_of(lines, column)}{why}") for (at, column), why in lines.refused.items() if at in inside]
    run = _run(lines, members, section, found)
    values = pd.DataFrame(lines.values[rows], columns=list(lines.columns))
    values.insert(0, "well", pd.Series(list(wells), dtype=object))
    values.insert(1, "line", lines.numbers[rows])
    for name in TEXTS:
        if name in lines.texts:
            values[name] = pd.Series([lines.texts[name][at] for at in rows], dtype=object)
    problems = [Rejection(lines.source, barcode, int(lines.numbers[at]), why) for at, why in sorted(found)]
    return PlateReadout(barcode, attempt, run, lines.source, values, "run" in lines.texts, first_problems(problems))


def first_problems(problems: Sequence[Rejection]) -> tuple[Rejection, ...]:
    """The problems of a plate; of very many only the first, and how many more there are."""
    if len(problems) <= _MOST_TOLD:
        return tuple(problems)
    told, last = problems[:_MOST_TOLD], problems[-1]
    more = f"and {len(problems) - _MOST_TOLD} more problems of this plate, the last one on line {last.line}"
    return (*told, Rejection(last.source, last.plate, None, more))


def _of(lines: Lines, column: int) -> str:
    return f"{lines.columns[column]}: " if len(lines.columns) > 1 else ""


def _wells(lines: Lines, members: Sequence[int], fmt: int, found: list[tuple[int, str]]) -> dict[str, int]:
    """Entry of each well; wells that are none, or named twice, go to `found`."""
    texts = lines.texts["well"]
    wells: dict[str, int] = {}
    for at in members:
        try:
            well = normalise_well(texts[at], fmt)
        except UserError as error:
            found.append((at, str(error)))
            continue
        first = wells.setdefault(well, at)
        if first != at:
            line = lines.numbers[first]
            found.append((at, f"well named twice, got {well} here and on line {line}, expected one line a well"))
    return wells


def _run(lines: Lines, members: Sequence[int], section: ReadoutSection, found: list[tuple[int, str]]) -> str:
    """The run that all lines of a plate attempt name; it was processed once."""
    runs = lines.texts.get("run")
    if runs is None:
        return PurePosixPath(lines.source).stem
    first = members[0]
    if len({runs[at] for at in members}) == 1 and runs[first]:
        if not usable(runs[first]):
            found.append((first, f"run {runs[first][:60]!r}, expected {USABLE}"))
        return runs[first]
    for at in members:
        if not runs[at]:
            found.append((at, f"empty cell in column {section.columns.run!r}, expected the name of a run"))
        elif runs[at] != runs[first]:
            known = f"{runs[first]!r} as on line {lines.numbers[first]}"
            found.append((at, f"run {runs[at]!r}, expected {known} of the same plate attempt"))
    return runs[first]
