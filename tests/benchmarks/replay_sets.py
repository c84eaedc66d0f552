"""Data sets as finished screens, for replays; a peer's strategy beside the project's own."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from functools import cache
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch

from tasks.batches.pool import Picks
from tasks.batches.registry import ANY, STRATEGIES, Strategy
from tasks.ensembles.encoding import encode

UCI = ("bike", "elevators", "pol", "kin40k")
GENES = {"schmidt_il2": ("_d1", "_d2"), "schmidt_ifng": ("_d1", "_d2"), "sanchez_tau": ("",)}
FINGERPRINT_BITS, FINGERPRINT_RADIUS, COMPONENTS = 1024, 1, 128
PEER = "bmdal-lcmd"
SKETCH = 512  # columns of the peer's sketched gradients, as its authors recommend


@cache
def stored_screen(name):
    """A data set as `tasks.replays.screens.read_screen` would store it: values in sds of their mean from its mean.

    `NAME, mean` is a screen of genes whose donors are averaged: their difference tells no noise.
    """
    base = name.removesuffix(", mean")
    features, measured = _genes(base) if base in GENES else _qm9() if name == "qm9" else _uci(name)
    label = measured.mean(axis=1)
    scaled = (measured - label.mean()) / label.std()
    columns = {"measured.0": scaled.mean(axis=1)} if base != name else _columns(scaled)
    obs = pd.DataFrame(columns | {"truth": scaled.mean(axis=1)}, index=[f"{row:06d}" for row in range(len(label))])
    return anndata.AnnData(X=features.astype(np.float32), obs=obs)


def _columns(measured):
    return {f"measured.{number}": measured[:, number] for number in range(measured.shape[1])}


def _genes(name):
    """A genome-wide screen of GeneDisco's, its donors as replicates; 273 descriptors that are not GeneDisco's."""
    stored = np.load(data_folder() / "genes" / "descriptors.npz")
    table = pd.read_parquet(data_folder() / "genes" / "assays.parquet").loc[stored["genes"]]
    measured = table[[name + donor for donor in GENES[name]]].to_numpy(np.float64)
    known = np.isfinite(measured).all(axis=1)
    return stored["X"][known], measured[known]


def _uci(name):
    table = pd.read_csv(data_folder() / "uci" / f"{name}.csv.gz", header=None).to_numpy(np.float64)
    return table[:, :-1], table[:, -1:]


def _qm9():
    """Gap of 42,598 molecules; 128 principal components of the roots of the counts of a Morgan fingerprint."""
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    table = pd.read_parquet(data_folder() / "qm9" / "qm9_gap_42k.parquet")
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=FINGERPRINT_RADIUS, fpSize=FINGERPRINT_BITS)
    molecules = map(Chem.MolFromSmiles, table["smiles"])
    counts = np.sqrt(np.array([generator.GetCountFingerprintAsNumPy(each) for each in molecules], dtype=np.float32))
    centred = counts - counts.mean(axis=0)
    directions = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :COMPONENTS]
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(COMPONENTS)])
    return centred @ directions, table[["gap_eV"]].to_numpy(np.float64)


def data_folder():
    """Where the data are."""
    data = os.environ.get("HYBRIDSCREEN_DATA")
    if not data:
        sys.exit("HYBRIDSCREEN_DATA is not set: these benchmarks read uci/, qm9/ and genes/ below it")
    return Path(data)


def pick_bmdal_lcmd(pool, n, rng):
    """bmdal_reg's own LCMD in mode TP on gradients of the first member's network, sketched to 512 columns."""
    vars(np)["Inf"] = np.inf  # bmdal_reg 3.0.2 was written for numpy 1
    from bmdal_reg.bmdal.algorithms import select_batch
    from bmdal_reg.bmdal.feature_data import TensorFeatureData

    ensemble = pool.gradient.ensemble
    features = torch.from_numpy(np.asarray(pool.features.take(np.arange(len(pool))), dtype=np.float32))
    encoded = encode(ensemble.tensors, features)
    open_, known = np.flatnonzero(pool.open), pool.observed
    torch.manual_seed(int(rng.integers(2**31)))
    with contextlib.redirect_stdout(io.StringIO()):
        rows, found = select_batch(
            batch_size=n,
            models=[_network(ensemble)],
            data={"train": TensorFeatureData(encoded[known]), "pool": TensorFeatureData(encoded[open_])},
            y_train=None,
            base_kernel="grad",
            kernel_transforms=[("rp", [SKETCH])],
            selection_method="lcmd",
            sel_with_train=True,
        )
    if found["selection_status"]:
        raise RuntimeError(found["selection_status"])
    return Picks(open_[rows.numpy()].astype(np.int64), np.zeros(n), np.full(n, -1, dtype=np.int64), ("",) * n)


def _network(ensemble):
    """The first member as bmdal_reg's layers, weights in the parameterisation its authors use."""
    from bmdal_reg.bmdal.layer_features import LinearLayer

    activations = {"silu": torch.nn.SiLU, "relu": torch.nn.ReLU, "mish": torch.nn.Mish}
    layers, depth = [], len(ensemble.meta["hidden"])
    for layer in range(depth + 1):
        weight, bias = (ensemble.tensors[f"{name}.{layer}"][0] for name in ("weight", "bias"))
        root = weight.shape[0] ** 0.5
        layers.append(LinearLayer(weight * root, bias.clone(), weight_factor=1 / root, bias_factor=1.0))
        if layer < depth:
            layers.append(activations[ensemble.meta["activation"]]())
    return torch.nn.Sequential(*layers)


STRATEGIES[PEER] = Strategy(pick_bmdal_lcmd, needs={"features": ANY, "gradient": ANY})
