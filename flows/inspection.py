"""Read-only looks at a campaign: where it stands, and whether everything stored is still what it was."""

import hashlib
import io
import json
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from flows.results import Result
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.designs import read_table, round_folder
from tasks.campaigns.ledger import Ledger
from tasks.checkpoints.progress import current_listener
from tasks.checkpoints.store import CheckpointStore


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


class Verified(Result):
    """Answer of `verify`."""

    files: int
    problems: list[str]


def campaign_status(config: CampaignConfig) -> Status:
    """Rounds, plates and their states, bound against γ, wells spent and saved."""
    ledger = Ledger.of(config)
    ledger.require_open()
    storage, designs = ledger.storage, ledger.designs()
    plates, newest = pd.DataFrame(columns=["round", "barcode", "attempt", "state"]), None
    for design in designs:
        finished = [run for run in ledger.runs(design.round_index) if run.summary is not None]
        if finished:
            newest = finished[-1]
    repeats: list[str] = []
    if newest is not None:
        plates = pd.read_csv(io.BytesIO(storage.read(f"{newest.folder}/plates.csv")), dtype=str)
        repeats = pd.read_csv(io.BytesIO(storage.read(f"{newest.folder}/repeats.csv")), dtype=str)["barcode"].tolist()
    library, looks = ledger.library(), ledger.looks()
    decision = json.loads(storage.read(f"{looks[-1].folder}/decision.json")) if looks else None
    return Status(
        campaign=config.campaign.name,
        location=storage.url,
        revision=ledger.revisions()[-1],
        perturbations=(library.shape or (0,))[0] if library else 0,
        gamma=config.stopping.gamma,
        rounds=[_round_status(ledger, design.round_index, plates) for design in designs],
        decision=decision,
        repeats=repeats,
        uploads=len(storage.list("inbox")),
    )


def _round_status(ledger: Ledger, number: int, plates: pd.DataFrame) -> RoundStatus:
    platemap = read_table(ledger.storage.read(f"{round_folder(number)}/design/platemap.csv").decode())
    planned = platemap["barcode"].nunique()
    known = plates[plates["round"] == str(number)].drop_duplicates("barcode", keep="last")
    states = {str(state): int(count) for state, count in known["state"].value_counts().sort_index().items()}
    run = ledger.last_decided(number)
    summary = dict(run.summary or {}) if run is not None else {}
    return RoundStatus(
        round=number,
        plates=planned,
        wells=int((platemap["role"] == "sample").sum()),
        states=states or {"planned": planned},
        **{name: summary.get(name) for name in ("run", "bound", "estimate", "wells_used", "screen")},
    )


def verify_campaign(config: CampaignConfig) -> Verified:
    """Re-read everything that carries a digest: checkpoints, library, designs and screens."""
    ledger = Ledger.of(config)
    ledger.require_open()
    store = CheckpointStore(ledger.storage)
    listener, problems, files = current_listener(), [], 0
    for path, manifest in store.manifests():
        listener.started(path)
        if manifest is None:
            problems.append(f"{path} is not a manifest")
            continue
        files += sum(len(payload.files) for payload in manifest.payloads.values())
        problems += store.damage(manifest)
    expected = _recorded_digests(ledger)
    found = ledger.storage.read_many(expected)
    for path, digest in expected.items():
        if path not in found:
            problems.append(f"{path} is missing")
        elif hashlib.sha256(found[path]).hexdigest() != digest:
            problems.append(f"{path} is damaged")
    return Verified(
        campaign=config.campaign.name, location=ledger.storage.url, files=files + len(expected), problems=problems
    )


def _recorded_digests(ledger: Ledger) -> dict[str, str]:
    """Path to digest of every file of the library, the designs and the published screens."""
    storage = ledger.storage
    stored = json.loads(storage.read("library/manifest.json"))
    expected = {f"{stored['uri']}/{name}": file["sha256"] for name, file in stored["files"].items()}
    folders = [f"{round_folder(design.round_index)}/design" for design in ledger.designs()]
    folders += [f"screens/{name}" for name in storage.folders("screens")]
    for folder in folders:
        record = f"{folder}/{'design' if folder.startswith('rounds') else 'manifest'}.json"
        if storage.exists(record):
            expected |= {
                f"{folder}/{name}": digest for name, digest in json.loads(storage.read(record))["files"].items()
            }
    return expected
