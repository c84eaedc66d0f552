"""Card on the proposed batch: which perturbations, why, and where they stand on their plates."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from tasks.campaigns.answers import Answer
from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.accuracy import ARM_NAMES
from tasks.publishing.cards.parts import Card, Cell, PlatePicture, Swatch, Table
from tasks.publishing.cards.plate_pictures import CONTROL_COLOURS, draw_plate
from tasks.publishing.cards.wording import NOTHING, as_float, as_text, count, quantity, sentence, shorten, span, things
from tasks.publishing.report_data import ReportData

SHOWN_PICKS = 500
_ANSWERED = {"approve": "approved", "veto": "vetoed some of it", "reject": "rejected"}
CONTROL_NAMES = {"negcon": "negative control", "poscon": "positive control", "empty": "empty"}


def batch_card(data: ReportData) -> Card:
    """The proposed batch, its legend and the plates."""
    title = "The proposed batch"
    if data.batch is None or data.batch.empty:
        why = "The campaign stops here." if data.decision["stop"] else "Nothing is left that could be chosen."
        if data.answers:
            return Card("batch", title, f"No batch is proposed. {why}", tables=_answers(data.answers), wide=True)
        return Card("batch", title, missing=f"No batch is proposed. {why}", wide=True)
    measure = data.batch[data.batch["action"] == "measure"]
    groups = group_names(data.batch)
    colours = group_colours(groups)
    pictures: tuple[PlatePicture, ...] = ()
    if data.platemap is not None:
        of = dict(zip(data.batch["perturbation"].astype(str), groups, strict=True))
        plates = data.platemap.groupby("barcode", sort=False)
        reasons = dict(zip(data.batch["perturbation"].astype(str), data.batch["reason"].map(as_text), strict=True))
        pictures = tuple(
            draw_plate(index, str(code), wells, of, colours, reasons) for index, (code, wells) in enumerate(plates)
        )
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
        tables=(_arms(data.batch, groups), _picks(data, groups), *_answers(data.answers)),
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


def _arms(batch: pd.DataFrame, groups: list[str]) -> Table:
    """What each slot and arm gave: how many, the span of their scores, and why the first one was chosen."""
    rows = []
    for name, mine in batch.assign(group=groups).groupby("group", sort=False):
        scores = [score for value in mine["score"] if (score := as_float(value)) is not None]
        first = mine.sort_values("rank", kind="stable").iloc[0]
        rows.append(
            (
                Cell(str(name)),
                Cell(count(int((mine["action"] == "measure").sum()))),
                Cell(count(int((mine["action"] == "release").sum()))),
                Cell(span(scores) if any(scores) else NOTHING),
                Cell(sentence(as_text(first["reason"]))),
            )
        )
    headers = ("chosen by", "to measure", "released", "score", "why its first choice was chosen")
    return Table(headers, tuple(rows), numeric=(1, 2), listed=True)


def _picks(data: ReportData, groups: list[str]) -> Table:
    """Every choice with its reason and its wells; of very many the first."""
    assert data.batch is not None
    places = well_names(data.platemap)
    table = data.batch.assign(group=groups).sort_values(["rank"], kind="stable").head(SHOWN_PICKS)
    rows = tuple(
        (
            Cell(shorten(str(row.perturbation), 48), hint=str(row.perturbation)),
            Cell(str(row.group)),
            Cell(count(float(str(row.rank)) + 1)),
            Cell(quantity(as_float(row.score), zeros=True)),
            Cell(places.get(str(row.perturbation), "measured already" if row.action == "release" else NOTHING)),
            Cell(sentence(as_text(row.reason))),
        )
        for row in table.itertuples()
    )
    rest = "" if len(rows) == len(data.batch) else " (the others: batch.csv)"
    which = f"All {count(len(rows))}" if not rest else f"The first {count(len(rows))} of {count(len(data.batch))}"
    headers = ("perturbation", "chosen by", "rank", "score", "wells", "why")
    return Table(headers, rows, numeric=(2, 3), folded=f"{which} choices: why, and on which plate{rest}", listed=True)


def _answers(answers: Sequence[Answer]) -> tuple[Table, ...]:
    """What people answered to earlier proposals; no table where nobody did."""
    rows = tuple(
        (
            Cell(f"{each.round}, run {each.run:02d}"),
            Cell(_ANSWERED[each.decision]),
            Cell(", ".join(shorten(name, 48) for name in each.vetoed) or NOTHING),
            Cell(each.note or NOTHING),
            Cell(each.at[:16].replace("T", " ")),
        )
        for each in answers
    )
    headers = ("proposed by round", "answer", "perturbations", "why", "when (UTC)")
    return (Table(headers, rows, caption="What people answered to proposed batches", listed=True),) if rows else ()


def well_names(platemap: pd.DataFrame | None) -> dict[str, str]:
    """Wells of each perturbation, as "P01 B03, P02 C07": the last part of the barcode where that tells plates apart."""
    if platemap is None:
        return {}
    samples = platemap[platemap["role"] == "sample"].astype({"barcode": str, "perturbation": str})
    short = {barcode: barcode.rsplit("-", 1)[-1] for barcode in samples["barcode"].unique()}
    named = short if len(set(short.values())) == len(short) else {barcode: shorten(barcode, 24) for barcode in short}
    wells = samples["barcode"].map(named) + " " + samples["well"].astype(str)
    joined = wells.groupby(samples["perturbation"]).agg(", ".join)
    return {str(name): str(text) for name, text in joined.items()}
