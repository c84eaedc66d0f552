"""Nodes of the ensembles room: fit by groups of members, join them, predict chunk by chunk, forward residuals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.campaigns.compute_settings import ComputeSection
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.lazy import read_names
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.pieces import Place
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.task import node_task
from tasks.ensembles.prediction import PREDICTED, Prediction
from tasks.ensembles.recipe import Learnt, Recipe, fit_members, join_members, predict_rows

FIT = Stage("fit", 2)
ENSEMBLE = Stage("ensemble", 2)
PREDICT = Stage("predict", 3)
FORWARD = Stage("forward", 2)

_CPU_ALONE = ("forest", "gp")


@dataclass(frozen=True)
class Model:
    """An ensemble with its predictions for the whole library."""

    fitted: Outputs
    chunks: Sequence[Outputs]


def member_groups(recipe: Recipe, compute: ComputeSection) -> list[range]:
    """Members that are fitted together, each group a piece of work. Set by configuration alone."""
    return recipe.settings.groups(compute.group_members)


def device_of(recipe: Recipe, compute: ComputeSection) -> str:
    """What the pieces of a model are computed on: as configured, but for models that know the CPU alone."""
    return "cpu" if recipe.settings.model in _CPU_ALONE else compute.device


@node_task("fit members", "{node}")
def fit_group(
    cp: Checkpointer, place: Place, node: str, learnt: Learnt, recipe: Recipe, members: range, device: str
) -> Outputs:
    """Some members of an ensemble, fitted on the training labels. `device`: see `device_of`."""
    return cp.run(
        node,
        FIT,
        partial(fit_members, cp.store, node, learnt, recipe, members, device),
        outputs=("tensors", "facts"),
        params={**_recipe(recipe), "members": [members.start, members.stop]},
        inputs=_inputs(learnt),
        seed=recipe.seed,
        place=place,
        device=device != "cpu",
    )


@node_task("join members", "{node}")
def join_ensemble(
    cp: Checkpointer, place: Place, node: str, learnt: Learnt, recipe: Recipe, parts: Sequence[Outputs]
) -> Outputs:
    """All members as one ensemble."""
    tensors = [(part["tensors"], part["facts"]) for part in parts]
    factor = recipe.operators.model_dump(mode="json", include={"within", "sketch", "features", "gradients"})
    inputs = {f"part {i:03d} {name}": ref for i, part in enumerate(parts) for name, ref in part.refs.items()}
    return cp.run(
        node,
        ENSEMBLE,
        partial(join_members, cp.store, learnt, recipe, tensors),
        outputs=("tensors", "facts"),
        params={**_recipe(recipe), "operators": factor},
        inputs={**_inputs(learnt), **inputs},
        seed=recipe.seed,
        place=place,
    )


@node_task("predict chunk", "{node}")
def predict_chunk(
    cp: Checkpointer, place: Place, node: str, library: Ref, fitted: Outputs, rows: tuple[int, int], device: str
) -> Outputs:
    """Predictions for some rows of the library, from the first to the last (exclusive)."""
    start, stop = rows
    ensemble = fitted["tensors"], fitted["facts"]
    return cp.run(
        node,
        PREDICT,
        partial(predict_rows, cp.store, library, ensemble, start, stop, device),
        outputs=PREDICTED,
        params={"start": start, "stop": stop},
        inputs={"library": library, "tensors": fitted["tensors"], "facts": fitted["facts"]},
        place=place,
        device=device != "cpu",
    )


def _recipe(recipe: Recipe) -> dict[str, Any]:
    return {"kind": recipe.readout.kind, "ensemble": recipe.settings}


def _inputs(learnt: Learnt) -> dict[str, Ref]:
    return {"library": learnt.library, "labels": learnt.labels, "incidence": learnt.incidence}


def chunk_bounds(rows: int, chunk_rows: int) -> list[tuple[int, int]]:
    """First and last row (exclusive) of every chunk of the library. The grid is set by configuration alone."""
    return [(start, min(start + chunk_rows, rows)) for start in range(0, rows, chunk_rows)]


def chunk_inputs(chunks: Sequence[Outputs]) -> dict[str, Ref]:
    """Named references to all arrays of a prediction."""
    return {f"chunk {i:05d} {name}": ref for i, chunk in enumerate(chunks) for name, ref in chunk.refs.items()}


def mean_prediction(cp: Checkpointer, chunks: Sequence[Outputs]) -> NDArray[np.float64]:
    """(N,) mean over the members, of every row of the library; one chunk's members are in memory at a time."""
    return np.concatenate([cp.load(chunk["members"]).mean(axis=1, dtype=np.float64) for chunk in chunks])


def load_prediction(cp: Checkpointer, chunks: Sequence[Outputs], rows: NDArray[np.integer]) -> Prediction:
    """What an ensemble says of some rows (k,) of the library, in the order asked for.

    Only the chunks that hold one of them are read, one array at a time.

    Raises:
        IndexError: There is no such row.
    """
    starts = np.cumsum([0, *((chunk["members"].shape or (0,))[0] for chunk in chunks)])
    if rows.size and not (rows.min() >= 0 and rows.max() < starts[-1]):
        raise IndexError(f"rows {rows.min()} to {rows.max()} of {starts[-1]}")
    held_by = np.searchsorted(starts, rows, side="right") - 1
    said: dict[str, NDArray[Any]] = {}
    for number in np.unique(held_by).tolist() or [0]:  # without rows the first chunk tells the columns
        here = held_by == number
        for name in PREDICTED:
            part = cp.load(chunks[number][name])[rows[here] - starts[number]]
            if name not in said:
                said[name] = np.empty((len(rows), *part.shape[1:]), dtype=part.dtype)
            said[name][here] = part
    return Prediction(**said)


@dataclass(frozen=True)
class Reference:
    """The ensemble of an earlier round: its predictions, and the labels it had seen."""

    round_index: int
    chunks: Sequence[Outputs]
    labels: Ref


@node_task("forward residuals", "{node}")
def forward_residuals(
    cp: Checkpointer, node: str, library: Ref, reference: Reference, labels: Ref, membership: Ref
) -> Outputs:
    """What an ensemble said of perturbations whose labels it had not seen, beside what was measured.

    Output `table`: perturbation, row of the library, predicted, epistemic (sd), sd (of a new label as the ensemble says
    it), measured, variance (of the label), arm, round (of the batch), reference (round of the ensemble). `members`,
    `within`, `features`: what the ensemble says.
    """

    def compute() -> dict[str, Payload]:
        ids = read_names(cp.store, library)
        table = unseen(cp.load(labels), cp.load(reference.labels))
        rows = ids.get_indexer(pd.Index(table["perturbation"]))
        said = load_prediction(cp, reference.chunks, rows)
        standing, epistemic = cp.load(membership).iloc[rows], epistemic_sd(said.members, said.within)
        variance = table["variance"].to_numpy(dtype=np.float64)
        sd = said.sd[:, 0].astype(np.float64) if said.sd.shape[1] else np.sqrt(epistemic**2 + variance)
        forward = pd.DataFrame(
            {
                "perturbation": table["perturbation"].to_numpy(),
                "row": rows,
                "predicted": said.mean,
                "epistemic": epistemic,
                "sd": sd,
                "measured": table["value"].to_numpy(dtype=np.float64),
                "variance": variance,
                "arm": standing["arm"].to_numpy(),
                "round": standing["round"].to_numpy(),
                "reference": reference.round_index,
            }
        )
        return {
            "table": Payload("table", forward),
            "members": Payload("array", said.members),
            "within": Payload("array", said.within),
            "features": Payload("array", said.features),
        }

    inputs: Mapping[str, Ref] = {
        "library": library,
        "labels": labels,
        "seen labels": reference.labels,
        "membership": membership,
        **chunk_inputs(reference.chunks),
    }
    return cp.run(
        node,
        FORWARD,
        compute,
        outputs=("table", "members", "within", "features"),
        params={"reference": reference.round_index},
        inputs=inputs,
    )


def unseen(labels: pd.DataFrame, seen: pd.DataFrame) -> pd.DataFrame:
    """Labels of perturbations that are not among the seen ones: the only ones whose residuals are honest."""
    return labels[~labels["perturbation"].isin(seen["perturbation"])].reset_index(drop=True)


def epistemic_sd(members: NDArray[Any], within: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) sd of the reducible part that the ensemble knows of: spread of its members and their own posteriors."""
    between = members.var(axis=1, ddof=1, dtype=np.float64)
    return np.asarray(np.sqrt(between + np.square(within, dtype=np.float64).sum(axis=1)))
