"""Nodes of the batches room: the proposal for the next round, and how it is written down for the lab."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.batches.compose import compose, initial_batch
from tasks.batches.layout import lay_out, perturbations_per_round
from tasks.batches.pool import BoolArray, PoolView
from tasks.batches.reagents import assign_reagents, read_reagents
from tasks.batches.slots import read_slots, with_random
from tasks.batches.spread import batch_coordinates
from tasks.batches.worklist import echo_picklist, generic_worklist
from tasks.campaigns.config import CampaignConfig, PlatesSection
from tasks.campaigns.designs import BATCH, PLATEMAP, table_text
from tasks.campaigns.ensemble_settings import STEPPED
from tasks.campaigns.vetoes import read_vetoes
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage, derive_seed
from tasks.checkpoints.lazy import open_rows
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.task import node_task
from tasks.ensembles.task import mean_prediction
from tasks.errors import UserError
from tasks.operators.stored_rows import StoredRows
from tasks.operators.task import Omega, coordinate_rows, load_rows

PROPOSE = Stage("propose", 5)


def check_batch(config: CampaignConfig, where: str) -> None:
    """Check what a configuration says of batches against what strategies can do.

    Args:
        config: The campaign.
        where: The configuration's file, for messages.

    Raises:
        UserError: An unknown strategy or option, one that is not defined for the readout, or one that needs a gradient
            that the model does not have.
    """
    for order in read_slots(config.batch.slots, config.batch.hits, config.readout.kind, f"{where}: batch.slots"):
        if "gradient" in order.needs and config.ensemble.model in STEPPED:
            raise UserError(
                f"{order.name} needs a model with a gradient",
                where=f"{where}: batch.slots",
                got=f"ensemble.model {config.ensemble.model}",
                expected="mlp, mc-dropout or gp",
            )


@node_task("propose batch")
def propose_batch(
    cp: Checkpointer,
    omega: Omega,
    fitted: Outputs,
    chunks: Sequence[Outputs],
    membership: Ref,
    training: Ref,
    library: Ref,
    config: CampaignConfig,
    next_round: int,
    returned: Sequence[str] = (),
    vetoed: Sequence[str] = (),
    caution: Ref | None = None,
) -> Outputs:
    """The batch for the next round and its plates. Blind to who is a hidden audit member until one is picked.

    `returned` are perturbations all of whose plates were abandoned: they may be chosen again, or are repeated first.
    `vetoed` are those of an earlier proposal of this round that a person does not want. `caution` (JSON): `share` of
    the slots' wells that are drawn at random instead, and `reason`; it may rest on training labels alone.
    """
    batch, plates = config.batch, config.plates
    seed = derive_seed(config.campaign.seed, "propose", next_round)
    inputs = {"membership": membership, "training": training, **_view_inputs(omega, fitted, chunks, library, config)}
    inputs |= {} if caution is None else {"caution": caution}

    def compute() -> dict[str, Payload]:
        standing = cp.load(membership)
        ids = standing["perturbation"].tolist()
        back = standing["perturbation"].isin(returned).to_numpy(bool)
        trained = standing["perturbation"].isin(cp.load(training)["perturbation"]).to_numpy(bool)
        chosen, hidden, barred = (standing[name].to_numpy(bool) for name in ("chosen", "hidden", "vetoed"))
        barred = barred | standing["perturbation"].isin(vetoed).to_numpy(bool)
        open_ = ~chosen | back
        view = pool_view(cp, omega, fitted, chunks, library, config, open_, ~open_ & ~trained)
        repeats = back if batch.abandoned == "repeat" else np.zeros_like(back)
        wells = perturbations_per_round(plates, plates.per_round)
        care: Mapping[str, Any] = {"share": 0.0} if caution is None else cp.load(caution)
        slots = with_random(batch.slots, care["share"])
        table = compose(view, hidden, slots, wells, batch.random_arm, seed, ids, back, batch.hits, barred, repeats)
        if care["share"] > 0:
            drawn = (table["arm"] == "strategy") & (table["slot"] == "random")
            table.loc[drawn, "reason"] += f"; {care['reason']}"
        platemap = _platemap(cp, library, config, table, view, ids, next_round, seed)
        return {"batch": Payload("table", table), "platemap": Payload("table", platemap)}

    params = {
        "batch": batch.model_dump(mode="json", include={"slots", "random_arm", "hits", "abandoned"}),
        "kind": config.readout.kind,
        # Volume and reagents too: they stand in the worklists, which are released as proposed.
        "plates": plates.model_dump(
            mode="json", exclude={"initial": True, "negcon": {"nominal"}, "poscon": {"nominal"}}
        ),
        "campaign": config.campaign.name,
        "round": next_round,
        "returned": sorted(returned),
        "reagents": config.library.reagents,
        **({"vetoed": sorted(vetoed)} if vetoed else {}),
    }
    return cp.run("propose", PROPOSE, compute, outputs=("batch", "platemap"), params=params, inputs=inputs, seed=seed)


def _platemap(
    cp: Checkpointer,
    library: Ref,
    config: CampaignConfig,
    table: pd.DataFrame,
    view: PoolView,
    ids: list[str],
    next_round: int,
    seed: int,
) -> pd.DataFrame:
    """Where the batch stands: the plates of a round alike in the view's leading directions."""
    rows = pd.Index(ids).get_indexer(pd.Index(table["perturbation"])).astype(np.int64)
    spread, plates = batch_coordinates(view, rows), config.plates
    platemap = lay_out(table, plates, plates.per_round, config.campaign.name, next_round, seed, spread)
    if config.library.reagents is None:
        return platemap
    return assign_reagents(platemap, read_reagents(cp.load(library).obs, config.library.reagents))


def _view_inputs(
    omega: Omega, fitted: Outputs, chunks: Sequence[Outputs], library: Ref, config: CampaignConfig
) -> dict[str, Ref]:
    """What strategies see is read from these; parts that only some of them need, only where a slot needs them.

    Members in any case: their mean is what strategies see of the predictions.
    """
    needs = _needs(config)
    inputs = {"omega eigenvalues": omega.modes["eigenvalues"]}
    inputs |= omega.inputs("chunks", "coordinates", "diagonal") | omega.inputs("parts", "noise")
    inputs |= {f"chunk {i:05d} members": chunk["members"] for i, chunk in enumerate(chunks)}
    if "embedding" in needs:
        inputs |= {f"chunk {i:05d} features": chunk["features"] for i, chunk in enumerate(chunks)}
    if "gradient" in needs:
        inputs |= {"tensors": fitted["tensors"], "facts": fitted["facts"]}
    if "features" in needs or config.library.reagents is not None:
        inputs["library"] = library
    return inputs


def _needs(config: CampaignConfig) -> set[str]:
    """Parts of the pool view that some slot needs."""
    orders = read_slots(config.batch.slots, config.batch.hits, config.readout.kind)
    return {need for order in orders for need in order.needs}


def pool_view(
    cp: Checkpointer,
    omega: Omega,
    fitted: Outputs,
    chunks: Sequence[Outputs],
    library: Ref,
    config: CampaignConfig,
    open_: BoolArray,
    pending: BoolArray,
) -> PoolView:
    """What strategies see. Of size N × members it holds no more than what a slot needs.

    Args:
        cp: The run.
        omega: Ω over the library.
        fitted: The ensemble.
        chunks: Its predictions.
        library: The library (N perturbations).
        config: The campaign.
        open_: (N,) who may be picked.
        pending: (N,) who has been chosen and is not in the model yet.
    """
    parts: dict[str, Any] = {}
    needs = _needs(config)
    if "members" in needs:
        parts["members"] = _all_members(cp, chunks, len(open_))
    if "features" in needs:
        parts["features"] = StoredRows.of_zarr(open_rows(cp.store, library))
    if "embedding" in needs:
        parts["embedding"] = StoredRows.of_refs(cp.store, [chunk["features"] for chunk in chunks])
    if "gradient" in needs:
        from tasks.ensembles.ensemble import ensemble_from_tensors  # with what they need, which the others do not
        from tasks.ensembles.gradient import VarianceGradient

        ensemble = ensemble_from_tensors(cp.load(fitted["tensors"]), cp.load(fitted["facts"]))
        parts["gradient"] = VarianceGradient(ensemble)
    return PoolView(
        coordinates=coordinate_rows(cp, omega),
        eigenvalues=cp.load(omega.modes["eigenvalues"]),
        variance=load_rows(cp, omega.refs("chunks", "diagonal")),
        noise=load_rows(cp, omega.refs("parts", "noise")),
        predictions=mean_prediction(cp, chunks),
        open=open_,
        pending=pending,
        kind=config.readout.kind,
        **parts,
    )


def _all_members(cp: Checkpointer, chunks: Sequence[Outputs], size: int) -> NDArray[Any]:
    """(N, …) what every member says of the library; beside it one chunk is in memory."""
    first, *others = (chunk["members"] for chunk in chunks)
    part = cp.load(first)
    said, start = np.empty((size, *part.shape[1:]), dtype=part.dtype), len(part)
    said[:start] = part
    for ref in others:
        part = cp.load(ref)
        said[start : start + len(part)] = part
        start += len(part)
    return said


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
    batch = initial_batch(len(ids), ids, audit, wells, seed, read_vetoes(annotation, config.batch.veto))
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
