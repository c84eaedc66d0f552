"""Puts together what the report of a round shows, from the round's checkpoints and the runs before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.campaigns.ledger import Run
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.manifest import Manifest
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import CheckpointStore, DamagedCheckpoint
from tasks.operators.task import Omega, diagnostics
from tasks.publishing.calibration_data import judge
from tasks.publishing.training_data import STAGES, losses_table, work_table
from tasks.readouts.noise import NoiseModel

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_FORWARD = ["perturbation", "predicted", "sd", "epistemic", "measured", "arm", "round"]


def report_tables(
    cp: Checkpointer,
    looks: Sequence[Run],
    now: Mapping[str, Any],
    standing: Ref,
    omega: Omega,
    fitted: Outputs,
    forward: Sequence[Outputs],
    decided: Outputs,
    batch: pd.DataFrame | None,
    screen: pd.DataFrame,
    kind: str,
) -> dict[str, Any]:
    """The tables of a report that come from checkpoints.

    Args:
        cp: Reads checkpoints.
        looks: Decided runs before this one, of all rounds, in the order they were published.
        now: This look: round, run, look, bound, estimate, gamma, wells_used, risk_this_look, evidence.
        standing: Membership of this round.
        omega: The error operator of this round.
        fitted: The ensemble of this round.
        forward: Forward residuals of this round, on training and on audit labels; empty in the first.
        decided: The stopping decision and what it rests on.
        batch: The proposed batch.
        screen: obs of the published screen.
        kind: Kind of the readout.
    """
    newest = {run.round_index: run for run in looks if run.round_index < now["round"]}
    table = cp.load(standing)
    residuals = forward_table(cp, list(newest.values()), forward)
    pieces = _manifests(cp)
    operator = diagnostics(cp, omega)
    coordinates, noise = read_eigenspace(cp, omega, ~table["chosen"].to_numpy(bool))
    spectra = cp.load(omega.modes["spectra"])
    facts = {one.node: cp.load(one.payloads["facts"].ref()) for one in pieces if one.stage == "fit"}
    return {
        "history": looks_table(looks, now),
        "evidence": cp.load(decided["evidence"]),
        "forward": residuals,
        "calibration": judge(residuals, screen, kind, now["round"]),
        "spectrum": spectrum_table(spectra | noise_spectra(spectra, operator["chosen"]["operator"], *noise)),
        "operator": operator,
        "eigenmap": eigenmap_table(coordinates, table, batch),
        "fit": cp.load(fitted["facts"]),
        "losses": losses_table(cp.load(fitted["tensors"]).get("history")),
        "work": work_table(pieces, facts, [event.node for event in cp.events if event.status == "computed"]),
    }


def looks_table(looks: Sequence[Run], now: Mapping[str, Any]) -> pd.DataFrame:
    """One row per look: those of earlier runs, in the order they were published, and this one.

    `risk_spent` is what all looks up to it have spent; the same evidence seen again spends nothing.
    """
    columns = ["round", "run", "look", "bound", "estimate", "gamma", "wells_used", "risk_this_look"]
    table = pd.DataFrame([*(dict(run.summary or {}) for run in looks), dict(now)], columns=[*columns, "evidence"])
    again = table["evidence"].duplicated() & table["evidence"].notna()
    spent = table["risk_this_look"].astype(np.float64).mask(again, 0.0).cumsum(skipna=False)
    return table[columns].assign(risk_spent=spent)


def intake_facts(
    cp: Checkpointer, noise: Ref, method: str, warning: str | None, rejected: int, excluded: int
) -> dict[str, Any]:
    """How the readouts came in: see `ReportData.intake`.

    Args:
        cp: Reads checkpoints.
        noise: Noise of the aligned readout.
        method: Name of the alignment.
        warning: What is wrong with it, None where nothing is.
        rejected: Files or plates that were refused.
        excluded: Wells that the lab wants left out.
    """
    model = NoiseModel.model_validate(cp.load(noise))
    shared = {plate: variance + model.run_variances[model.runs[plate]] for plate, variance in model.plates.items()}
    plate = max(sorted(shared), key=lambda name: shared[name], default=None)
    return {
        "alignment": method,
        "warning": warning,
        "plate": plate,
        "shared_sd": None if plate is None else float(np.sqrt(shared[plate])),
        "rejected": rejected,
        "excluded": excluded,
    }


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


def noise_spectra(
    spectra: Mapping[str, Sequence[float]], chosen: str, along: Float64, alone: Float64
) -> dict[str, list[float]]:
    """Eigenvalues of Σ_Y over the pool, and those of Ω with it.

    Σ_Y is that of one further label of each perturbation, on plates not laid out yet: diagonal, its eigenvalues the
    variances themselves. `noise` holds as many of the largest as another operator has modes. `total` is the variance of
    Ω = Ω^red + Σ_Y along each mode u of Ω^red, λ + uᵀΣ_Y u: its eigenvalues where the noise is even, else their first
    approximation.

    Args:
        spectra: Positive eigenvalues of each operator, largest first.
        chosen: The operator that the modes are those of.
        along: (k,) uᵀΣ_Y u of each of its modes.
        alone: (n,) variances of the pool's n perturbations.
    """
    shown = max((len(values) for values in spectra.values()), default=0)
    found = {"noise": np.sort(alone)[::-1][:shown].tolist()}
    if chosen in ("reducible", "calibrated", "gradients"):
        found["total"] = (np.asarray(spectra[chosen], dtype=np.float64) + along).tolist()
    return found


def read_eigenspace(cp: Checkpointer, omega: Omega, pool: Bools) -> tuple[Float64, tuple[Float64, Float64]]:
    """(N, at most 2) coordinates; noise along each mode, and alone, over the pool. One chunk is in memory at a time."""
    values = np.asarray(cp.load(omega.modes["eigenvalues"]), dtype=np.float64)
    first, alone, weighted, start = [], [], np.zeros(len(values)), 0
    for coordinates, variance in zip(omega.refs("chunks", "coordinates"), omega.refs("parts", "noise"), strict=True):
        z, noise = cp.load(coordinates), cp.load(variance)
        mask = pool[start : start + len(z)]
        first.append(z[:, :2].copy())
        weighted += np.square(z[mask], dtype=np.float64).T @ noise[mask]
        alone.append(noise[mask])
        start += len(z)
    return np.concatenate(first), (weighted / values, np.concatenate(alone))


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
