"""The pieces of work that an ensemble is made of: plain functions that load their inputs from storage themselves.

Each runs on any worker and gives what its checkpoint will hold. None reads more of the library than it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import zarr
from numpy.typing import NDArray

from tasks.checkpoints.lazy import open_rows, read_names
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.progress import advanced
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import CheckpointStore
from tasks.ensembles.ensemble import ensemble_from_tensors, ensemble_to_tensors, part_from_tensors, part_to_tensors
from tasks.ensembles.fitting import fit_group
from tasks.ensembles.joining import join_parts
from tasks.ensembles.predicting import predict
from tasks.ensembles.prediction import PREDICTED
from tasks.ensembles.recipe import Learnt, Recipe, plates_of
from tasks.ensembles.training_set import TrainingSet
from tasks.errors import UserError


def fit_members(
    store: CheckpointStore, node: str, learnt: Learnt, recipe: Recipe, members: range, device: str
) -> dict[str, Payload]:
    """Fit some members of an ensemble; `tensors` and `facts` of the part. Progress is told under the node's name."""
    train, told = training_set(store, learnt), partial(advanced, node)
    part = fit_group(train, recipe.target, recipe.settings, recipe.seed, members, torch_device(device), told)
    arrays, facts = part_to_tensors(part)
    return {"tensors": Payload("tensors", arrays), "facts": Payload("json", facts)}


def join_members(
    store: CheckpointStore, learnt: Learnt, recipe: Recipe, parts: Sequence[tuple[Ref, Ref]]
) -> dict[str, Payload]:
    """All members as one ensemble; `tensors` and `facts`. `parts` are references to those of each part, in order."""
    loaded = [part_from_tensors(store.load(tensors), store.load(facts)) for tensors, facts in parts]
    train = training_set(store, learnt)
    ensemble = join_parts(train, recipe.target, recipe.settings, recipe.operators, recipe.seed, loaded)
    arrays, meta = ensemble_to_tensors(ensemble)
    return {"tensors": Payload("tensors", arrays), "facts": Payload("json", meta)}


def predict_rows(
    store: CheckpointStore, library: Ref, ensemble: tuple[Ref, Ref], start: int, stop: int, device: str
) -> dict[str, Payload]:
    """Predict the library's rows from `start` to `stop`; `ensemble` are references to its tensors and facts."""
    tensors, facts = ensemble
    features = np.asarray(open_rows(store, library)[start:stop])
    fitted = ensemble_from_tensors(store.load(tensors), store.load(facts))
    said = predict(fitted.to(torch_device(device)), features)
    return {name: Payload("array", getattr(said, name)) for name in PREDICTED}


def training_set(store: CheckpointStore, learnt: Learnt) -> TrainingSet:
    """Features of the labelled perturbations alone, their labels, and their plates.

    Raises:
        UserError: A labelled perturbation is not in the library.
    """
    table = store.load(learnt.labels)
    rows = read_names(store, learnt.library).get_indexer(pd.Index(table["perturbation"]))
    if (rows < 0).any():
        stranger = table["perturbation"].iloc[int(np.argmin(rows))]
        raise UserError("a labelled perturbation is not in the library", where="labels", got=repr(stranger))
    return TrainingSet(
        read_rows(open_rows(store, learnt.library), rows),
        table["value"].to_numpy(),
        table["variance"].to_numpy(),
        plates_of(table["perturbation"], store.load(learnt.incidence)),
    )


def read_rows(array: zarr.Array[Any], rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """(k, d) some rows of a stored matrix in the order asked for, read file by file."""
    order = np.argsort(rows, kind="stable")
    found = np.asarray(array.oindex[rows[order], :])
    return found[np.argsort(order, kind="stable")]


def torch_device(wanted: str) -> torch.device:
    """What this process computes on: cpu, cuda, or auto, which takes a GPU if there is one.

    Raises:
        UserError: cuda is asked for and there is none.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        todo = "Set compute.device to auto or cpu, or compute where there is a GPU."
        raise UserError("no GPU here", where="compute.device", got=f"torch {torch.__version__}", todo=todo)
    return torch.device(wanted)
