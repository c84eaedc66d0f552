"""The node of the stopping room: one look at what is known."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tasks.campaigns.config import ReadoutSection
from tasks.campaigns.designs import read_table
from tasks.campaigns.membership import Membership
from tasks.campaigns.stopping_settings import StoppingSection
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.task import node_task
from tasks.ensembles.task import chunk_inputs, mean_prediction
from tasks.operators.task import Omega, load_rows
from tasks.stopping.audit import correct
from tasks.stopping.control import random_control
from tasks.stopping.decision import decide
from tasks.stopping.evidence import AuditEvidence, ControlEvidence, Forecast, Look, PickEvidence, Wells, gather_evidence
from tasks.stopping.forecast import said_errors
from tasks.stopping.picks import newest_picks
from tasks.stopping.risk import risk_of_look

DECIDE = Stage("decide", 4)
FORECAST = Stage("forecast", 1)


@node_task("forecast")
def forecast_errors(
    cp: Checkpointer, training: Ref, membership: Ref, chunks: Sequence[Outputs], omega: Omega, readout: ReadoutSection
) -> Outputs:
    """What can be known of the coming look without any hidden readout: sizes, and what the model expects to have wrong.

    Args:
        cp: Runs the node.
        training: Training labels. Those of the hidden audit are not handed in.
        membership: Who is chosen and who is hidden.
        chunks: Predictions of the library.
        omega: Its diagonals say how far predictions may be off.
        readout: When a prediction is correct.
    """

    def compute() -> dict[str, Payload]:
        standing = cp.load(membership)
        taken, hidden = (standing["chosen"] | standing["vetoed"]).to_numpy(bool), standing["hidden"].to_numpy(bool)
        labelled = standing["perturbation"].isin(cp.load(training)["perturbation"]).to_numpy(bool)
        errors = load_rows(cp, omega.refs("parts", "variance")), load_rows(cp, omega.refs("parts", "noise"))
        said = said_errors(mean_prediction(cp, chunks), *errors, readout)[~taken]
        forecast = Forecast(
            library=len(taken),
            chosen=int(taken.sum()),
            pending=int((taken & ~labelled).sum()),
            audit=int((hidden & ~taken).sum()),
            expected_errors=float(np.clip(said.mean(), 0, 1)) if said.size else 0.0,
        )
        return {"forecast": Payload("json", forecast.model_dump(mode="json"))}

    inputs = {
        "training labels": training,
        "membership": membership,
        **omega.inputs("parts", "variance", "noise"),
        **chunk_inputs(chunks),
    }
    params = {"kind": readout.kind, "tolerance": readout.tolerance}
    return cp.run("forecast", FORECAST, compute, outputs=("forecast",), params=params, inputs=inputs)


@node_task("decide")
def decide_round(
    cp: Checkpointer,
    labels: Outputs,
    membership: Ref,
    chunks: Sequence[Outputs],
    forecast: Outputs,
    tensors: Ref,
    newest: tuple[Ref, Ref] | None,
    readout: ReadoutSection,
    stopping: StoppingSection,
    round_index: int,
    previous_looks: Sequence[tuple[int, float]],
    known_risk: float | None,
    wells: Wells,
    controls: Sequence[ControlEvidence],
) -> Outputs:
    """Stop or go on.

    Args:
        cp: Runs the node.
        labels: Labels of this round.
        membership: Who is chosen and who is hidden.
        chunks: Predictions of the library.
        forecast: What can be known without any hidden readout; the risk is spent by it.
        tensors: Of the ensemble, with its out-of-fold predictions of the training labels.
        newest: Batch of this round, and the forward residuals on its training labels; None in round 0.
        readout: When a prediction is correct.
        stopping: γ, risk, rules and their limits.
        round_index: The round.
        previous_looks: Round and risk of every look before the first one at this evidence.
        known_risk: Risk of that first look, None if this is it.
        wells: Sample wells used, of a full screen, and of a further round.
        controls: The random control in earlier rounds, oldest first.
    """
    risk = _risk_of_look(cp, forecast["forecast"], stopping, round_index, previous_looks, known_risk)

    def compute() -> dict[str, Payload]:
        control = _control(cp, labels["training"], membership, tensors, readout, round_index)
        evidence = _evidence(cp, labels, membership, chunks, readout)
        picks = None if newest is None else _picks(cp, newest, readout)
        seen = (*controls, *([control] if control else []))
        look = Look(round_index=round_index, audit=evidence, wells=wells, picks=picks, controls=seen)
        decision = decide(look, stopping, previous_looks, risk)
        return {
            "decision": Payload("json", decision.model_dump(mode="json")),
            "evidence": Payload("json", look.model_dump(mode="json")),
        }

    params = {
        "stopping": stopping,
        "kind": readout.kind,
        "tolerance": readout.tolerance,
        "round": round_index,
        "previous_looks": [list(look) for look in previous_looks],
        "risk": risk,
        "wells": wells.model_dump(),
        "controls": [control.model_dump() for control in controls],
    }
    inputs = _inputs(labels, membership, chunks, forecast["forecast"], tensors, newest)
    return cp.run("decide", DECIDE, compute, outputs=("decision", "evidence"), params=params, inputs=inputs)


def _inputs(
    labels: Outputs,
    membership: Ref,
    chunks: Sequence[Outputs],
    forecast: Ref,
    tensors: Ref,
    newest: tuple[Ref, Ref] | None,
) -> dict[str, Ref]:
    """What a decision is read from, by name."""
    return {
        "training labels": labels["training"],
        "audit labels": labels["audit"],
        "membership": membership,
        "tensors": tensors,
        "forecast": forecast,
        **({} if newest is None else dict(zip(("batch", "forward residuals"), newest, strict=True))),
        **chunk_inputs(chunks),
    }


def _risk_of_look(
    cp: Checkpointer,
    forecast: Ref,
    stopping: StoppingSection,
    round_index: int,
    previous_looks: Sequence[tuple[int, float]],
    known: float | None,
) -> float:
    """Risk of the first look at this evidence: known, or what it may spend; 0 where nobody looks but plans."""
    if known is not None:
        return known
    if forecast.pending:
        return 0.0
    return risk_of_look(stopping, round_index, previous_looks, Forecast.model_validate(cp.load(forecast)))


def _evidence(
    cp: Checkpointer, labels: Outputs, membership: Ref, chunks: Sequence[Outputs], readout: ReadoutSection
) -> AuditEvidence:
    """What the hidden audit members say of the predictions."""
    standing = cp.load(membership).set_index("perturbation")
    audit, training = cp.load(labels["audit"]), cp.load(labels["training"])
    rows = standing.index.get_indexer(audit["perturbation"])
    mean = mean_prediction(cp, chunks)
    right = np.zeros(len(standing), dtype=bool)
    right[rows] = correct(mean[rows], audit["value"].to_numpy(dtype=np.float64), readout)
    measured = standing.index.isin(training["perturbation"]) | standing.index.isin(audit["perturbation"])
    vetoed = standing["vetoed"].to_numpy(bool)
    # The random arm draws no vetoed one, so the audit says nothing of them: they count as chosen and, unless they were
    # measured before the veto, as wrong.
    members = Membership(standing["chosen"].to_numpy(bool) | vetoed, standing["hidden"].to_numpy(bool) & ~vetoed)
    return gather_evidence(members, measured, right)


def _picks(cp: Checkpointer, newest: tuple[Ref, Ref], readout: ReadoutSection) -> PickEvidence:
    """What the strategies picked last, and how much of it the model before had right."""
    batch, forward = newest
    return newest_picks(read_table(cp.load(batch)), cp.load(forward), readout)


def _control(
    cp: Checkpointer, training: Ref, membership: Ref, tensors: Ref, readout: ReadoutSection, round_index: int
) -> ControlEvidence | None:
    """The random control of this round, from training labels alone."""
    standing: pd.DataFrame = cp.load(membership).set_index("perturbation")
    labels = cp.load(training)
    drawn = standing["arm"].reindex(labels["perturbation"]).eq("initial").to_numpy(bool)
    predicted = np.asarray(cp.load(tensors)["out_of_fold.mean"], dtype=np.float64)[:, 0]
    return random_control(predicted, labels["value"].to_numpy(dtype=np.float64), drawn, readout, round_index)
