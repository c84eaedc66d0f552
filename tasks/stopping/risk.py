"""How the risk of a campaign is spent, look by look."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.errors import UserError
from tasks.stopping.audit_rule import audit_accuracy
from tasks.stopping.evidence import AuditEvidence, Forecast

# Shares of the risk kept back, so that a round that is computed again after the last one still has some to spend.
RERUN_SHARES = 1
# Spent where the forecast says that γ is near, of what is left; and elsewhere, of an equal share. Chosen among five
# pairs tried in simulated campaigns (tests/benchmarks/README.md).
NEAR_SHARE = 1 / 3
FAR_SHARE = 1 / 4


def risk_of_look(
    stopping: StoppingSection,
    round_index: int,
    previous_looks: Sequence[tuple[int, float]],
    forecast: Forecast,
) -> float:
    """Risk that this look may spend: more where the model itself expects the bound to reach γ, little elsewhere.

    The sum over any sequence of looks never exceeds the campaign's risk (union bound). What is spent depends on the
    round, on earlier spending, on who is hidden, and on what the model says, never on a hidden readout. A model that is
    wrong about itself wastes risk, and makes the certificate later, not wrong. The last round keeps nothing for others.

    Args:
        stopping: γ, risk, rounds.
        round_index: The round.
        previous_looks: Round and risk of every earlier look.
        forecast: What is known without any hidden readout.

    Raises:
        UserError: If an earlier look spent a negative risk.
    """
    much = most_risk(stopping, round_index, previous_looks)
    if round_index >= stopping.max_rounds:
        return much
    # A look is worth its risk already where luck of one standard deviation would certify.
    wrong = forecast.audit * forecast.expected_errors
    lucky = AuditEvidence(
        **forecast.model_dump(exclude={"expected_errors"}),
        measured=forecast.audit,
        errors=max(0, math.floor(wrong - math.sqrt(wrong))),
    )
    near = audit_accuracy(lucky, much).accuracy >= stopping.gamma
    return much if near else FAR_SHARE * equal_share(stopping, round_index, previous_looks)


def most_risk(stopping: StoppingSection, round_index: int, previous_looks: Sequence[tuple[int, float]]) -> float:
    """What a look near γ spends: a third of what is left (NEAR_SHARE), in the last rounds an equal share.

    Raises:
        UserError: If an earlier look spent a negative risk.
    """
    return max(NEAR_SHARE * _left(stopping, previous_looks), equal_share(stopping, round_index, previous_looks))


def equal_share(stopping: StoppingSection, round_index: int, previous_looks: Sequence[tuple[int, float]]) -> float:
    """An equal share of what is left for the rounds left, this one included, and for one more (RERUN_SHARES).

    Raises:
        UserError: If an earlier look spent a negative risk.
    """
    rounds = max(1, stopping.max_rounds - round_index + 1)
    return _left(stopping, previous_looks) / (rounds + RERUN_SHARES)


def _left(stopping: StoppingSection, previous_looks: Sequence[tuple[int, float]]) -> float:
    """Risk that no earlier look has spent."""
    if any(before < 0 for _, before in previous_looks):
        raise UserError("an earlier look spent a negative risk", where="previous looks", got=list(previous_looks))
    return max(0.0, stopping.risk - math.fsum(before for _, before in previous_looks))
