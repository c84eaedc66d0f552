"""Nodes of the ensembles room: fit, predict the library chunk by chunk, forward residuals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.campaigns.config import EnsembleSection, OperatorsSection, ReadoutSection
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.task import node_task
from tasks.ensembles import MODELS
from tasks.ensembles.ensemble import ensemble_from_tensors, ensemble_to_tensors
from tasks.ensembles.predict import Prediction, predict
from tasks.ensembles.training_set import TrainingSet

FIT = Stage("fit", 1)
PREDICT = Stage("predict", 1)
FORWARD = Stage("forward", 1)


@node_task("fit ensemble", "{node}")
def fit_ensemble(
    cp: Checkpointer,
    node: str,
    library: Ref,
    labels: Ref,
    readout: ReadoutSection,
    ensemble: EnsembleSection,
    operators: OperatorsSection,
    seed: int,
) -> Outputs:
    """An ensemble fitted on the training labels."""

    def compute() -> dict[str, Payload]:
        table, features = cp.load(labels), cp.load(library).to_df()
        train = TrainingSet(
            features.loc[table["perturbation"]].to_numpy(), table["value"].to_numpy(), table["variance"].to_numpy()
        )
        fitted = MODELS[ensemble.model](
            train, ensemble, readout.kind, operators, seed, lambda done, total: cp.advanced(node, done, total)
        )
        tensors, facts = ensemble_to_tensors(fitted)
        return {"tensors": Payload("tensors", tensors), "facts": Payload("json", facts)}

    factor = operators.model_dump(mode="json", include={"within", "sketch", "features"})
    params = {"kind": readout.kind, "ensemble": ensemble, "operators": factor}
    inputs = {"library": library, "labels": labels}
    return cp.run(node, FIT, compute, outputs=("tensors", "facts"), params=params, inputs=inputs, seed=seed)


@node_task("predict chunk", "{node}")
def predict_chunk(cp: Checkpointer, node: str, library: Ref, fitted: Outputs, start: int, stop: int) -> Outputs:
    """Predictions for the library's rows from `start` to `stop`."""

    def compute() -> dict[str, Payload]:
        ensemble = ensemble_from_tensors(cp.load(fitted["tensors"]), cp.load(fitted["facts"]))
        said = predict(ensemble, np.asarray(cp.load(library).X[start:stop]))
        return {name: Payload("array", getattr(said, name)) for name in ("members", "within", "features")}

    inputs = {"library": library, "tensors": fitted["tensors"], "facts": fitted["facts"]}
    return cp.run(
        node,
        PREDICT,
        compute,
        outputs=("members", "within", "features"),
        params={"start": start, "stop": stop},
        inputs=inputs,
    )


def chunk_bounds(rows: int, chunk_rows: int) -> list[tuple[int, int]]:
    """First and last row (exclusive) of every chunk of the library. The grid is set by configuration alone."""
    return [(start, min(start + chunk_rows, rows)) for start in range(0, rows, chunk_rows)]


def chunk_inputs(chunks: Sequence[Outputs]) -> dict[str, Ref]:
    """Named references to all arrays of a prediction."""
    return {f"chunk {i:05d} {name}": ref for i, chunk in enumerate(chunks) for name, ref in chunk.refs.items()}


def load_prediction(cp: Checkpointer, chunks: Sequence[Outputs]) -> Prediction:
    """The prediction of the whole library from its chunks."""
    loaded = [{name: cp.load(ref) for name, ref in chunk.refs.items()} for chunk in chunks]
    return Prediction(*(np.concatenate([part[name] for part in loaded]) for name in ("members", "within", "features")))


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

    Output `table`: perturbation, row of the library, predicted, epistemic (sd), measured, variance (of the label), arm,
    round (of the batch), reference (round of the ensemble). `members`, `within`, `features`: what the ensemble says.
    """

    def compute() -> dict[str, Payload]:
        ids = cp.load(library).obs_names
        table = unseen(cp.load(labels), cp.load(reference.labels))
        rows = ids.get_indexer(table["perturbation"])
        said = load_prediction(cp, reference.chunks)
        members, within, features = said.members[rows], said.within[rows], said.features[rows]
        standing = cp.load(membership).iloc[rows]
        forward = pd.DataFrame(
            {
                "perturbation": table["perturbation"].to_numpy(),
                "row": rows,
                "predicted": members.mean(axis=1, dtype=np.float64),
                "epistemic": epistemic_sd(members, within),
                "measured": table["value"].to_numpy(dtype=np.float64),
                "variance": table["variance"].to_numpy(dtype=np.float64),
                "arm": standing["arm"].to_numpy(),
                "round": standing["round"].to_numpy(),
                "reference": reference.round_index,
            }
        )
        return {
            "table": Payload("table", forward),
            "members": Payload("array", members),
            "within": Payload("array", within),
            "features": Payload("array", features),
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
