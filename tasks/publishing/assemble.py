"""Puts together what the report of a round shows, from the round's checkpoints and the runs before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.campaigns.ledger import Run
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.manifest import Manifest
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import CheckpointStore, DamagedCheckpoint
from tasks.operators.task import Omega, diagnostics
from tasks.publishing.calibration_data import judge
from tasks.publishing.training_data import STAGES, losses_table, work_table

_FORWARD = ["perturbation", "predicted", "sd", "epistemic", "measured", "arm", "round"]


def report_tables(
    cp: Checkpointer,
    looks: Sequence[Run],
    now: Mapping[str, Any],
    standing: Ref,
    omega: Omega,
    fitted: Outputs,
    forward: Sequence[Outputs],
    batch: pd.DataFrame | None,
    screen: pd.DataFrame,
    kind: str,
) -> dict[str, Any]:
    """The tables of a report that come from checkpoints.

    Args:
        cp: Reads checkpoints.
        looks: Decided runs before this one, of all rounds, in the order they were published.
        now: This look: round, run, look, bound, estimate, gamma, wells_used.
        standing: Membership of this round.
        omega: The error operator of this round.
        fitted: The ensemble of this round.
        forward: Forward residuals of this round, on training and on audit labels; empty in the first.
        batch: The proposed batch.
        screen: obs of the published screen.
        kind: Kind of the readout.
    """
    newest = {run.round_index: run for run in looks if run.round_index < now["round"]}
    table = cp.load(standing)
    residuals = forward_table(cp, list(newest.values()), forward)
    pieces = _manifests(cp)
    facts = {one.node: cp.load(one.payloads["facts"].ref()) for one in pieces if one.stage == "fit"}
    return {
        "history": looks_table(looks, now),
        "forward": residuals,
        "calibration": judge(residuals, screen, kind, now["round"]),
        "spectrum": spectrum_table(cp.load(omega.modes["spectra"])),
        "operator": diagnostics(cp, omega),
        "eigenmap": eigenmap_table(_first_two(cp, omega), table, batch),
        "fit": cp.load(fitted["facts"]),
        "losses": losses_table(cp.load(fitted["tensors"]).get("history")),
        "work": work_table(pieces, facts, [event.node for event in cp.events if event.status == "computed"]),
    }


def looks_table(looks: Sequence[Run], now: Mapping[str, Any]) -> pd.DataFrame:
    """One row per look: those of earlier runs, in the order they were published, and this one."""
    columns = ["round", "run", "look", "bound", "estimate", "gamma", "wells_used"]
    return pd.DataFrame([*(dict(run.summary or {}) for run in looks), dict(now)], columns=columns)


def forward_table(cp: Checkpointer, earlier: Sequence[Run], now: Sequence[Outputs]) -> pd.DataFrame | None:
    """Forward residuals of all rounds: of the newest run of each earlier round, and of this one."""
    refs = [node.outputs["table"] for run in earlier for node in run.lock.nodes.values() if node.stage == "forward"]
    refs += [outputs["table"] for outputs in now]
    tables = [table for ref in refs if (table := _load(cp, ref)) is not None]
    if not tables:
        return None
    table = pd.concat(tables, ignore_index=True)
    table["round"] = table["reference"] + 1
    # Hidden members of the audit set and of the random arms are one uniform sample of what nobody chose: the control.
    table["arm"] = table["arm"].replace({"audit": "random"})
    return table.drop_duplicates(["perturbation", "round"], ignore_index=True)[_FORWARD]


def spectrum_table(spectra: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """Eigenvalues of each operator, largest first."""
    rows = [
        {"mode": mode, "eigenvalue": value, "operator": name}
        for name in sorted(spectra)
        for mode, value in enumerate(spectra[name])
    ]
    return pd.DataFrame(rows, columns=["mode", "eigenvalue", "operator"])


def eigenmap_table(
    coordinates: np.ndarray[Any, Any], standing: pd.DataFrame, batch: pd.DataFrame | None
) -> pd.DataFrame | None:
    """First two coordinates of every perturbation, and where it stands."""
    if coordinates.shape[1] < 2:
        return None
    chosen = set() if batch is None else set(batch["perturbation"])
    group = np.where(standing["chosen"], "observed", np.where(standing["hidden"], "audit", "pool")).astype(object)
    group[standing["perturbation"].isin(chosen).to_numpy()] = "chosen"
    return pd.DataFrame(
        {"perturbation": standing["perturbation"], "z1": coordinates[:, 0], "z2": coordinates[:, 1], "group": group}
    )


def _first_two(cp: Checkpointer, omega: Omega) -> np.ndarray[Any, Any]:
    """(N, at most 2) coordinates of the leading modes; one chunk is in memory at a time."""
    return np.concatenate([cp.load(ref)[:, :2].copy() for ref in omega.refs("chunks", "coordinates")])


def _manifests(cp: Checkpointer) -> list[Manifest]:
    """Of the nodes that fitted this round's ensemble and predicted the library; payloads are not read again."""
    store = CheckpointStore(cp.store.storage, verify="size")
    nodes = [record for record in cp.records.values() if record.stage in STAGES]
    own = [record for record in nodes if not record.node.startswith(("reference/", "older/"))]
    found = [store.find(record.stage, record.key).manifest for record in sorted(own, key=lambda record: record.node)]
    return [manifest for manifest in found if manifest is not None]


def _load(cp: Checkpointer, ref: Ref) -> pd.DataFrame | None:
    """A table of an earlier round; a damaged one is left out, `verify` names it."""
    try:
        table: pd.DataFrame = cp.load(ref)
    except DamagedCheckpoint:
        return None
    return table
