"""The plate configuration of cellHTS2: rules that say what stands in which well."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from tasks.errors import UserError
from tasks.readouts.layouts.model import Role
from tasks.readouts.layouts.source import Line, Source, read_table, read_text, whole_number
from tasks.readouts.wells import normalise_well, plate_wells

_HEADER = re.compile(r"(Wells|Plates):\s*([0-9]{1,9})\s*")
_EVERYTHING = "*"
_LONGEST = 60  # characters of a pattern: the time that one takes can grow with every part of it
T = TypeVar("T")


def read_plateconf(
    source: Source, name: str, plates: Sequence[int], contents: Mapping[str, Role], fmt: int
) -> dict[int, dict[str, Role]]:
    """Role of every well of every plate.

    Two lines `Wells:` and `Plates:` stand above a table of rules (Plate, Well, Content). A rule holds where its two
    patterns fit, and the last one that fits a well holds. `*` fits everything; a number fits that plate, a well that
    well; anything else is a regular expression that is searched for in the number or the name.

    Args:
        source: The layout's files.
        name: Name of the file.
        plates: Numbers of all plates.
        contents: Role by content, in lower case.
        fmt: Wells of a plate.

    Raises:
        UserError: The two numbers are missing or others, a rule fits nothing or has an unknown content, or a well has
            no rule; names file and line.
    """
    _check_header(source, name, {"Wells": fmt, "Plates": len(plates)})
    roles: dict[int, dict[str, Role]] = {number: {} for number in plates}
    wells = plate_wells(fmt)
    for line in read_table(source, name, ("Plate", "Well", "Content"), skip=2).lines:
        content = line["Content"].lower()
        if content not in contents:
            raise UserError(
                "unknown content",
                where=line.where,
                got=repr(line["Content"]),
                expected=", ".join(contents),
                todo="Give its role in layout.controls, as {GFP: negcon}.",
            )
        fitting = _wells(line, wells, fmt)
        for number in _plates(line, plates):
            roles[number].update(dict.fromkeys(fitting, contents[content]))
    for number in plates:
        left = next((well for well in wells if well not in roles[number]), None)
        if left is not None:
            raise UserError("no rule says what stands in a well", where=name, got=f"plate {number}, well {left}")
    return roles


def _check_header(source: Source, name: str, expected: Mapping[str, int]) -> None:
    found: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(read_text(source, name).splitlines()[:2], start=1):
        match = _HEADER.fullmatch(line.strip())
        if match is not None:
            found[match[1]] = (int(match[2]), number)
    for word, count in expected.items():
        if word not in found:
            raise UserError(f"no line '{word}: …' among the first two", where=name, expected=f"{word}: {count}")
        if found[word][0] != count:
            hint = "plates.format" if word == "Wells" else "the plate list"
            raise UserError(
                f"another number of {word.lower()}",
                where=f"{name}, line {found[word][1]}",
                got=found[word][0],
                expected=f"{count}, as {hint} says",
            )


def _plates(line: Line, plates: Sequence[int]) -> list[int]:
    pattern = line["Plate"]
    if (only := whole_number(pattern)) is not None:
        fitting = [number for number in plates if number == only]
    else:
        fitting = [number for number in plates if _fits(line, "Plate", str(number))]
    return _some(fitting, line, "Plate", f"a pattern for some of the plates {plates[0]} to {plates[-1]}")


def _wells(line: Line, wells: Sequence[str], fmt: int) -> list[str]:
    pattern = line["Well"]
    if re.fullmatch(r"[A-Za-z]{1,2}[0-9]+", pattern):
        try:
            return [normalise_well(pattern, fmt)]
        except UserError as error:
            raise UserError(error.what, where=line.where, got=error.got, expected=error.expected) from error
    fitting = [well for well in wells if _fits(line, "Well", well)]
    return _some(fitting, line, "Well", f"a pattern for some of the wells {wells[0]} to {wells[-1]}")


def _some(fitting: list[T], line: Line, column: str, expected: str) -> list[T]:
    if not fitting:
        raise UserError("the rule fits nothing", where=line.where, got=f"{column} {line[column]!r}", expected=expected)
    return fitting


def _fits(line: Line, column: str, text: str) -> bool:
    """Whether a rule's pattern fits; as in cellHTS2 it may fit anywhere in the text."""
    pattern = line[column]
    if pattern == _EVERYTHING:
        return True
    if len(pattern) > _LONGEST:
        raise UserError("pattern too long", where=line.where, got=f"{column} of {len(pattern)} characters")
    try:
        expression = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError("not a pattern", where=line.where, got=f"{column} {pattern!r}: {error}") from error
    if expression.search("") is not None:
        raise UserError(
            "the pattern fits everything",
            where=line.where,
            got=f"{column} {pattern!r}",
            expected="* alone for everything, ^A for row A",
        )
    return expression.search(text) is not None
