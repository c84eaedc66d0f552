"""One cell of a replay: a whole campaign over a finished screen, by the nodes of a live one."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from typing import Any

import anndata
import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.batches.compose import compose, initial_batch
from tasks.batches.task import pool_view
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.membership import BoolArray, membership_table
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage, derive_seed
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.progress import Silence, current_listener, listening
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.ensembles.ensemble import ensemble_from_tensors
from tasks.ensembles.predicting import predict
from tasks.ensembles.prediction import Prediction
from tasks.ensembles.task import Model, Reference, mean_prediction
from tasks.replays.figures import judge_errors, judge_screen
from tasks.replays.readings import read_labels
from tasks.replays.rounds import Past, error_operator, learn, look_forward
from tasks.replays.screens import Screen, as_screen, classes, split
from tasks.replays.settings import ArmSection, NoiseSection, ReplayConfig

_STATED = Stage("replay/stated", 1)


@dataclass(frozen=True)
class Cell:
    """One campaign of a replay: all that its result depends on, beside the screen.

    Attributes:
        config: The replay.
        arm: How batches are chosen.
        noise: Noise to add to the screen.
        seed: Of the split and of the campaign.
    """

    config: ReplayConfig
    arm: ArmSection
    noise: NoiseSection | None
    seed: int

    def campaign(self) -> CampaignConfig:
        """The configuration of a live campaign that does the same."""
        config, readout = self.config, self.config.readout
        kind: dict[str, Any] = {"kind": readout.kind, "tolerance": readout.tolerance}
        if readout.kind == "binary":
            kind = {"kind": "binary", "threshold": 0.5}  # classes are 0 and 1 already
        batch = self.arm.model_dump(include={"slots", "operator", "hits"})
        replicates = self.noise.replicates if self.noise else 1
        return CampaignConfig.model_validate(
            {
                "campaign": {"name": "replay", "seed": derive_seed(self.seed, "campaign") % 2**32},
                "library": {"uri": "screen"},
                "readout": kind,
                "plates": {"negcon": {"wells": ["A01"]}, "replicates": replicates},
                "ensemble": config.ensemble.model_dump(),
                "operators": (self.arm.operators or config.operators).model_dump(),
                "batch": {**batch, "random_arm": 0.0, "audit": 0.0},
                "compute": config.compute.model_dump(include={"device", "group_members", "chunk_rows"}),
            }
        )


def play(store: CheckpointStore, node: str, screen: Ref, cell: Cell) -> dict[str, Payload]:
    """Play one campaign.

    What its nodes compute lies in a temporary folder and goes with it; only the cell's own tables are kept.

    Args:
        store: Where the screen lies.
        node: Under which progress is told.
        screen: The finished screen.
        cell: What is played.

    Returns:
        `figures`: a row a round (round, labels, wells, and see `figures`). `picks`: round, perturbation, slot, rank.
    """
    config = cell.config
    pool, test = split(classes(as_screen(store.load(screen)), config.readout), config.protocol, cell.seed)
    outer = current_listener()
    with tempfile.TemporaryDirectory(prefix="hybridscreen-replay-") as folder, listening(Silence()):
        campaign = _Campaign(Checkpointer(CheckpointStore(Storage(folder), verify="size")), cell, pool, test)
        rounds = config.protocol.rounds
        figures = []
        for number in range(rounds + 1):
            found = campaign.round(number, last=number == rounds)
            figures.append({"round": number, **found})
            outer.advanced(node, number + 1, rounds + 1)
            if campaign.exhausted:
                break
    picks = [table.assign(round=number) for number, table in enumerate(campaign.designs)]
    columns = ["round", "perturbation", "slot", "rank"]
    return {
        "figures": Payload("table", pd.DataFrame(figures)),
        "picks": Payload("table", pd.concat(picks, ignore_index=True)[columns]),
    }


class _Campaign:
    """A campaign under way: its designs and what earlier rounds left."""

    def __init__(self, cp: Checkpointer, cell: Cell, pool: Screen, test: Screen) -> None:
        self.cell, self.pool, self.test, self.config = cell, pool, test, cell.campaign()
        self._cp, self._past = cp, Past()
        self.exhausted = False
        obs = pd.DataFrame(index=pd.Index(pool.ids, name="perturbation"))
        self._library = self._state("library", -1, Payload("anndata", anndata.AnnData(X=pool.features, obs=obs)))
        seed = derive_seed(self.config.campaign.seed, "open")
        self.designs = [initial_batch(len(pool), pool.ids, 0, cell.config.protocol.initial, seed)]

    def round(self, number: int, *, last: bool) -> dict[str, float]:
        """Learn, judge, and unless it is the last round choose the next batch; answers with the figures."""
        cp = self._cp = Checkpointer(self._cp.store)  # reasons and records of earlier rounds are of no use here
        nobody = np.zeros(len(self.pool), dtype=bool)
        labels, read = self._labels(number)
        table = membership_table(self.pool.ids, read, nobody)
        chosen = table["chosen"].to_numpy(dtype=bool)
        model = learn(cp, self.config, self._library, labels, number)
        figures = self._judge(model, chosen)
        self.exhausted = bool(chosen.all())
        if last or self.exhausted:
            return figures
        standing = self._state("membership", number, Payload("table", table))
        before = self._past if len(read[number]) else replace(self._past, references=())
        forward, past = look_forward(cp, self._library, labels, standing, before, number)
        omega = error_operator(cp, self.config, self._library, labels, standing, model, forward, past, number)
        view = pool_view(cp, omega, model.fitted, model.chunks, self._library, self.config, ~chosen, nobody)
        batch, wells = self.config.batch, self.cell.config.protocol.batch
        seed = derive_seed(self.config.campaign.seed, "propose", number + 1)
        self.designs.append(compose(view, nobody, batch.slots, wells, 0.0, seed, self.pool.ids, hits=batch.hits))
        self._past = Past((Reference(number, model.chunks, labels["training"]), *past.references[:1]), past.residuals)
        return figures

    def _labels(self, number: int) -> tuple[Outputs, dict[int, pd.DataFrame]]:
        """Labels and noise so far, and what was read of each batch: what failed plates held may be chosen again."""
        index = pd.Index(self.pool.ids)
        batches = {
            round_index: index.get_indexer(pd.Index(design["perturbation"])).astype(np.int64)
            for round_index, design in enumerate(self.designs)
        }
        found = read_labels(self.pool, batches, self.cell.noise, self.config.readout, self.cell.seed)
        payloads = {
            "training": Payload("table", found.labels.table),
            "incidence": Payload("table", found.labels.incidence),
            "noise": Payload("json", found.noise.model_dump(mode="json")),
        }
        refs = {name: self._state(name, number, payload) for name, payload in payloads.items()}
        read = {
            round_index: design[design["perturbation"].isin(found.read[round_index])]
            for round_index, design in enumerate(self.designs)
        }
        return Outputs(refs, False, ""), read

    def _judge(self, model: Model, chosen: BoolArray) -> dict[str, float]:
        readout = self.cell.config.readout
        mean = mean_prediction(self._cp, model.chunks)
        test = self._predict(model, self.test.features) if len(self.test) else None
        if test is None:
            sd = np.concatenate([self._cp.load(chunk["sd"]) for chunk in model.chunks])[:, :1].ravel()
            left = ~chosen
            errors = judge_errors(mean[left], sd[left] if sd.size else sd, self.pool.truth[left], readout)
        else:
            errors = judge_errors(test.mean, test.sd[:, :1].ravel().astype(np.float64), self.test.truth, readout)
        asked = sum(len(design) for design in self.designs)
        wells = asked * (self.cell.noise.replicates if self.cell.noise else 1)
        found = {"labels": int(chosen.sum()), "wells": wells, **errors}
        return found | judge_screen(mean, self.pool, chosen, readout)

    def _predict(self, model: Model, features: npt.NDArray[np.float32]) -> Prediction:
        tensors, facts = (self._cp.load(model.fitted[name]) for name in ("tensors", "facts"))
        return predict(ensemble_from_tensors(tensors, facts), features)

    def _state(self, node: str, number: int, payload: Payload) -> Ref:
        """Something that no node computed here: kept for the nodes that read it."""
        stated = self._cp.run(
            f"{node}/{number}",
            _STATED,
            lambda: {"value": payload},
            outputs=("value",),
            params={"what": node, "round": number},
        )
        return stated["value"]
