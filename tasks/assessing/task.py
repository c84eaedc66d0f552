"""Nodes of the assessing room: the library's features, replays inside the training labels, and the assessment."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from tasks.assessing.findings import Assessment
from tasks.assessing.observed import Way
from tasks.assessing.pieces import replay_some
from tasks.assessing.recipe import Labelled
from tasks.batches.task import PROPOSE
from tasks.campaigns.config import CampaignConfig
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage, derive_seed
from tasks.checkpoints.lazy import open_rows
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.pieces import Place
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import CheckpointStore
from tasks.checkpoints.task import node_task
from tasks.ensembles.task import FIT, PREDICT
from tasks.operators.stored_rows import StoredRows
from tasks.operators.task import CALIBRATION, Omega, load_rows

LIBRARY = Stage("assess-library", 1)
REPLAY = Stage("assess-replay", 3)
ASSESS = Stage("assess", 2)
#: What a replay inside the labels computes with: where one of these changes its version, it is another.
_WITHIN = (FIT, PREDICT, CALIBRATION, PROPOSE)


def way_of(config: CampaignConfig) -> Way:
    """How a campaign learns and chooses."""
    batch = config.batch
    return Way(
        config.ensemble, config.operators, batch.slots, batch.operator, config.readout.kind, batch.adaptive.repeats
    )


@node_task("assess library")
def assess_library(cp: Checkpointer, place: Place, library: Ref, config: CampaignConfig) -> Outputs:
    """Outliers and near-duplicates of the library: once a campaign."""
    seed = derive_seed(config.campaign.seed, "assess", "library")
    compute = partial(_look_at_library, cp.store, library, seed)
    return cp.run(
        "assess/library", LIBRARY, compute, outputs=("pool",), inputs={"library": library}, seed=seed, place=place
    )


def _look_at_library(store: CheckpointStore, library: Ref, seed: int) -> dict[str, Payload]:
    from tasks.assessing.pool import look_at_pool

    found = look_at_pool(StoredRows.of_zarr(open_rows(store, library), keep=0), seed)
    return {"pool": Payload("json", asdict(found))}


@node_task("assess replay", "{node}")
def assess_replay(
    cp: Checkpointer, place: Place, node: str, labelled: Labelled, config: CampaignConfig, repeats: range
) -> Outputs:
    """Some repeats of the replay inside the training labels."""
    seed, way = derive_seed(config.campaign.seed, "assess", "replay"), way_of(config)
    replicates = config.plates.replicates
    return cp.run(
        node,
        REPLAY,
        partial(replay_some, cp.store, labelled, way, replicates, repeats, seed),
        outputs=("tested", "facts"),
        params={
            "ensemble": config.ensemble,
            "operators": config.operators.model_dump(
                mode="json", include={"within", "sketch", "features", "gradients"}
            ),
            "slots": [slot.model_dump(mode="json") for slot in way.slots],
            "operator": way.operator,
            "kind": way.kind,
            "replicates": replicates,
            "repeats": [repeats.start, repeats.stop, way.repeats],
            "stages": {stage.name: stage.version for stage in _WITHIN},
        },
        inputs=labelled.inputs(),
        seed=seed,
        place=place,
    )


@node_task("assess")
def assess_round(
    cp: Checkpointer,
    labelled: Labelled,
    library: Outputs,
    replays: Sequence[Outputs],
    omega: Omega,
    config: CampaignConfig,
    round_index: int,
    share_before: float,
) -> Outputs:
    """Whether active selection is worth it, and how much of the next batch is drawn at random for it.

    Reads training labels alone: what it says moves the next batch.

    Args:
        cp: Runs the node.
        labelled: What the replays were made of.
        library: Outliers and near-duplicates.
        replays: The repeats.
        omega: Its diagonal and eigenvalues say how uneven the expected error is.
        config: The campaign.
        round_index: The round.
        share_before: Share of random picks after the round before.
    """
    way, seed = way_of(config), derive_seed(config.campaign.seed, "assess", round_index)
    only_one = "stopping rule lemma needs batches of one strategy" if "lemma" in config.stopping.rule else ""

    def compute() -> dict[str, Payload]:
        from tasks.assessing.caution import REASON, random_share

        found = _assess(cp, labelled, library, replays, omega, way, round_index, seed)
        share, why = random_share(found.difference, share_before, config.batch.adaptive, only_one)
        found = found.model_copy(update={"random_share": share, "random_why": why})
        return {
            "assessment": Payload("json", found.model_dump(mode="json")),
            "caution": Payload("json", {"share": share, "reason": REASON}),
        }

    params: Mapping[str, Any] = {
        "slots": [slot.model_dump(mode="json") for slot in way.slots],
        "adaptive": config.batch.adaptive.model_dump(mode="json"),
        "kind": way.kind,
        "round": round_index,
        "share_before": share_before,
        "only_one": only_one,
    }
    inputs = {"training": labelled.training, "standing": labelled.standing, "pool": library["pool"]}
    inputs |= {"eigenvalues": omega.modes["eigenvalues"], **omega.inputs("chunks", "diagonal")}
    inputs |= {f"replay {i:03d} {name}": ref for i, one in enumerate(replays) for name, ref in one.refs.items()}
    return cp.run("assess", ASSESS, compute, outputs=("assessment", "caution"), params=params, inputs=inputs, seed=seed)


def _assess(
    cp: Checkpointer,
    labelled: Labelled,
    library: Outputs,
    replays: Sequence[Outputs],
    omega: Omega,
    way: Way,
    round_index: int,
    seed: int,
) -> Assessment:
    """The stored evidence, put together."""
    from tasks.assessing.ceiling import noise_ceiling
    from tasks.assessing.conclude import conclude
    from tasks.assessing.informativeness import spread
    from tasks.assessing.pool import PoolFacts
    from tasks.assessing.replay_evidence import weigh

    labels: pd.DataFrame = cp.load(labelled.training)
    standing: pd.DataFrame = cp.load(labelled.standing)
    missing = next((why for one in replays if (why := cp.load(one["facts"])["missing"])), "")
    tables = [] if missing else [cp.load(one["tested"]) for one in replays]
    evidence = weigh(pd.concat(tables), way.kind, len(labels), seed) if tables else None
    arms = standing.set_index("perturbation")["arm"].reindex(labels["perturbation"])
    drawn = labels[arms.eq("initial").to_numpy()]
    noise = drawn["value"].to_numpy(np.float64), drawn["variance"].to_numpy(np.float64)
    diagonal = load_rows(cp, omega.refs("chunks", "diagonal"))[~standing["chosen"].to_numpy(bool)]
    return conclude(
        "campaign",
        round_index,
        way,
        evidence,
        missing,
        noise_ceiling(*noise, way.kind, derive_seed(seed, "ceiling")),
        spread(diagonal, cp.load(omega.modes["eigenvalues"])),
        PoolFacts(**cp.load(library["pool"])),
        len(labels),
    )
