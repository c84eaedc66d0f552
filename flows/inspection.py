"""Read-only looks at a campaign: where it stands, and its plates."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict

from flows.results import Plates, Result
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.designs import round_folder, stored_table
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.lifecycle import PlateState
from tasks.campaigns.marks import read_marks
from tasks.campaigns.plates import PlateRecord, marked, read_book
from tasks.checkpoints.record_files import stored_record

_RECORD = ["round", "barcode", "attempt", "run", "state", "reason"]


class RoundStatus(BaseModel):
    """One round in `status`."""

    model_config = ConfigDict(frozen=True)

    round: int
    plates: int
    wells: int
    states: dict[str, int]
    run: int | None = None
    bound: float | None = None
    estimate: float | None = None
    wells_used: int | None = None
    screen: str | None = None


class Status(Result):
    """Answer of `status`."""

    revision: int
    perturbations: int
    gamma: float
    rounds: list[RoundStatus]
    decision: dict[str, Any] | None
    repeats: list[str]
    uploads: int


def campaign_plates(ledger: Ledger) -> list[PlateRecord]:
    """Every attempt of every released plate, as the newest run saw it, and what a person has decided since."""
    designs = ledger.designs()
    finished = [run for design in designs for run in ledger.runs(design.round_index) if run.summary is not None]
    known: list[PlateRecord] = []
    if finished:
        known = read_book(ledger.storage, f"{finished[-1].folder}/plates.csv")
    judged = {record.barcode for record in known}
    for design in designs:
        platemap = stored_table(ledger.storage, design.platemap.uri)
        known += [
            PlateRecord(design.round_index, barcode, 1, "", PlateState.PLANNED, "not yet received")
            for barcode in sorted(set(platemap["barcode"]) - judged)
        ]
    marks = read_marks(ledger.storage, range(len(designs)))
    decided = {key: (mark.state, mark.note) for key, mark in marks.items()}
    return [marked(record, decided.get((record.barcode, record.attempt))) for record in known]


def list_plates(config: CampaignConfig) -> Plates:
    """State of every plate."""
    ledger = Ledger.of(config)
    ledger.require_open()
    rows = [{**asdict(record), "state": record.state.value} for record in campaign_plates(ledger)]
    return Plates(campaign=config.campaign.name, location=ledger.storage.url, plates=rows)


def campaign_status(config: CampaignConfig) -> Status:
    """Rounds, plates and their states, bound against γ, wells spent and saved."""
    ledger = Ledger.of(config)
    ledger.require_open()
    storage, designs = ledger.storage, ledger.designs()
    newest: dict[str, PlateRecord] = {}
    for record in campaign_plates(ledger):  # an earlier attempt that is used outweighs a later one that is not
        if record.barcode not in newest or not newest[record.barcode].state.is_used or record.state.is_used:
            newest[record.barcode] = record
    library, looks = ledger.library(), ledger.looks()
    decision = stored_record(storage, f"{looks[-1].folder}/decision.json", dict[str, Any]) if looks else None
    return Status(
        campaign=config.campaign.name,
        location=storage.url,
        revision=ledger.revisions()[-1],
        perturbations=(library.shape or (0,))[0] if library else 0,
        gamma=config.stopping.gamma,
        rounds=[_round_status(ledger, design.round_index, list(newest.values())) for design in designs],
        decision=decision,
        repeats=[record.barcode for record in newest.values() if record.state is PlateState.FAILED],
        uploads=len(storage.list("inbox")),
    )


def _round_status(ledger: Ledger, number: int, plates: Sequence[PlateRecord]) -> RoundStatus:
    platemap = stored_table(ledger.storage, f"{round_folder(number)}/design/platemap.csv")
    planned = platemap["barcode"].nunique()
    states = Counter(record.state.value for record in plates if record.round == number)
    run = ledger.last_decided(number)
    summary = dict(run.summary or {}) if run is not None else {}
    return RoundStatus(
        round=number,
        plates=planned,
        wells=int((platemap["role"] == "sample").sum()),
        states=dict(sorted(states.items())),
        **{name: summary.get(name) for name in ("run", "bound", "estimate", "wells_used", "screen")},
    )
