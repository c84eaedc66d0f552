"""Ω of a round: small estimates first, then the library chunk by chunk."""

from collections.abc import Mapping, Sequence

from flows.fitting import named, rows_of
from flows.following import follow
from flows.parts import Round
from tasks.campaigns.ledger import Run
from tasks.checkpoints.checkpointer import Outputs
from tasks.checkpoints.pieces import Place
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import DamagedCheckpoint
from tasks.ensembles.task import Model, Reference, chunk_bounds
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


def error_operator(
    this: Round,
    place: Place,
    model: Model,
    labels: Outputs,
    standing: Ref,
    forward: Outputs | None,
    before: Sequence[Reference],
) -> Omega:
    """Ω over the library.

    Args:
        this: The round.
        place: Where pieces are done.
        model: This round's ensemble.
        labels: Its labels.
        standing: Membership.
        forward: Forward residuals of the newest earlier ensemble on the new labels; None in the first round.
        before: The newest earlier ensemble, and the one before it where it is needed.
    """
    estimates = estimate(this, place, model, labels, forward, before)
    cp, config, terms = this.cp, this.config, estimates.terms(labels["noise"])
    bounds = chunk_bounds(rows_of(this.library), config.compute.chunk_rows)
    chunks = chunks_of(model, before)
    parts = follow(
        this,
        "omega/parts",
        {
            node: measure_node.submit(cp, place, node, config, chunk, terms, standing, rows)
            for (node, chunk), rows in zip(named("omega/parts/", 5, chunks).items(), bounds, strict=True)
        },
    )
    modes = modes_node.submit(cp, place, config, parts).result()
    placed = follow(
        this,
        "omega",
        {
            node: place_node.submit(cp, place, node, config, chunk, terms, part, modes)
            for (node, chunk), part in zip(named("omega/", 5, chunks).items(), parts, strict=True)
        },
    )
    return Omega(estimates, parts, modes, placed)


def estimate(
    this: Round,
    place: Place,
    model: Model,
    labels: Outputs,
    forward: Outputs | None,
    before: Sequence[Reference],
) -> Estimates:
    """The small estimates, side by side: calibration, cobias, and the difference where it is asked for."""
    cp, config = this.cp, this.config
    calibration = calibration_node.submit(cp, place, config, this.library, labels, model.fitted, model.chunks)
    cobias = difference = None
    if forward is not None:
        rounds = [(0, forward.refs), *earlier_residuals(this)]
        cobias = cobias_node.submit(cp, place, config, labels, rounds, before[0])
        if len(before) > 1:
            difference = difference_node.submit(cp, place, config, labels, forward, before[1])
    return Estimates(
        calibration.result(),
        None if cobias is None else cobias.result(),
        None if difference is None else difference.result(),
    )


def chunks_of(model: Model, before: Sequence[Reference]) -> list[Chunk]:
    """What Ω reads of each chunk of the library."""
    ensembles = [[chunk.refs for chunk in chunks] for chunks in (model.chunks, *(one.chunks for one in before))]
    return [Chunk(*said) for said in zip(*ensembles, strict=True)]


def earlier_residuals(this: Round) -> list[tuple[int, Mapping[str, Ref]]]:
    """Forward residuals of earlier rounds by their age in rounds, newest first; none where history does not count."""
    if not this.config.operators.decay:
        return []
    runs = [run for number in reversed(range(this.number)) if (run := this.ledger.last_decided(number))]
    return [(this.number - run.round_index, _residuals(this, run)) for run in runs if "forward" in run.lock.nodes]


def _residuals(this: Round, run: Run) -> Mapping[str, Ref]:
    node = run.lock.nodes["forward"]
    if this.cp.store.find(node.stage, node.key, take_back=not this.cp.plan).manifest is None:
        raise DamagedCheckpoint(
            f"the forward residuals of round {run.round_index} are missing or damaged. "
            f"Compute them again first: hybridscreen verify campaign.yaml --repair, or round --round {run.round_index}"
        )
    return node.outputs
