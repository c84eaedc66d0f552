"""The node of the operators room: Ω over the library, and its eigenspace over the pool."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.campaigns.config import CampaignConfig
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.task import node_task
from tasks.ensembles.predict import Prediction
from tasks.ensembles.task import Reference, chunk_inputs, load_prediction
from tasks.operators.cobias import Cobias, cobias_factor, quadratic_delta
from tasks.operators.eigenmodes import Eigenmodes, eigenmodes
from tasks.operators.factors import Factor, hstack, member_factor
from tasks.readouts.noise import NoiseModel
from tasks.readouts.sigma_y import sigma_y

OMEGA = Stage("omega", 1)


@node_task("error operator")
def error_operator(
    cp: Checkpointer,
    config: CampaignConfig,
    chunks: Sequence[Outputs],
    labels: Outputs,
    standing: Ref,
    forward: Outputs | None,
    reference: Reference | None,
) -> Outputs:
    """Ω^red = Σ_F + Δ as factors, and the eigenspace that strategies see.

    Without forward residuals (round 0) Δ is left out, and the diagnostics say so.

    Outputs: `variance` (N, 2) diagonals of Σ_F and Δ; `eigenvalues` (r,) and `coordinates` (N, r) of the chosen
    operator, its eigenmodes taken over the pool and evaluated over the whole library; `spectra` of each operator;
    `diagnostics` of Δ.
    """
    section = config.operators

    def compute() -> dict[str, Payload]:
        said = load_prediction(cp, chunks)
        sigma_f = epistemic_factor(said)
        cobias = _cobias(cp, config, labels, forward)
        if cobias is None or reference is None:
            delta = Factor(np.zeros((len(sigma_f), 0), dtype=np.float32))
        else:
            delta = cobias_factor(load_prediction(cp, reference.chunks).features, cobias)
        pool = ~cp.load(standing)["chosen"].to_numpy(bool)
        operators = {"members": sigma_f, "cobias": delta, "reducible": hstack([sigma_f, delta])}
        modes = {name: eigenmodes(factor.take(pool)) for name, factor in operators.items()}
        chosen = config.batch.operator
        variance = np.stack([sigma_f.diagonal(), delta.diagonal()], axis=1)
        return {
            "variance": Payload("array", variance),
            "eigenvalues": Payload("array", _positive(modes[chosen])),
            "coordinates": Payload("array", modes[chosen].coordinates(operators[chosen]).astype(np.float32)),
            "spectra": Payload("json", {name: _positive(found).tolist() for name, found in modes.items()}),
            "diagnostics": Payload("json", _diagnostics(cobias)),
        }

    params = {"ridge": section.ridge, "operator": config.batch.operator, "kind": config.readout.kind}
    inputs = {"membership": standing, **chunk_inputs(chunks)}
    if forward is not None and reference is not None:
        inputs |= {f"forward {name}": ref for name, ref in forward.refs.items()}
        inputs |= {f"labels {name}": labels[name] for name in ("training", "incidence", "noise")}
        inputs |= {f"reference {name}": ref for name, ref in chunk_inputs(reference.chunks).items()}
    outputs = ("variance", "eigenvalues", "coordinates", "spectra", "diagnostics")
    return cp.run("omega", OMEGA, compute, outputs=outputs, params=params, inputs=inputs)


def epistemic_factor(said: Prediction) -> Factor:
    """Σ_F as a factor (N, M + r): spread of the members, and the members' own posteriors."""
    return hstack([member_factor(said.members), Factor(said.within)])


def _cobias(cp: Checkpointer, config: CampaignConfig, labels: Outputs, forward: Outputs | None) -> Cobias | None:
    """The quadratic Δ from the forward residuals; None where there are none."""
    if forward is None:
        return None
    table = cp.load(forward["table"])
    if table.empty:
        return None
    noise = sigma_y(
        cp.load(labels["training"]),
        cp.load(labels["incidence"]),
        NoiseModel.model_validate(cp.load(labels["noise"])),
        table["perturbation"].tolist(),
        kind=config.readout.kind,
    )
    members, within, features = (cp.load(forward[name]) for name in ("members", "within", "features"))
    said = Prediction(members, within, features)
    residuals = table["measured"].to_numpy(np.float64) - table["predicted"].to_numpy(np.float64)
    return quadratic_delta(features, residuals, noise, epistemic_factor(said), members.shape[1], config.operators.ridge)


def _positive(modes: Eigenmodes) -> np.ndarray[Any, np.dtype[np.float64]]:
    return modes.values[: modes.positive]


def _diagnostics(cobias: Cobias | None) -> dict[str, Any]:
    if cobias is None:
        return {"cobias": "left out: there are no forward residuals yet"}
    return {
        "cobias": "quadratic",
        "residuals": cobias.n_residuals,
        "effective_residuals": cobias.effective_n,
        "clipped_share": cobias.clipped_share,
        "rank": int(cobias.root.shape[1]),
    }
