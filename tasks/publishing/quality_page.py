"""The page on plate quality: one HTML file with every plate of a round or a screen, before and after alignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.errors import UserError
from tasks.publishing.cards.quality import METRICS, thresholds
from tasks.publishing.cards.wording import count, quantity
from tasks.publishing.quality_strip import Strip, draw_strip
from tasks.publishing.quality_summary import finding, key_figures, said_of_all
from tasks.publishing.quality_table import PlateRow, column_names, plate_rows, worst_first
from tasks.publishing.quality_wells import CLIP, MOST_NAMED, PlateValues, payload, values_of
from tasks.publishing.templating import as_json, environment
from tasks.readouts.ingest import WELL_COLUMNS
from tasks.readouts.wells import plate_shape, position_to_well

#: Kind of value to its column in the table of wells, in the order in which they are shown.
KINDS = {"raw": "value", "aligned": "aligned"}
#: Wells drawn at most: about 11 bytes each in the page.
MOST_WELLS = 800_000


@dataclass(frozen=True, eq=False)
class QualityPageData:
    """Everything that the page shows.

    Args:
        title: Name of the campaign or screen.
        run: What is shown of it, as `Round 3 · run 1`.
        unit: Unit of the aligned value, may be empty.
        transform: What was done to the instrument's values, as `log2`; empty for nothing.
        fmt: Wells of a plate: 96, 384 or 1536.
        wells: Table of wells; with the column aligned where there is one, NaN on plates that were not aligned.
        qualities: One dictionary per plate attempt (`PlateQuality` as JSON).
        states: Plate attempt (`barcode.attempt`) to its state and a note; where absent the quality decides.
        notes: Sentences on how this was computed, shown as they are.
        blank: Perturbations whose readouts must not be seen (hidden audit members): drawn as hidden audit wells, in no
            scale and no median, and their values are not in the file.
        most_wells: Plates are drawn, failed ones first, until so many wells are reached; all are in the table.

    Raises:
        UserError: A column of the wells is missing, or a well lies outside the plate format.
    """

    title: str
    run: str
    unit: str
    transform: str
    fmt: int
    wells: pd.DataFrame
    qualities: Sequence[Mapping[str, Any]]
    states: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    blank: frozenset[str] = frozenset()
    most_wells: int = MOST_WELLS

    def __post_init__(self) -> None:
        absent = [name for name in WELL_COLUMNS if name not in self.wells.columns]
        if absent:
            raise UserError(f"the table of wells lacks {', '.join(absent)}", where="quality page")
        height, width = plate_shape(self.fmt)
        outside = self.wells[(self.wells["row"] >= height) | (self.wells["column"] >= width)]
        if len(outside):
            first = outside.iloc[0]
            raise UserError(
                "a well lies outside the plate format",
                where=f"plate {first['barcode']}",
                got=first["well"],
                expected=f"a well of a {self.fmt}-well plate",
            )

    def kinds(self) -> dict[str, str]:
        """Kinds of value that there are, and their columns."""
        return {kind: column for kind, column in KINDS.items() if column in self.wells.columns}

    def name_of(self, kind: str) -> str:
        """What the values of a kind are, with their unit."""
        if kind == "raw":
            return f"{self.transform or 'as read'}, before alignment"
        return f"{self.unit}, after alignment" if self.unit else "after alignment"


@dataclass(frozen=True)
class Legend:
    """The colour scale of one kind of value, in words."""

    kind: str
    title: str
    low: str
    middle: str
    high: str
    spread: str
    note: str


def render_quality_page(data: QualityPageData) -> str:
    """Draw the page.

    Returns:
        One HTML document that loads nothing. The same data give the same text. Whatever comes from the data is escaped.
        Pictures of plates need JavaScript; the tables and the strips of controls do not.
    """
    wells, attempts = _in_run_order(data)
    sizes = {str(key): int(size) for key, size in wells["key"].value_counts().items()}
    rows = plate_rows(attempts, data.qualities, data.states, sizes, data.most_wells)
    drawn = [row.key for row in rows if row.drawn]
    shown = wells[wells["key"].isin(drawn)]
    places = _places(shown, drawn)
    kinds = {
        kind: values_of(shown, column, places, len(drawn), data.fmt, data.blank)
        for kind, column in data.kinds().items()
    }
    shape = plate_shape(data.fmt)
    return (
        environment()
        .get_template("quality.html.j2")
        .render(
            data=data,
            finding=finding(rows),
            common=said_of_all(data.qualities),
            figures=key_figures(rows, data.qualities),
            headers=[METRICS[name] for name in column_names(data.qualities)],
            rows=worst_first(rows),
            strips=_strips(data, wells, rows),
            legends=_legends(data, kinds),
            limits=thresholds(data.qualities),
            shape=shape,
            last_row=position_to_well(shape[0] - 1, 0, data.fmt)[:-2],
            left_out=len(rows) - len(drawn),
            typical={kind: bool(np.isfinite(values.typical).any()) for kind, values in kinds.items()},
            hidden=bool(shown["perturbation"].isin(data.blank).any()),
            named=len(shown) <= MOST_NAMED,
            payload=as_json(payload(shown, places, drawn, data.fmt, kinds, data.blank)),
        )
    )


def _in_run_order(data: QualityPageData) -> tuple[pd.DataFrame, list[tuple[str, int, str]]]:
    """Wells with the column key, and every plate attempt as barcode, attempt and run: by run, barcode and attempt."""
    runs = {(str(quality["barcode"]), int(quality["attempt"])): str(quality["run"]) for quality in data.qualities}
    for barcode, attempt, run in data.wells[["barcode", "attempt", "run"]].drop_duplicates().itertuples(index=False):
        runs.setdefault((str(barcode), int(str(attempt))), str(run))
    attempts = sorted(((*plate, run) for plate, run in runs.items()), key=lambda a: (a[2], a[0], a[1]))
    wells = data.wells.assign(key=data.wells["barcode"].astype(str) + "." + data.wells["attempt"].astype(str))
    return wells.sort_values(["key", "row", "column"], kind="stable", ignore_index=True), attempts


def _places(wells: pd.DataFrame, keys: Sequence[str]) -> npt.NDArray[np.int64]:
    """Position of each well's plate among the keys."""
    return np.asarray(wells["key"].map({key: place for place, key in enumerate(keys)}), dtype=np.int64)


def _strips(data: QualityPageData, wells: pd.DataFrame, rows: Sequence[PlateRow]) -> list[Strip]:
    """Control wells of all plates, before and after alignment."""
    seen = wells[~wells["perturbation"].isin(data.blank)]
    places = _places(seen, [row.key for row in rows])
    strips = [
        draw_strip(
            seen,
            column,
            places,
            [f"{row.title} attempt {row.attempt}, {row.state}" for row in rows],
            [row.run for row in rows],
            [row.failed for row in rows],
            "Before alignment" if kind == "raw" else "After alignment",
            (data.transform or "as read") if kind == "raw" else data.unit,
        )
        for kind, column in data.kinds().items()
    ]
    return [strip for strip in strips if strip is not None]


def _legends(data: QualityPageData, kinds: Mapping[str, PlateValues]) -> list[Legend]:
    legends = []
    for kind, values in kinds.items():
        if (scale := values.scale) is None:
            continue
        note = (
            f"One scale for all plates. The colours end at the {CLIP[0]:.0%} and {CLIP[1]:.0%} quantiles; "
            f"{count(scale.beyond)} of {count(scale.wells)} wells beyond have the colour of the end."
        )
        low, middle, high = (quantity(v) for v in (scale.low, (scale.low + scale.high) / 2, scale.high))
        legends.append(Legend(kind, data.name_of(kind), low, middle, high, quantity(scale.spread), note))
    return legends
