"""Card on the proposed batch: which perturbations, why, and where they stand on their plates."""

from __future__ import annotations

import pandas as pd

from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.accuracy import ARM_NAMES
from tasks.publishing.cards.parts import Card, Cell, PlatePicture, Swatch, Table
from tasks.publishing.cards.plate_pictures import CONTROL_COLOURS, draw_plate
from tasks.publishing.cards.wording import count, quantity, shorten, things
from tasks.publishing.report_data import ReportData

SHOWN_PICKS = 12
CONTROL_NAMES = {"negcon": "negative control", "poscon": "positive control", "empty": "empty"}


def batch_card(data: ReportData) -> Card:
    """The proposed batch, its legend and the plates."""
    title = "The proposed batch"
    if data.batch is None or data.batch.empty:
        why = "The campaign stops here." if data.decision["stop"] else "Nothing is left that could be chosen."
        return Card("batch", title, missing=f"No batch is proposed. {why}", wide=True)
    measure = data.batch[data.batch["action"] == "measure"]
    groups = group_names(data.batch)
    colours = group_colours(groups)
    pictures: tuple[PlatePicture, ...] = ()
    if data.platemap is not None:
        of = dict(zip(data.batch["perturbation"].astype(str), groups, strict=True))
        plates = data.platemap.groupby("barcode", sort=False)
        pictures = tuple(draw_plate(index, str(code), wells, of, colours) for index, (code, wells) in enumerate(plates))
    where = f" on {things(len(pictures), 'plate')}" if pictures else ""
    finding = f"{things(len(measure), 'perturbation')} to measure{where}."
    released = int((data.batch["action"] == "release").sum())
    if released:
        finding += (
            f" The strategy also reached {things(released, 'hidden audit member')}, measured already: "
            "released to training, without a new well."
        )
    return Card(
        "batch",
        title,
        finding,
        tables=(_picks(data, groups),),
        plates=pictures,
        legend=_legend(data, groups, colours),
        note="" if pictures else "No plate map was made for this batch.",
        wide=True,
    )


def group_names(batch: pd.DataFrame) -> list[str]:
    """The legend entry of every pick: the slot for strategic picks, the arm for the others."""
    return [
        str(slot) if arm == "strategy" else "random arm" if arm == "random" else ARM_NAMES.get(str(arm), str(arm))
        for arm, slot in zip(batch["arm"], batch["slot"], strict=True)
    ]


def group_colours(groups: list[str]) -> dict[str, str]:
    """A colour for each group in order of appearance; the random arm always orange."""
    fixed = {"random arm": fig.ORANGE, "audit set": fig.PURPLE}
    strategic = [name for name in dict.fromkeys(groups) if name not in fixed]
    series = [colour for colour in fig.SERIES if colour != fig.PURPLE]
    colours = {name: series[index % len(series)] for index, name in enumerate(strategic)}
    return colours | {name: colour for name, colour in fixed.items() if name in groups}


def _legend(data: ReportData, groups: list[str], colours: dict[str, str]) -> tuple[Swatch, ...]:
    """Groups with their counts, then the controls."""
    actions = list(data.batch["action"]) if data.batch is not None else []
    chosen = [group for group, action in zip(groups, actions, strict=True) if action == "measure"]
    entries = [Swatch(name, colour, count(chosen.count(name))) for name, colour in colours.items()]
    if data.platemap is not None:
        roles = data.platemap["role"].value_counts()
        entries += [
            Swatch(CONTROL_NAMES[role], colour, things(int(roles[role]), "well"))
            for role, colour in CONTROL_COLOURS.items()
            if role in roles
        ]
    return tuple(entries)


def _picks(data: ReportData, groups: list[str]) -> Table:
    """The first picks of every arm with their reasons."""
    assert data.batch is not None
    table = data.batch.assign(group=groups).sort_values(["rank"], kind="stable").head(SHOWN_PICKS)
    rows = tuple(
        (
            Cell(shorten(str(row.perturbation), 48), hint=str(row.perturbation)),
            Cell(str(row.group)),
            Cell(count(float(str(row.rank)) + 1)),
            Cell(quantity(_score(row.score), zeros=True)),
            Cell(str(row.reason)),
        )
        for row in table.itertuples()
    )
    return Table(
        ("perturbation", "chosen by", "rank", "score", "why"),
        rows,
        numeric=(2, 3),
        folded=f"The first {len(rows)} of {count(len(data.batch))} choices and their reasons",
    )


def _score(value: object) -> float | None:
    """The score as a number, None when the arm gives none."""
    number = float(str(value))
    return number if number == number else None
