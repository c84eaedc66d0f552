"""Nodes of the batches room: the proposal for the next round, and how it is written down for the lab."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tasks.batches.compose import compose, initial_batch
from tasks.batches.layout import lay_out, perturbations_per_round
from tasks.batches.pool import PoolView
from tasks.batches.reagents import assign_reagents, read_reagents
from tasks.batches.worklist import echo_picklist, generic_worklist
from tasks.campaigns.config import CampaignConfig, PlatesSection
from tasks.campaigns.designs import BATCH, PLATEMAP, table_text
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage, derive_seed
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.task import node_task
from tasks.ensembles.task import chunk_inputs, load_prediction

PROPOSE = Stage("propose", 2)


@node_task("propose batch")
def propose_batch(
    cp: Checkpointer,
    omega: Outputs,
    chunks: Sequence[Outputs],
    membership: Ref,
    library: Ref,
    config: CampaignConfig,
    next_round: int,
    returned: Sequence[str] = (),
) -> Outputs:
    """The batch for the next round and its plates. Blind to who is a hidden audit member until one is picked.

    `returned` are perturbations all of whose plates were abandoned: they may be chosen again.
    """
    batch, plates = config.batch, config.plates
    seed = derive_seed(config.campaign.seed, "propose", next_round)

    def compute() -> dict[str, Payload]:
        standing = cp.load(membership)
        back = standing["perturbation"].isin(returned).to_numpy(bool)
        open_rows = np.flatnonzero(~standing["chosen"].to_numpy(bool) | back)
        view = _pool_view(cp, omega, chunks, open_rows)
        wells = perturbations_per_round(plates, plates.per_round)
        hidden = standing["hidden"].to_numpy(bool)[open_rows]
        ids = standing["perturbation"].tolist()
        table = compose(view, hidden, batch.slots, wells, batch.random_arm, seed, ids, back[open_rows])
        platemap = lay_out(table, plates, plates.per_round, config.campaign.name, next_round, seed)
        if config.library.reagents is not None:
            platemap = assign_reagents(platemap, read_reagents(cp.load(library).obs, config.library.reagents))
        return {"batch": Payload("table", table), "platemap": Payload("table", platemap)}

    params = {
        "batch": batch.model_dump(mode="json", include={"slots", "random_arm"}),
        # Volume and reagents too: they stand in the worklists, which are released as proposed.
        "plates": plates.model_dump(
            mode="json", exclude={"initial": True, "negcon": {"nominal"}, "poscon": {"nominal"}}
        ),
        "campaign": config.campaign.name,
        "round": next_round,
        "returned": sorted(returned),
    }
    inputs = {**{f"omega {name}": omega[name] for name in ("coordinates", "eigenvalues", "variance")}}
    inputs |= {"membership": membership, **chunk_inputs(chunks)}
    if config.library.reagents is not None:
        inputs["library"], params["reagents"] = library, config.library.reagents
    return cp.run("propose", PROPOSE, compute, outputs=("batch", "platemap"), params=params, inputs=inputs, seed=seed)


def _pool_view(
    cp: Checkpointer, omega: Outputs, chunks: Sequence[Outputs], open_rows: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> PoolView:
    coordinates = cp.load(omega["coordinates"]).astype(np.float64)
    eigenvalues = cp.load(omega["eigenvalues"])
    said = load_prediction(cp, chunks)
    chosen = np.setdiff1d(np.arange(len(coordinates)), open_rows)
    return PoolView(
        index=open_rows,
        coordinates=coordinates[open_rows],
        loadings=coordinates[open_rows] / np.sqrt(eigenvalues),
        eigenvalues=eigenvalues,
        variance=cp.load(omega["variance"]).sum(axis=1)[open_rows],
        predictions=said.mean[open_rows],
        members=said.members[open_rows],
        observed_coordinates=coordinates[chosen],
    )


def initial_design(annotation: pd.DataFrame, config: CampaignConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Batch and plate map of round 0: the audit set and a random first training set.

    Args:
        annotation: Annotation of the library, indexed by perturbation.
        config: The campaign.
    """
    ids = annotation.index.tolist()
    seed = derive_seed(config.campaign.seed, "open")
    wells = perturbations_per_round(config.plates, config.plates.initial)
    audit = round(config.batch.audit * len(ids))
    batch = initial_batch(len(ids), ids, audit, wells, seed)
    platemap = lay_out(batch, config.plates, config.plates.initial, config.campaign.name, 0, seed)
    if config.library.reagents is not None:
        platemap = assign_reagents(platemap, read_reagents(annotation, config.library.reagents))
    return batch, platemap


def design_files(batch: pd.DataFrame, platemap: pd.DataFrame, plates: PlatesSection) -> dict[str, str]:
    """Files of a design by name: batch, plate map, and worklists for an Echo and for any liquid handler."""
    return {
        BATCH: table_text(batch),
        PLATEMAP: table_text(platemap),
        "worklist_echo.csv": table_text(echo_picklist(platemap, plates.transfer_nl, plates.reagents)),
        "worklist.csv": table_text(generic_worklist(platemap, plates.transfer_nl / 1000, plates.reagents)),
    }
