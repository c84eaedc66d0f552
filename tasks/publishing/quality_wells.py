"""What the pictures of plates are drawn from: colour scales, layouts and values, packed small.

A value takes four bytes (little-endian float32, base64), so a thousand 384-well plates with both pictures take about
4 MB. What must not be shown is not packed at all.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.publishing.cards.wording import shorten
from tasks.readouts.wells import plate_shape

Array = npt.NDArray[np.float64]

#: Quantiles of all wells at which the colours end.
CLIP = (0.01, 0.99)
#: Above so many wells the names of perturbations are left out of the page.
MOST_NAMED = 150_000
_ROLES = {"sample": "s", "negcon": "n", "poscon": "p", "other": "o"}
_HIDDEN, _EMPTY = "h", "."


@dataclass(frozen=True)
class Scale:
    """One colour scale, shared by all plates.

    Attributes:
        low: Value at the lower end.
        high: Value at the upper end, above `low`.
        beyond: Wells outside, which take the colour of the end.
        wells: Wells with a value.
        spread: End of the scale of deviations (row, column and position medians), which runs from −spread to spread.
    """

    low: float
    high: float
    beyond: int
    wells: int
    spread: float


@dataclass(frozen=True)
class PlateValues:
    """One kind of value (raw or aligned) on every plate.

    Attributes:
        scale: The colour scale; None when there is no value at all.
        grids: (P, rows, columns) values, NaN where there is none or none to be shown.
        rows: (P, rows) median of a row's samples less the plate's; NaN without samples.
        columns: (P, columns) the same for columns.
        typical: (rows, columns) median over plates of each position's samples less their plate's; NaN below 3 plates.
    """

    scale: Scale | None
    grids: Array
    rows: Array
    columns: Array
    typical: Array


def roles_of(
    wells: pd.DataFrame, index: npt.NDArray[np.int64], plates: int, fmt: int, blank: frozenset[str]
) -> list[str]:
    """One string a plate, one letter a well, row by row: s n p o, h for hidden audit wells, a dot for empty ones."""
    height, width = plate_shape(fmt)
    letters = np.full((plates, height, width), _EMPTY, dtype="<U1")
    hidden = wells["perturbation"].isin(blank).to_numpy()
    found = np.where(hidden, _HIDDEN, wells["role"].map(_ROLES).fillna("o").to_numpy(dtype=object)).astype("<U1")
    letters[index, wells["row"].to_numpy(), wells["column"].to_numpy()] = found
    return ["".join(plate.ravel()) for plate in letters]


def values_of(
    wells: pd.DataFrame, column: str, index: npt.NDArray[np.int64], plates: int, fmt: int, blank: frozenset[str]
) -> PlateValues:
    """Grids, scale and medians of one column of the table of wells.

    Args:
        wells: Table of wells.
        column: value or aligned.
        index: Plate of each well, 0..plates−1.
        plates: Number of plates P.
        fmt: Wells of a plate.
        blank: Perturbations of which nothing may be shown: not their values, not in any scale or median.
    """
    values = wells[column].to_numpy(dtype=np.float64, na_value=np.nan).copy()
    values[wells["perturbation"].isin(blank).to_numpy() | ~np.isfinite(values)] = np.nan
    place = (index, wells["row"].to_numpy(), wells["column"].to_numpy())
    grids = np.full((plates, *plate_shape(fmt)), np.nan)
    grids[place] = values
    samples = np.full_like(grids, np.nan)
    is_sample = (wells["role"] == "sample").to_numpy()
    samples[tuple(axis[is_sample] for axis in place)] = values[is_sample]
    centred = samples - _nanmedian(samples.reshape(plates, fmt), 1)[:, None, None]
    rows, columns = _nanmedian(centred, 2), _nanmedian(centred, 1)
    enough = np.isfinite(centred).sum(axis=0) >= 3
    typical = np.where(enough, _nanmedian(centred, 0), np.nan) if plates else np.full(plate_shape(fmt), np.nan)
    used = values[np.isfinite(values) & (wells["role"] != "other").to_numpy()]
    return PlateValues(_scale(used, [rows, columns, typical]), grids, rows, columns, typical)


def _nanmedian(values: Array, axis: int) -> Array:
    """Median of what is there, NaN where nothing is, without numpy's warning about that."""
    ordered = np.sort(values, axis=axis)  # NaN last
    n = np.isfinite(values).sum(axis=axis, keepdims=True)
    middle = [np.take_along_axis(ordered, np.maximum(place, 0), axis=axis) for place in ((n - 1) // 2, n // 2)]
    return np.asarray(np.where(n > 0, (middle[0] + middle[1]) / 2, np.nan).squeeze(axis))


def _scale(used: Array, deviations: Sequence[Array]) -> Scale | None:
    if not len(used):
        return None
    low, high = (float(end) for end in np.quantile(used, CLIP))
    if not low < high:
        low, high = float(used.min()), float(used.max())
    if not low < high:
        low, high = low - 0.5, low + 0.5
    away = np.abs(np.concatenate([table.ravel() for table in deviations]))
    away = away[np.isfinite(away)]
    spread = float(np.quantile(away, CLIP[1])) if len(away) else 0.0
    return Scale(low, high, int(((used < low) | (used > high)).sum()), len(used), spread or 1.0)


def pack(values: Array) -> str:
    """Numbers as base64 of little-endian float32, row by row; what float32 cannot hold becomes its largest number."""
    limit = float(np.finfo(np.float32).max)
    return base64.b64encode(np.clip(values, -limit, limit).astype("<f4").tobytes()).decode("ascii")


def payload(
    wells: pd.DataFrame,
    index: npt.NDArray[np.int64],
    keys: Sequence[str],
    fmt: int,
    kinds: dict[str, PlateValues],
    blank: frozenset[str],
) -> dict[str, Any]:
    """Everything that the page's script draws. Layouts and lists of names that plates share stand in it once."""
    height, width = plate_shape(fmt)
    layouts: dict[str, int] = {}
    names: dict[tuple[str, ...], int] = {}
    named = len(wells) <= MOST_NAMED
    plates = []
    for number, roles in enumerate(roles_of(wells, index, len(keys), fmt, blank)):
        plate: dict[str, Any] = {"key": keys[number], "layout": layouts.setdefault(roles, len(layouts))}
        if named:
            found = _names(wells[index == number], height, width)
            plate["names"] = names.setdefault(found, len(names))
        for kind, values in kinds.items():
            if np.isfinite(values.grids[number]).any():
                plate[kind] = [pack(table[number]) for table in (values.grids, values.rows, values.columns)]
        plates.append(plate)
    return {
        "rows": height,
        "columns": width,
        "layouts": list(layouts),
        "names": [list(found) for found in names],
        "plates": plates,
        "kinds": {
            kind: {"low": v.scale.low, "high": v.scale.high, "spread": v.scale.spread, "typical": pack(v.typical)}
            for kind, v in kinds.items()
            if v.scale is not None
        },
    }


def _names(plate: pd.DataFrame, height: int, width: int) -> tuple[str, ...]:
    """Perturbation of each well, row by row, empty where there is none."""
    found = [""] * (height * width)
    for row, column, perturbation in zip(plate["row"], plate["column"], plate["perturbation"], strict=True):
        found[int(row) * width + int(column)] = shorten(str(perturbation), 32)
    return tuple(found)
