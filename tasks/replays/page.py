"""The page of a replay: does an arm beat the control, where, from when on, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from tasks.publishing.cards.parts import Card, Link, Section
from tasks.publishing.templating import render_page
from tasks.replays.page_curves import curves_card, rounds_card
from tasks.replays.page_front import front_card
from tasks.replays.page_tables import (
    against_card,
    cost_card,
    overall_card,
    percent,
    ranks_card,
    reached_card,
    words_card,
)
from tasks.replays.settings import CONTROL, NoiseSection, ReplayConfig
from tasks.replays.summary import Compared, verdict


@dataclass(frozen=True, eq=False)
class ReplayData:
    """What the page is drawn from.

    Attributes:
        config: The replay.
        number: Which result of it this is, from 1.
        table: All figures, tidy.
        compared: Comparisons by figure, the decisive one first.
        front: Model error and hits (`hits_front`).
        costs: Seconds and memory of each cell.
        versions: Packages that computed it.
        machine: Where.
    """

    config: ReplayConfig
    number: int
    table: pd.DataFrame
    compared: Mapping[str, Compared]
    front: pd.DataFrame
    costs: pd.DataFrame
    versions: Mapping[str, str]
    machine: str


def render_replay(data: ReplayData) -> str:
    """Draw the page: one HTML document that needs nothing else. The same data gives the same text."""
    first = next(iter(data.compared.values()))
    tone, label, headline, reason = _verdict(first)
    return render_page(
        "replay.html.j2",
        _sections(data),
        name=data.config.replay.name,
        number=data.number,
        tone=tone,
        label=label,
        headline=headline,
        reason=reason,
        attention=_attention(first),
        facts=_facts(data),
    )


def _sections(data: ReplayData) -> Sequence[Section]:
    first, *others = data.compared.values()
    return (
        Section("answer", "Against random", (overall_card(first), against_card(first))),
        Section(
            "curves",
            "Learning",
            tuple(curves_card(data.table, first.measure, screen.name) for screen in data.config.screens),
        ),
        Section("rounds", "By round", tuple(rounds_card(first, screen.name) for screen in data.config.screens)),
        Section("saved", "Labels and ranks", (reached_card(first), ranks_card(first))),
        Section(
            "hits", "Model or hits", tuple(front_card(data.front, name) for name in dict.fromkeys(data.front["screen"]))
        ),
        Section("others", "Other figures", tuple(against_card(each) for each in others)),
        Section("cost", "Cost", (cost_card(data.costs),)),
        Section("files", "Files and words", (_files(), words_card())),
    )


def _verdict(first: Compared) -> tuple[str, str, str, str]:
    """Tone, label, headline and reason, from the decisive figure."""
    overall = first.overall.sort_values("difference", ascending=first.measure.low)
    best = overall.iloc[0].to_dict()
    answer = verdict(best, first.measure)
    several = int(best["screens"]) > 1
    where = f"over {int(best['screens'])} screens" if several else "on this screen"
    size = f"{percent(best, first.measure)} ({percent(best, first.measure, ends=True)})"
    reason = f"{first.measure.title}, mean over rounds and seeds {where}: {size}, interval of 95%."
    if answer == "better":
        return "pass", "Active selection wins", f"{best['arm']} beats {CONTROL} {where}", reason
    if answer == "worse":
        return "warn", "Random wins", f"No arm beats {CONTROL} {where}", reason
    return "info", "No clear winner", f"No arm is clearly better than {CONTROL} {where}", reason


def _attention(first: Compared) -> list[str]:
    """Where an arm loses, and what is not known well enough."""
    rows = first.screens.assign(answer=[verdict(row, first.measure) for row in first.screens.to_dict("records")])
    notes = [
        f"{row['arm']} loses to {CONTROL} on {row['screen']}: {percent(row, first.measure)}."
        for row in rows[rows["answer"] == "worse"].to_dict("records")
    ]
    unclear = int((rows["answer"] == "unclear").sum())
    if unclear:
        seeds = int(rows["seeds"].min())
        notes.append(
            f"{unclear} of {len(rows)} comparisons are unclear with {seeds} seeds: more seeds narrow the intervals, "
            "and what is computed already is not computed again."
        )
    return notes


def _facts(data: ReplayData) -> list[tuple[str, str]]:
    config, protocol = data.config, data.config.protocol
    labels = protocol.initial + protocol.rounds * protocol.batch
    seeds = f"{len(config.seeds)}, from {config.seeds.start}"
    packages = ", ".join(f"{name} {version}" for name, version in sorted(data.versions.items()))
    return [
        ("Protocol", f"{protocol.initial} to {labels} labels in {protocol.rounds} batches of {protocol.batch}"),
        ("Test", f"{protocol.test:.0%} of each screen, drawn anew for each seed"),
        ("Seeds", seeds),
        ("Noise added", _noise(config)),
        ("Predictor", f"{config.ensemble.model}, {config.ensemble.members} members"),
        ("Computed on", data.machine),
        ("Packages", packages),
    ]


def _noise(config: ReplayConfig) -> str:
    """What was added to screens, each said once."""
    told: dict[str, list[str]] = {}
    for screen in config.screens:
        noise = config.noise_of(screen)
        told.setdefault("none" if noise is None else _in_words(noise), []).append(screen.name)
    return "; ".join(what if len(told) == 1 else f"{', '.join(names)}: {what}" for what, names in told.items())


def _in_words(noise: NoiseSection) -> str:
    slope = f" · exp({noise.slope:g}·value)" if noise.slope else ""
    return (
        f"sd {noise.level:g}{slope} of a well and {noise.plate:g} of a plate [sds of the screen]; "
        f"{noise.replicates} wells each, {noise.wells} samples and 2 × {noise.controls} controls a plate, "
        f"{noise.failures:.0%} of plates fail"
    )


def _files() -> Card:
    links = (
        Link("figures.parquet", "figures.parquet", "every figure of every round of every campaign, tidy"),
        Link("summary.json", "summary.json", "the comparisons on this page"),
        Link("replay.yaml", "replay.yaml", "the configuration, every default written out"),
    )
    return Card("files", "Files", links=links)
