"""The ensemble of a round: fitted by groups of members, joined, and asked about the library chunk by chunk."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from flows.following import follow
from flows.parts import Round
from tasks.campaigns.ledger import Run
from tasks.checkpoints.keys import derive_seed
from tasks.checkpoints.pieces import Place
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import DamagedCheckpoint
from tasks.ensembles.recipe import Learnt, Recipe
from tasks.ensembles.task import (
    Model,
    Reference,
    chunk_bounds,
    device_of,
    fit_group,
    join_ensemble,
    member_groups,
    predict_chunk,
)

T = TypeVar("T")


def fit(this: Round, place: Place, prefix: str, labels: Mapping[str, Ref], round_index: int) -> Model:
    """Fit the ensemble of a round group by group, and predict the library chunk by chunk."""
    cp, config = this.cp, this.config
    seed = derive_seed(config.campaign.seed, "fit", round_index)
    recipe = Recipe(config.readout, config.ensemble, config.operators, seed)
    device = device_of(recipe, config.compute)
    learnt = Learnt(this.library, labels["training"], labels["incidence"])
    groups = named(f"{prefix}fit/", 3, member_groups(recipe, config.compute))
    parts = follow(
        this,
        f"{prefix}fit",
        {node: fit_group.submit(cp, place, node, learnt, recipe, group, device) for node, group in groups.items()},
    )
    fitted = join_ensemble.submit(cp, place, f"{prefix}ensemble", learnt, recipe, parts).result()
    bounds = named(f"{prefix}predict/", 5, chunk_bounds(rows_of(this.library), config.compute.chunk_rows))
    chunks = follow(
        this,
        f"{prefix}predict",
        {
            node: predict_chunk.submit(cp, place, node, this.library, fitted, rows, device)
            for node, rows in bounds.items()
        },
    )
    return Model(fitted, chunks)


def named(stem: str, digits: int, pieces: Sequence[T]) -> dict[str, T]:
    """Pieces of work by the names of their nodes."""
    return {f"{stem}{number:0{digits}d}": piece for number, piece in enumerate(pieces)}


def look_back(this: Round, place: Place) -> list[Reference]:
    """Newest earlier ensembles with the labels they had seen; their pieces are checkpoints already.

    One, or two where the difference operator is asked for; fewer in the first rounds.
    """
    names = ("reference/", "older/") if this.config.batch.operator == "difference" else ("reference/",)
    runs = [run for number in reversed(range(this.number)) if (run := this.ledger.last_decided(number))]
    found = []
    for prefix, run in zip(names, runs, strict=False):
        seen = readable_labels(this, run)
        model = fit(this, place, prefix, seen, run.round_index)
        found.append(Reference(run.round_index, model.chunks, seen["training"]))
    return found


def readable_labels(this: Round, run: Run) -> Mapping[str, Ref]:
    """Labels of an earlier run.

    Raises:
        DamagedCheckpoint: If they are lost; only that round can compute them again.
    """
    node = run.lock.nodes["labels"]
    if this.cp.store.find(node.stage, node.key, take_back=not this.cp.plan).manifest is None:
        raise DamagedCheckpoint(
            f"the labels of round {run.round_index} are missing or damaged. "
            f"Compute them again first: hybridscreen verify campaign.yaml --repair, or round --round {run.round_index}"
        )
    return node.outputs


def rows_of(library: Ref) -> int:
    """Perturbations of the library."""
    return library.shape[0] if library.shape else 0
