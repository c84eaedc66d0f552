"""What `bench predict` needs: a library of any size, an ensemble for it, and the bare products of a prediction."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

import anndata
import numpy as np
import pandas as pd
import torch
import zarr

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import MlpSettings
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage, sha256
from tasks.checkpoints.manifest import StoredFile, StoredPayload
from tasks.checkpoints.payloads import Payload, content_digest, encode, encode_json
from tasks.checkpoints.pieces import cores
from tasks.checkpoints.progress import advanced
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.ensembles.bench_fit import made_up_labels
from tasks.ensembles.determinism import one_thread
from tasks.ensembles.ensemble import ensemble_from_tensors, ensemble_to_tensors
from tasks.ensembles.fitting import fit_ensemble
from tasks.ensembles.network import depth
from tasks.ensembles.target import Target

_URI = "library/library.zarr"
_BLOCK = 16384  # perturbations written at a time; X is cut into files of that many at most
_ROWS = 2048  # rows multiplied at a time, as `predict` does


def write_library(root: Path, pool: int, features: int) -> Ref:
    """Register a library of independent normal features block by block, in the form that a campaign keeps it in."""
    storage = Storage(str(root))
    for name, data in encode(Payload("anndata", _block(0, min(pool, _BLOCK), features))).items():
        storage.write(f"{_URI}/{name}", data)
    features_of, names_of = _rows_of(root / _URI)
    features_of.resize((pool, features))
    names_of.resize((pool,))
    for start in range(_BLOCK, pool, _BLOCK):
        block = _block(start, min(start + _BLOCK, pool), features)
        features_of[start : start + block.n_obs] = block.X
        names_of[start : start + block.n_obs] = block.obs_names.to_numpy(dtype=object)
        advanced("library", start, pool)
    files = {}
    for path in storage.list(_URI):
        data = storage.read(path)
        files[path.removeprefix(f"{_URI}/")] = StoredFile(sha256=sha256(data), size=len(data))
    whole = content_digest({name: file.sha256 for name, file in files.items()})
    stored = StoredPayload(uri=_URI, kind="anndata", sha256=whole, shape=(pool, features), files=files)
    storage.create("library/manifest.json", encode_json(stored.model_dump(mode="json")))
    return stored.ref()


def _rows_of(folder: Path) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
    """Features and names of a stored AnnData, to be written to."""
    group = zarr.open_group(folder, mode="r+", zarr_format=3)
    found = group["X"], group[f"obs/{group['obs'].attrs['_index']}"]
    return cast("tuple[zarr.Array[Any], zarr.Array[Any]]", found)


def _block(start: int, stop: int, features: int) -> anndata.AnnData:
    """Some perturbations of the library."""
    rng = np.random.default_rng([0, start])
    obs = pd.DataFrame(index=pd.Index([f"P{row:08d}" for row in range(start, stop)], name="id"))
    return anndata.AnnData(X=rng.standard_normal((stop - start, features), dtype=np.float32), obs=obs)


def store_ensemble(root: Path, sizes: Mapping[str, int]) -> Outputs:
    """Fit an ensemble to made-up labels and store it.

    Args:
        root: Folder of the campaign.
        sizes: labels, features, members, hidden, epochs. The other settings are a campaign's defaults.
    """
    hidden = (sizes["hidden"], sizes["hidden"])
    settings = MlpSettings(members=sizes["members"], hidden=hidden, epochs=sizes["epochs"])
    train = made_up_labels(sizes["labels"], sizes["features"])

    def compute() -> dict[str, Payload]:
        told = partial(advanced, "fit")
        arrays, facts = ensemble_to_tensors(fit_ensemble(train, Target(), settings, OperatorsSection(), 0, told))
        return {"tensors": Payload("tensors", arrays), "facts": Payload("json", facts)}

    cp = Checkpointer(CheckpointStore(Storage(str(root))))
    return cp.run("ensemble", Stage("ensemble", 1), compute, outputs=("tensors", "facts"), params=sizes)


def bare_products(root: Path, fitted: Outputs, pool: int, chunk_rows: int, chunks: int) -> float:
    """Seconds that the matrix products of a prediction take, on one thread for each core and from memory.

    The layers of all members, the factor of their posterior and the ensemble features, without what stands between
    them: no encoding, no activation, nothing read or written.

    Args:
        root: Folder of the campaign.
        fitted: The ensemble.
        pool: Perturbations.
        chunk_rows: Of a chunk.
        chunks: So many chunks for each core are timed, and scaled up.
    """
    store = CheckpointStore(Storage(str(root)))
    tensors = ensemble_from_tensors(store.load(fitted["tensors"]), store.load(fitted["facts"])).tensors
    with one_thread(), torch.no_grad(), ThreadPoolExecutor(cores()) as threads:
        _multiply(tensors, 1)
        started = time.perf_counter()
        list(threads.map(lambda _: _multiply(tensors, -(-chunk_rows // _ROWS)), range(chunks * cores())))
        seconds = time.perf_counter() - started
    return seconds * pool / (chunks * cores() * chunk_rows)


def _multiply(tensors: Mapping[str, torch.Tensor], times: int) -> None:
    """The products of so many blocks of rows, of which one stands for all."""
    weights = [tensors[f"weight.{layer}"] for layer in range(depth(tensors) + 1)]
    posterior = tensors["posterior"].flatten(0, 1)
    inputs = [torch.ones(len(weight), _ROWS, weight.shape[1]) for weight in weights]
    activations, ends = torch.ones(_ROWS, len(tensors["projection"])), torch.ones(_ROWS, len(posterior))
    for _ in range(times):
        for values, weight in zip(inputs, weights, strict=True):
            torch.bmm(values, weight)
        torch.mm(activations, tensors["projection"])
        torch.mm(ends, posterior)
