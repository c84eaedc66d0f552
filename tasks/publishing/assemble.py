"""Puts together what the report of a round shows, from the round's checkpoints and the runs before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.campaigns.ledger import Run
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import DamagedCheckpoint

_FORWARD = ["perturbation", "predicted", "sd", "measured", "arm", "round"]


def report_tables(
    cp: Checkpointer,
    looks: Sequence[Run],
    now: Mapping[str, Any],
    labels: Outputs,
    standing: Ref,
    omega: Outputs,
    fitted: Outputs,
    forward: Sequence[Outputs],
    batch: pd.DataFrame | None,
) -> dict[str, Any]:
    """The tables of a report that come from checkpoints.

    Args:
        cp: Reads checkpoints.
        looks: Decided runs before this one, of all rounds, in the order they were published.
        now: This look: round, run, look, bound, estimate, gamma, wells_used.
        labels: Labels of this round.
        standing: Membership of this round.
        omega: The error operator of this round.
        fitted: The ensemble of this round.
        forward: Forward residuals of this round, on training and on audit labels; empty in the first.
        batch: The proposed batch.
    """
    newest = {run.round_index: run for run in looks if run.round_index < now["round"]}
    table = cp.load(standing)
    return {
        "history": looks_table(looks, now),
        "forward": forward_table(cp, list(newest.values()), forward),
        "spectrum": spectrum_table(cp.load(omega["spectra"])),
        "eigenmap": eigenmap_table(cp.load(omega["coordinates"]), table, batch),
        "losses": losses_table(cp.load(fitted["tensors"])["history"]),
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
    table["sd"] = np.sqrt(table["epistemic"] ** 2 + table["variance"])
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


def losses_table(history: np.ndarray[Any, Any]) -> pd.DataFrame:
    """Held-out loss of each member by epoch, where it was still learning."""
    member, epoch = np.nonzero(np.isfinite(history))
    return pd.DataFrame({"member": member, "epoch": epoch, "loss": history[member, epoch]})


def _load(cp: Checkpointer, ref: Ref) -> pd.DataFrame | None:
    """A table of an earlier round; a damaged one is left out, `verify` names it."""
    try:
        table: pd.DataFrame = cp.load(ref)
    except DamagedCheckpoint:
        return None
    return table
