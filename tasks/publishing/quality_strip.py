"""Control wells of every plate side by side, as a picture that needs no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.publishing.cards.wording import quantity, shorten
from tasks.readouts.robust import mad_sd

Array = npt.NDArray[np.float64]
WIDTH, HEIGHT = 1160, 250
LEFT, RIGHT, TOP, BOTTOM = 66, 10, 22, 22
_FENCE = 12.0
_MOST_RUN_NAMES = 12


@dataclass(frozen=True)
class Strip:
    """One panel, in pixels of a frame WIDTH × HEIGHT.

    Attributes:
        title: What is drawn.
        unit: Unit of the axis.
        dots: Role to path data; a dot is a line of length 0, the sample medians are dashes.
        ticks: Position from the top and text of each tick.
        runs: Left edge and name of each run; the name is empty where there are too many to be read.
        failed: Left edge and width of the bands behind plates that failed.
        titles: Left edge, width and text of what the pointer reads.
        beyond: Dots that lie outside the frame and are drawn at its rim.
    """

    title: str
    unit: str
    dots: dict[str, str]
    ticks: tuple[tuple[float, str], ...]
    runs: tuple[tuple[float, str], ...]
    failed: tuple[tuple[float, float], ...]
    titles: tuple[tuple[float, float, str], ...]
    beyond: int


def draw_strip(
    wells: pd.DataFrame,
    column: str,
    index: npt.NDArray[np.int64],
    names: Sequence[str],
    runs: Sequence[str],
    failed: Sequence[bool],
    title: str,
    unit: str,
) -> Strip | None:
    """Draw negcon, poscon and the sample median of every plate; None without a control that has a value.

    Args:
        wells: Table of wells, without wells that must not be shown.
        column: value or aligned.
        index: Plate of each well, in the order of the plates.
        names: Name of each plate, in run order.
        runs: Run of each plate.
        failed: Whether the plate failed.
        title: What is drawn.
        unit: Unit of the axis.
    """
    values = wells[column].to_numpy(dtype=np.float64, na_value=np.nan)
    role = wells["role"].to_numpy(dtype=object)
    finite = np.isfinite(values)
    found = {name: (index[(role == name) & finite], values[(role == name) & finite]) for name in ("negcon", "poscon")}
    shown = [v for _, v in found.values() if len(v)]
    if not shown:
        return None
    medians = pd.Series(values[finite & (role == "sample")]).groupby(index[finite & (role == "sample")]).median()
    low, high = _frame([*shown, medians.to_numpy(np.float64)])
    step = (WIDTH - LEFT - RIGHT) / max(1, len(names))
    dots = {name: _dots(plate, v, step, low, high) for name, (plate, v) in found.items() if len(v)}
    heights = _heights(medians.to_numpy(np.float64), low, high)
    dots["sample"] = "".join(
        f"M{LEFT + step * (int(plate) + 0.15):.1f} {y:.1f}h{0.7 * step:.1f}"
        for plate, y in zip(medians.index, heights, strict=True)
    )
    return Strip(
        title=title,
        unit=unit,
        dots=dots,
        ticks=tuple((float(_heights(np.array([t]), low, high)[0]), quantity(t)) for t in _ticks(low, high)),
        runs=_runs(runs, step),
        failed=tuple((LEFT + step * number, step) for number, bad in enumerate(failed) if bad),
        titles=tuple(
            (LEFT + step * number, step, _reading(name, number, found, unit)) for number, name in enumerate(names)
        ),
        beyond=sum(int(((v < low) | (v > high)).sum()) for v in shown),
    )


def _frame(groups: list[Array]) -> tuple[float, float]:
    """Ends of the axis: all values, but none further than 12 robust sd from the median of its own kind."""
    ends = []
    for values in groups:
        if len(values):
            centre, reach = float(np.median(values)), _FENCE * mad_sd(values)
            near = values[np.abs(values - centre) <= reach] if reach > 0 else values
            ends += [float(near.min()), float(near.max())]
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _heights(values: Array, low: float, high: float) -> Array:
    """Pixels from the top; what is outside lies on the rim."""
    return np.asarray(TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - np.clip((values - low) / (high - low), 0.0, 1.0)))


def _dots(plate: npt.NDArray[np.int64], values: Array, step: float, low: float, high: float) -> str:
    """Dots of one role, those of one plate side by side in the order of their wells."""
    order = np.argsort(plate, kind="stable")
    plate, values = plate[order], values[order]
    first = np.searchsorted(plate, plate, "left")
    count = np.searchsorted(plate, plate, "right") - first
    spread = 0.5 + 0.5 * ((np.arange(len(plate)) - first + 0.5) / count - 0.5)
    x = LEFT + step * (plate + spread)
    return "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x, _heights(values, low, high), strict=True))


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers between the ends."""
    size = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(size))
    step = float(next(m * power for m in (1, 2, 5, 10) if m * power >= size))
    return [round(float(k * step), 12) for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _runs(runs: Sequence[str], step: float) -> tuple[tuple[float, str], ...]:
    starts = [number for number, run in enumerate(runs) if number == 0 or runs[number - 1] != run]
    named = len(starts) <= _MOST_RUN_NAMES
    return tuple((LEFT + step * number, shorten(runs[number], 14) if named else "") for number in starts)


def _reading(name: str, plate: int, found: dict[str, tuple[npt.NDArray[np.int64], Array]], unit: str) -> str:
    parts = [name]
    for role, (index, values) in found.items():
        mine = values[index == plate]
        if len(mine):
            wells = "1 well" if len(mine) == 1 else f"median of {len(mine)}"
            parts.append(f"{role} {quantity(float(np.median(mine)), unit)} ({wells})")
    return ", ".join(parts)
