"""The node of the stopping room: one look at the audit."""

from collections.abc import Sequence

import numpy as np

from tasks.campaigns.config import ReadoutSection, StoppingSection
from tasks.campaigns.membership import Membership
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.task import node_task
from tasks.ensembles.task import chunk_inputs, mean_prediction
from tasks.stopping.audit import correct
from tasks.stopping.decision import decide, risk_of_look
from tasks.stopping.evidence import AuditEvidence, gather_evidence

DECIDE = Stage("decide", 2)


@node_task("decide")
def decide_round(
    cp: Checkpointer,
    labels: Outputs,
    membership: Ref,
    chunks: Sequence[Outputs],
    readout: ReadoutSection,
    stopping: StoppingSection,
    round_index: int,
    previous_looks: Sequence[tuple[int, float]],
    known_risk: float | None,
    wells: tuple[int, int],
) -> Outputs:
    """Stop or go on, from the labels of the hidden audit members.

    Args:
        cp: Runs the node.
        labels: Labels of this round.
        membership: Who is chosen and who is hidden.
        chunks: Predictions of the library.
        readout: When a prediction is correct.
        stopping: γ, risk, rule, rounds.
        round_index: The round.
        previous_looks: Round and risk of every look before the first one at this evidence.
        known_risk: Risk of that first look, None if this is it.
        wells: Sample wells used, and those of a full screen.
    """
    risk = risk_of_look(stopping, round_index, previous_looks) if known_risk is None else known_risk

    def compute() -> dict[str, Payload]:
        evidence = _evidence(cp, labels, membership, chunks, readout)
        decision = decide(evidence, stopping, round_index, previous_looks, *wells, risk)
        return {
            "decision": Payload("json", decision.model_dump(mode="json")),
            "evidence": Payload("json", evidence.model_dump(mode="json")),
        }

    params = {
        "stopping": stopping,
        "kind": readout.kind,
        "tolerance": readout.tolerance,
        "round": round_index,
        "previous_looks": [list(look) for look in previous_looks],
        "risk": risk,
        "wells": list(wells),
    }
    inputs = {
        "training labels": labels["training"],
        "audit labels": labels["audit"],
        "membership": membership,
        **chunk_inputs(chunks),
    }
    return cp.run("decide", DECIDE, compute, outputs=("decision", "evidence"), params=params, inputs=inputs)


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
