"""A small campaign's library and labels in a store, and its ensemble piece by piece, without Prefect."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import anndata
import numpy as np
import pandas as pd

from tasks.campaigns.compute_settings import ComputeSection
from tasks.campaigns.config import OperatorsSection, ReadoutSection
from tasks.campaigns.ensemble_settings import MlpSettings
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.ensembles.pieces import PREDICTED, Learnt, Recipe, fit_members, join_members, predict_rows
from tasks.ensembles.task import chunk_bounds, member_groups

SEED = 3


def recipe(members=4, **settings):
    return Recipe(
        ReadoutSection(tolerance=1.0),
        MlpSettings(members=members, **{"hidden": (8,), "epochs": 8, **settings}),
        OperatorsSection(sketch=4, features=3),
        SEED,
    )


def made_up(cp, rows=400, labelled=None, columns=5):
    """A library, labels of some of its rows (60 if not given), and the six plates they stand on."""
    rng = np.random.default_rng(SEED)
    names = [f"CPD-{i:06d}" for i in range(rows)]
    library = anndata.AnnData(X=rng.normal(size=(rows, columns)).astype(np.float32), obs=pd.DataFrame(index=names))
    chosen = rng.choice(rows, size=60, replace=False) if labelled is None else labelled
    x = library.X[chosen].astype(np.float64)
    labels = pd.DataFrame(
        {
            "perturbation": [names[i] for i in chosen],
            "value": np.sin(x[:, 0]) + x[:, 1],
            "variance": np.full(len(chosen), 0.01),
        }
    )
    incidence = labels[["perturbation"]].assign(barcode=[f"P{i % 6}.1" for i in range(len(chosen))], weight=1.0)
    payloads = {
        "library": Payload("anndata", library),
        "labels": Payload("table", labels),
        "incidence": Payload("table", incidence),
    }
    return Learnt(**cp.run("made up", Stage("made-up", 1), lambda: payloads, outputs=tuple(payloads)).refs)


def learn(cp, place, learnt, how=None, group_members=2):
    """Fit the groups at once, then join them."""
    how = how or recipe()

    def group(members):
        node = f"fit/{members.start:03d}"
        return cp.run(
            node,
            Stage("fit", 0),
            partial(fit_members, cp.store, node, learnt, how, members, "cpu"),
            outputs=("tensors", "facts"),
            params={"ensemble": how.settings, "members": [members.start, members.stop]},
            inputs=vars(learnt),
            place=place,
        )

    groups = member_groups(how, ComputeSection(group_members=group_members))
    with ThreadPoolExecutor(len(groups)) as pool:
        parts = list(pool.map(group, groups))
    refs = [(part["tensors"], part["facts"]) for part in parts]
    return cp.run(
        "ensemble",
        Stage("ensemble", 0),
        partial(join_members, cp.store, learnt, how, refs),
        outputs=("tensors", "facts"),
        inputs={f"{i} {name}": ref for i, part in enumerate(parts) for name, ref in part.refs.items()},
        place=place,
    )


def ask(cp, place, learnt, ensemble, bounds=None):
    """Predict the library in chunks at once."""
    fitted = ensemble["tensors"], ensemble["facts"]

    def chunk(rows):
        return cp.run(
            f"predict/{rows[0]:06d}",
            Stage("predict", 0),
            partial(predict_rows, cp.store, learnt.library, fitted, *rows, "cpu"),
            outputs=PREDICTED,
            params={"rows": list(rows)},
            inputs={"library": learnt.library, **ensemble.refs},
            place=place,
        )

    bounds = bounds or chunk_bounds(learnt.library.shape[0], 150)
    with ThreadPoolExecutor(len(bounds)) as pool:
        return list(pool.map(chunk, bounds))
