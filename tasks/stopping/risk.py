"""How the risk of a campaign is spent, look by look."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.errors import UserError
from tasks.stopping.audit_rule import audit_accuracy
from tasks.stopping.evidence import AuditEvidence

# Shares of the risk kept back, so that a round that is computed again after the last one still has some to spend.
RERUN_SHARES = 1
# Spent where the forecast says that γ is near, of what is left; and elsewhere, of an equal share. Chosen among five
# pairs tried in simulated campaigns (tests/benchmarks/README.md).
NEAR_SHARE = 1 / 3
FAR_SHARE = 1 / 4


def risk_of_look(stopping: StoppingSection, round_index: int, previous_looks: Sequence[tuple[int, float]]) -> float:
    """Risk that this look may spend: an equal share of what is left for the rounds left, this one included.

    One further share (RERUN_SHARES) is kept back for runs repeated at the end. The sum over any sequence of looks
    never exceeds the campaign's risk (union bound). It depends on round and earlier spending, never on the audit.

    Raises:
        UserError: If an earlier look spent a negative risk.
    """
    if any(before < 0 for _, before in previous_looks):
        raise UserError("an earlier look spent a negative risk", where="previous looks", got=list(previous_looks))
    left = max(0.0, stopping.risk - math.fsum(before for _, before in previous_looks))
    rounds = max(1, stopping.max_rounds - round_index + 1)
    return left / (rounds + RERUN_SHARES)


def risk_by_forecast(
    stopping: StoppingSection,
    round_index: int,
    previous_looks: Sequence[tuple[int, float]],
    counts: AuditEvidence,
    expected_errors: float,
) -> float:
    """Risk that this look may spend: more where the model itself expects the bound to reach γ, little elsewhere.

    Still a union bound: what is spent depends on the round, on earlier spending, on who is hidden, and on what the
    model says, never on a hidden readout, and its sum never exceeds the campaign's risk. A model that is wrong about
    itself wastes risk, and makes the certificate later, not wrong.

    Args:
        stopping: γ, risk, rounds.
        round_index: The round.
        previous_looks: Round and risk of every earlier look.
        counts: Of the audit. Its errors and measured members are not read; `pending` is.
        expected_errors: Mean probability over what is not chosen that the prediction is wrong, as the model says it.

    Raises:
        UserError: If an earlier look spent a negative risk, or the probability is none.
    """
    if not 0 <= expected_errors <= 1:
        raise UserError("expected errors are no probability", where="forecast", got=expected_errors)
    equal = risk_of_look(stopping, round_index, previous_looks)
    left = max(0.0, stopping.risk - math.fsum(before for _, before in previous_looks))
    much = max(NEAR_SHARE * left, equal)
    # A look is worth its risk already where luck of one standard deviation would certify.
    wrong = counts.audit * expected_errors
    lucky = counts.model_copy(update={"measured": counts.audit, "errors": max(0, math.floor(wrong - math.sqrt(wrong)))})
    near = audit_accuracy(lucky, much).accuracy >= stopping.gamma
    return much if near else FAR_SHARE * equal
