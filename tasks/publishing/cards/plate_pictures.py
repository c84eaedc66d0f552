"""A plate as a picture: one SVG path a group, so that thirty plates stay light, and what the pointer reads."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tasks.errors import UserError
from tasks.publishing.cards.parts import PlatePicture
from tasks.publishing.cards.wording import shorten, things
from tasks.readouts.wells import PLATE_SHAPES, position_to_well

CONTROL_COLOURS = {"negcon": "#3b4652", "poscon": "#b3261e", "empty": "#eef1f4"}
CONTROL_SIGNS = {"negcon": "negative control", "poscon": "positive control", "empty": "empty well"}
_INSET = 0.08


def draw_plate(
    index: int,
    barcode: str,
    wells: pd.DataFrame,
    group_of: dict[str, str],
    colours: dict[str, str],
    why: dict[str, str],
) -> PlatePicture:
    """Draw one plate of a plate map.

    Args:
        index: Position of the plate in the report, for its element id.
        barcode: The plate's barcode.
        wells: (W, ...) the plate's rows of the plate map; W is 96, 384 or 1536 (or fewer rows of such a plate).
        group_of: Perturbation to the group that it is coloured by.
        colours: Group to colour.
        why: Perturbation to the reason why it was chosen.
    """
    rows, columns = _shape(barcode, wells)
    groups = list(colours) + list(CONTROL_SIGNS)
    members: dict[str, list[tuple[int, int]]] = {group: [] for group in groups}
    names, reasons = [""] * (rows * columns), [""] * (rows * columns)
    codes = [groups.index("empty")] * (rows * columns)
    for row, column, role, perturbation, slot in zip(
        wells["row"], wells["column"], wells["role"], wells["perturbation"], wells["slot"], strict=True
    ):
        group = str(role)
        if group == "sample":
            group = group_of.get(str(perturbation), str(slot))
            names[row * columns + column] = shorten(str(perturbation), 80)
            reasons[row * columns + column] = why.get(str(perturbation), "")
        if group not in members:
            raise UserError("a well belongs to no slot of the batch", where=f"plate {barcode}", got=repr(group))
        members[group].append((int(row), int(column)))
        codes[row * columns + column] = groups.index(group)
    every = colours | CONTROL_COLOURS
    return PlatePicture(
        key=f"plate-{index}",
        barcode=barcode,
        shown=shorten(barcode),
        summary=_summary(members),
        rows=rows,
        columns=columns,
        paths=tuple((every[group], _squares(places)) for group, places in members.items() if places),
        labels=_rim(rows, columns),
        payload=_payload(rows, columns, groups, codes) | {"names": names, "reasons": reasons},
    )


def _shape(barcode: str, wells: pd.DataFrame) -> tuple[int, int]:
    """The smallest standard plate that holds every well."""
    height, width = int(wells["row"].max()) + 1, int(wells["column"].max()) + 1
    for rows, columns in PLATE_SHAPES.values():
        if height <= rows and width <= columns:
            return rows, columns
    raise UserError(
        "a well lies outside every plate format", where=f"plate {barcode}", got=f"row {height}, column {width}"
    )


def _summary(members: dict[str, list[tuple[int, int]]]) -> str:
    """What stands on the plate, in words."""
    controls = len(members["negcon"]) + len(members["poscon"])
    filled = sum(len(places) for group, places in members.items() if group not in CONTROL_SIGNS)
    return f"{things(filled, 'sample')}, {things(controls, 'control')}"


def _squares(places: list[tuple[int, int]]) -> str:
    """Path data of unit squares, slightly inset."""
    side = 1 - 2 * _INSET
    return "".join(f"M{column + _INSET:g} {row + _INSET:g}h{side:g}v{side:g}h-{side:g}z" for row, column in places)


def _rim(rows: int, columns: int) -> tuple[tuple[float, float, str], ...]:
    """Row letters and column numbers, as many as a small picture can carry."""
    step = {8: 1, 16: 3, 32: 6}[rows]
    size = rim_size(rows)
    letters = tuple(
        (-0.45 * size, row + 0.5, position_to_well(row, 0, rows * columns)[:-2]) for row in range(0, rows, step)
    )
    numbers = tuple((column + 0.5, -0.5 * size, str(column + 1)) for column in range(0, columns, step))
    return letters + numbers


def rim_size(rows: int) -> float:
    """Height of the rim's text in wells: larger on plates with small wells."""
    return {8: 0.5, 16: 1.0, 32: 2.0}[rows]


def _payload(rows: int, columns: int, groups: list[str], codes: list[int]) -> dict[str, Any]:
    """What the script reads to say what the pointer is on."""
    signs = [CONTROL_SIGNS.get(group, group) for group in groups]
    return {"rows": rows, "columns": columns, "groups": signs, "codes": codes}
