"""The replays of a campaign's round as pieces of work: from storage to storage, on any worker."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from tasks.assessing.observed import Observed, Way
from tasks.assessing.recipe import Labelled
from tasks.checkpoints.lazy import open_rows, read_names
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.store import CheckpointStore
from tasks.ensembles.recipe import plates_of
from tasks.errors import UserError
from tasks.operators.measurement import measurement_noise
from tasks.readouts.noise import NoiseModel

COLUMNS = ("arm", "labels", "row", "measured", "predicted", "sd", "informativeness", "baseline", "left", "repeat")


def replay_some(
    store: CheckpointStore, labelled: Labelled, way: Way, replicates: int, repeats: range, seed: int
) -> dict[str, Payload]:
    """Some repeats of the replay inside the training labels.

    Returns:
        `tested`: their tables. `facts`: `missing`, why there are none, or "".
    """
    from tasks.assessing.inner_replay import replay_once  # with PyTorch, which a round with nothing new does without

    observed = read_observed(store, labelled)
    noise = NoiseModel.model_validate(store.load(labelled.noise))
    kind: Literal["continuous", "binary"] = "binary" if way.kind == "binary" else "continuous"
    try:
        found = [
            replay_once(
                observed, way, lambda said: measurement_noise(noise, said, replicates, kind), number, seed
            ).tested
            for number in repeats
        ]
    except UserError as error:  # too few labels, or a strategy that cannot supply its batch: evidence like any other
        return {
            "tested": Payload("table", pd.DataFrame(columns=list(COLUMNS))),
            "facts": Payload("json", {"missing": f"Not known: {error}."}),
        }
    return {
        "tested": Payload("table", pd.concat(found, ignore_index=True)[list(COLUMNS)]),
        "facts": Payload("json", {"missing": ""}),
    }


def read_observed(store: CheckpointStore, labelled: Labelled) -> Observed:
    """Training labels with their features, noise and plates; round 0's were drawn at random."""
    from tasks.ensembles.pieces import read_rows

    table = store.load(labelled.training)
    standing = store.load(labelled.standing).set_index("perturbation")
    rows = read_names(store, labelled.library).get_indexer(pd.Index(table["perturbation"]))
    return Observed(
        read_rows(open_rows(store, labelled.library), rows),
        table["value"].to_numpy(dtype=float),
        table["variance"].to_numpy(dtype=float),
        plates_of(table["perturbation"], store.load(labelled.incidence)),
        standing["arm"].reindex(table["perturbation"]).eq("initial").to_numpy(bool),
    )
