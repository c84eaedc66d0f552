"""Nodes of the publishing room: the hybrid screen, and the publication of a round."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.designs import read_table
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.task import node_task
from tasks.ensembles.task import chunk_inputs, mean_prediction
from tasks.operators.task import Omega, load_rows
from tasks.publishing.flags import flag_rows, outlying
from tasks.publishing.screen import build_screen, published_parts
from tasks.readouts.noise import NoiseModel
from tasks.readouts.sigma_y import sigma_y

SCREEN = Stage("screen", 3)
_LABELS = ("training", "incidence", "levels", "noise", "audit", "audit_incidence", "audit_levels")


@node_task("hybrid screen")
def make_screen(
    cp: Checkpointer,
    config: CampaignConfig,
    round_index: int,
    library: Ref,
    chunks: Sequence[Outputs],
    omega: Omega,
    labels: Outputs,
    membership: Ref,
    decision: Ref,
    platemaps: Mapping[int, Ref],
    troubled: Mapping[str, str],
) -> Outputs:
    """The hybrid screen: measured values, hidden audit members among them, and predictions with their uncertainty.

    Args:
        cp: Runs the node.
        config: Configuration of the campaign.
        round_index: The round.
        library: Its annotation goes in.
        chunks: Predictions of the library.
        omega: Error operator: the parts of a prediction's error.
        labels: Labels of this round.
        membership: Who is chosen, hidden and vetoed.
        decision: The certificate.
        platemaps: Plate map of every released design up to this round.
        troubled: Plates that failed, were waived or abandoned, by barcode (`PlateBook.troubled`).
    """
    readout = config.readout

    def compute() -> dict[str, Payload]:
        obs = cp.load(library).obs
        noise = NoiseModel.model_validate(cp.load(labels["noise"]))
        predictions = _predictions(cp, chunks, omega, noise, readout.kind, obs.index)
        provenance = {
            "campaign": config.campaign.name,
            "round": round_index,
            "inputs": {name: ref.sha256 for name, ref in inputs.items()},
        }
        known = _all_labels(cp, labels, membership, noise, readout.kind)
        flags = _flags(cp, obs.index.tolist(), labels, membership, noise, platemaps, troubled)
        made = build_screen(obs, predictions, known, readout, cp.load(decision), provenance, flags)
        return {"screen": Payload("anndata", made)}

    inputs = {
        "library": library,
        "membership": membership,
        "decision": decision,
        **omega.inputs("parts", "variance"),
        **{f"labels {name}": labels[name] for name in _LABELS},
        **{f"platemap {number:04d}": ref for number, ref in platemaps.items()},
        **chunk_inputs(chunks),
    }
    params = {
        "readout": readout.model_dump(mode="json", exclude={"columns"}),
        "campaign": config.campaign.name,
        "round": round_index,
        "plates": dict(troubled),
    }
    return cp.run("screen", SCREEN, compute, outputs=("screen",), params=params, inputs=inputs)


def _predictions(
    cp: Checkpointer, chunks: Sequence[Outputs], omega: Omega, noise: NoiseModel, kind: str, index: pd.Index
) -> pd.DataFrame:
    """Predicted values of all rows, and standard deviations of the parts of their errors."""
    mean = mean_prediction(cp, chunks)
    epistemic, bias = np.sqrt(published_parts(load_rows(cp, omega.refs("parts", "variance")), kind)).T
    well_sd = np.sqrt(mean * (1 - mean) if kind == "binary" else noise.well_variance(mean) + noise.reagent)
    return pd.DataFrame(
        {"mean": mean, "epistemic_sd": epistemic, "bias_sd": bias, "aleatoric_sd": well_sd}, index=index
    )


def _flags(
    cp: Checkpointer,
    ids: list[str],
    labels: Outputs,
    membership: Ref,
    noise: NoiseModel,
    platemaps: Mapping[int, Ref],
    troubled: Mapping[str, str],
) -> "pd.Series[str]":
    """What plates, vetoes and replicates say of every row."""
    tables = [read_table(cp.load(platemaps[number])) for number in sorted(platemaps)]
    planned = pd.concat([table.loc[table["role"] == "sample", ["perturbation", "barcode"]] for table in tables])
    standing = cp.load(membership)
    levels = pd.concat([cp.load(labels[name]) for name in ("levels", "audit_levels")], ignore_index=True)
    vetoed = standing.loc[standing["vetoed"].astype(bool), "perturbation"].tolist()
    return flag_rows(ids, planned, troubled, vetoed, outlying(levels, noise.runs))


def _all_labels(
    cp: Checkpointer, labels: Outputs, membership: Ref, noise: NoiseModel, kind: Literal["continuous", "binary"]
) -> pd.DataFrame:
    """Training and audit labels with round, hidden flag, and the error variance that a label shares with its plates."""
    parts = []
    for name, hidden in (("training", False), ("audit", True)):
        incidence = cp.load(labels["incidence" if name == "training" else "audit_incidence"])
        table: pd.DataFrame = cp.load(labels[name])
        independent = table["variance"].to_numpy(np.float64)
        shared = sigma_y(table, incidence, noise, kind=kind).diagonal() - independent
        parts.append(table.assign(audit=hidden, shared_variance=shared.clip(min=0.0)))
    both = pd.concat(parts, ignore_index=True)
    rounds = cp.load(membership).set_index("perturbation")["round"].to_dict()
    return both.assign(round=[rounds[perturbation] for perturbation in both["perturbation"]])
