"""A round of a replayed campaign: the nodes of a live round, called one after the other and without Prefect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.campaigns.config import CampaignConfig
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import derive_seed
from tasks.checkpoints.pieces import CallingThread
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.task import plainly
from tasks.ensembles.recipe import Learnt, Recipe
from tasks.ensembles.task import (
    Model,
    Reference,
    chunk_bounds,
    device_of,
    fit_group,
    forward_residuals,
    join_ensemble,
    member_groups,
    predict_chunk,
)
from tasks.operators.pieces import Chunk
from tasks.operators.task import (
    Estimates,
    Omega,
    calibration_node,
    cobias_node,
    difference_node,
    measure_node,
    modes_node,
    place_node,
)

_HERE = CallingThread()


@dataclass(frozen=True)
class Past:
    """What earlier rounds leave to a round.

    Attributes:
        references: The ensembles of the last two rounds, newest first.
        residuals: Forward residuals by the round whose labels they are of.
    """

    references: tuple[Reference, ...] = ()
    residuals: Mapping[int, Mapping[str, Ref]] = field(default_factory=dict)


def learn(cp: Checkpointer, config: CampaignConfig, library: Ref, labels: Outputs, number: int) -> Model:
    """Fit the ensemble of a round and ask it about the library."""
    recipe = Recipe(config.readout, config.ensemble, config.operators, derive_seed(config.campaign.seed, "fit", number))
    device = device_of(recipe, config.compute)
    learnt = Learnt(library, labels["training"], labels["incidence"])
    groups = member_groups(recipe, config.compute)
    parts = [
        plainly(fit_group)(cp, _HERE, f"fit/{k:03d}", learnt, recipe, group, device) for k, group in enumerate(groups)
    ]
    fitted = plainly(join_ensemble)(cp, _HERE, "ensemble", learnt, recipe, parts)
    chunks = [
        plainly(predict_chunk)(cp, _HERE, f"predict/{k:05d}", library, fitted, rows, device)
        for k, rows in enumerate(_bounds(config, library))
    ]
    return Model(fitted, chunks)


def look_forward(
    cp: Checkpointer, library: Ref, labels: Outputs, standing: Ref, past: Past, number: int
) -> tuple[Outputs | None, Past]:
    """Forward residuals of the last ensemble on this round's labels; None in the first round."""
    if not past.references:
        return None, past
    forward = plainly(forward_residuals)(cp, "forward", library, past.references[0], labels["training"], standing)
    return forward, Past(past.references, {**past.residuals, number: forward.refs})


def error_operator(
    cp: Checkpointer,
    config: CampaignConfig,
    library: Ref,
    labels: Outputs,
    standing: Ref,
    model: Model,
    forward: Outputs | None,
    past: Past,
    number: int,
) -> Omega:
    """Ω of a round over the library."""
    calibration = plainly(calibration_node)(cp, _HERE, config, library, labels, model.fitted, model.chunks)
    cobias = difference = None
    before = past.references if config.batch.operator == "difference" else past.references[:1]
    if forward is not None:
        counted = past.residuals if config.operators.decay else {number: forward.refs}
        rounds = [(number - one, counted[one]) for one in sorted(counted, reverse=True)]
        cobias = plainly(cobias_node)(cp, _HERE, config, labels, rounds, before[0])
        if len(before) > 1:
            difference = plainly(difference_node)(cp, _HERE, config, labels, forward, before[1])
    estimates = Estimates(calibration, cobias, difference)
    terms = estimates.terms(labels["noise"])
    said = [[chunk.refs for chunk in chunks] for chunks in (model.chunks, *(one.chunks for one in before))]
    chunks = [Chunk(*each) for each in zip(*said, strict=True)]
    parts = [
        plainly(measure_node)(cp, _HERE, f"omega/parts/{k:05d}", config, chunk, terms, standing, rows)
        for k, (chunk, rows) in enumerate(zip(chunks, _bounds(config, library), strict=True))
    ]
    modes = plainly(modes_node)(cp, _HERE, config, parts)
    placed = [
        plainly(place_node)(cp, _HERE, f"omega/{k:05d}", config, chunk, terms, part, modes)
        for k, (chunk, part) in enumerate(zip(chunks, parts, strict=True))
    ]
    return Omega(estimates, parts, modes, placed)


def _bounds(config: CampaignConfig, library: Ref) -> list[tuple[int, int]]:
    return chunk_bounds(library.shape[0] if library.shape else 0, config.compute.chunk_rows)
