"""Stop or go on: the bound, the risk it spends, and what would change the answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from tasks.campaigns.config import StoppingSection
from tasks.errors import UserError
from tasks.stopping.audit import audit_bound
from tasks.stopping.evidence import AuditEvidence

# Shares of the risk kept back, so that a round that is computed again after the last one still has some to spend.
RERUN_SHARES = 1


class AccuracyBound(NamedTuple):
    """A lower bound of the system accuracy, and what it rests on."""

    accuracy: float
    errors: int
    assumption: str


Rule = Callable[[AuditEvidence, float], AccuracyBound]


class Decision(BaseModel):
    """One look at the evidence, and what follows from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stop: bool = Field(description="No further batch is needed, or none is possible.")
    certified: bool = Field(description="The bound reaches γ.")
    reason: str = Field(description="Why, in a sentence.")
    rule: str = Field(description="Stopping rule.")
    bound: float = Field(description="Lower bound of the system accuracy at the risk of this look.")
    estimate: float | None = Field(description="Plain estimate of the system accuracy; none without an audit readout.")
    gamma: float = Field(description="Target system accuracy γ.")
    risk: float = Field(description="Allowed probability that the certificate is wrong, over the whole campaign.")
    risk_spent: float = Field(description="Risk spent so far, this look included.")
    risk_left: float = Field(description="Risk left for later looks.")
    risk_this_look: float = Field(description="Risk spent on this look.")
    look: int = Field(description="Number of this look, from 1.")
    round_index: int = Field(description="Round whose readouts the look includes.")
    assumption: str = Field(description="What the bound rests on.")
    wells_used: int = Field(description="Sample wells used so far.")
    wells_full_screen: int = Field(description="Sample wells of the full screen.")
    wells_saved: int = Field(description="Sample wells not used.")
    would_change: str = Field(description="What would change the answer, in a sentence.")


def audit_rule(evidence: AuditEvidence, risk: float) -> AccuracyBound:
    """Lower bound of the system accuracy from the hidden audit members.

    accuracy ≥ 1 − (K − e + p)/N: K errors at most in the population (audit_bound, unmeasured members counted as
    errors), e of them known and hence published as measured, p chosen perturbations without a measurement, which were
    not drawn at random and are all taken for errors.
    """
    most = audit_bound(evidence.population, evidence.audit, evidence.errors + evidence.unmeasured, risk)
    errors = most - evidence.errors + evidence.pending
    assumption = (
        "The hidden audit members are a uniform random sample of everything not chosen. That holds as long as their "
        "readouts influence nothing that is chosen, trained, tuned or repeated. Nothing is assumed of the model."
    )
    return AccuracyBound((evidence.library - errors) / evidence.library, errors, assumption)


RULES: dict[str, Rule] = {"audit": audit_rule}


def decide(
    evidence: AuditEvidence,
    stopping: StoppingSection,
    round_index: int,
    previous_looks: Sequence[tuple[int, float]],
    wells_used: int,
    wells_full: int,
    risk: float | None = None,
) -> Decision:
    """Look at the evidence once, and spend risk on it.

    Args:
        evidence: Counts of the audit.
        stopping: γ, risk, rule, rounds.
        round_index: Round whose readouts are in; 0 is the initial design.
        previous_looks: (round, risk spent) of every earlier look, runs of the same round included. Computing an
            identical run again is the same look, and must not be listed.
        wells_used: Sample wells used so far.
        wells_full: Sample wells of the full screen.
        risk: Risk that this evidence was looked at with before. One evidence has one risk for good: another would be
            another bound from the same audit, and spend what nobody counts. None: `risk_of_look`.

    Raises:
        UserError: On an unknown rule or a negative risk.
    """
    if stopping.rule not in RULES:
        known = ", ".join(sorted(RULES))
        raise UserError("unknown stopping rule", where="stopping.rule", got=stopping.rule, expected=f"one of {known}")
    rule = RULES[stopping.rule]
    if risk is None:
        risk = risk_of_look(stopping, round_index, previous_looks)
    spent = math.fsum([risk, *(before for _, before in previous_looks)])
    bound = rule(evidence, risk)
    certified = bound.accuracy >= stopping.gamma
    stop, reason = _verdict(bound.accuracy, evidence, stopping, round_index, risk)
    return Decision(
        stop=stop,
        certified=certified,
        reason=reason,
        rule=stopping.rule,
        bound=bound.accuracy,
        estimate=_estimate(evidence),
        gamma=stopping.gamma,
        risk=stopping.risk,
        risk_spent=spent,
        risk_left=max(0.0, stopping.risk - spent),
        risk_this_look=risk,
        look=len(previous_looks) + 1,
        round_index=round_index,
        assumption=bound.assumption,
        wells_used=wells_used,
        wells_full_screen=wells_full,
        wells_saved=wells_full - wells_used,
        would_change=_would_change(evidence, stopping.gamma, risk, rule),
    )


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


def _verdict(
    bound: float, evidence: AuditEvidence, stopping: StoppingSection, round_index: int, risk: float
) -> tuple[bool, str]:
    """Whether to stop, and the sentence."""
    known = f"at least {_percent(bound)} of the screen is correct (wrong with probability {risk:.2g} at most)"
    target = f"the target is {_percent(stopping.gamma)}"
    if bound >= stopping.gamma:
        return True, f"Certified: {known}; {target}."
    if evidence.open == 0:
        missing = evidence.pending + evidence.unmeasured
        awaited = f" {missing} perturbations still wait for a plate that passes." if missing else ""
        return True, f"Stopped without a certificate: nothing is left to choose. So far {known}; {target}.{awaited}"
    if round_index >= stopping.max_rounds:
        return True, f"Stopped without a certificate: round {round_index} was the last. So far {known}; {target}."
    return False, f"Go on: so far {known}; {target}."


def _estimate(evidence: AuditEvidence) -> float | None:
    """System accuracy if everything unmeasured were as often right as the measured audit members."""
    if evidence.measured == 0:
        return None
    unmeasured = evidence.population - evidence.measured + evidence.pending
    return 1 - unmeasured * (evidence.errors / evidence.measured) / evidence.library


def _would_change(evidence: AuditEvidence, gamma: float, risk: float, rule: Rule) -> str:
    """The nearest counts on the other side of γ."""

    def reaches(**changes: int) -> bool:
        return rule(evidence.model_copy(update=changes), risk).accuracy >= gamma

    allowed = _most_errors(evidence.measured, lambda errors: reaches(errors=errors))
    counts = f"{evidence.errors} errors among {evidence.measured} measured audit members"
    if reaches():
        if allowed == evidence.measured:
            return f"No number of audit errors: the target is reached whatever they are (now {counts})."
        return f"{allowed + 1} errors or more would have denied the certificate (now {counts})."
    if allowed >= 0:
        return f"At most {allowed} errors would certify (now {counts})."
    missing = evidence.pending + evidence.unmeasured
    if missing and reaches(errors=0, measured=evidence.audit, pending=0):
        return (
            f"Not fewer errors alone (now {counts}): {missing} perturbations without a measurement count as errors. "
            "Repeat their plates."
        )
    return (
        f"Not fewer errors (now {counts}): the audit is too small. More rounds, each with its random arm, enlarge it."
    )


def _most_errors(measured: int, reaches: Callable[[int], bool]) -> int:
    """Largest number of errors that still reaches γ, -1 if none does; the bound falls in the errors."""
    low, high = -1, measured + 1
    while high - low > 1:
        middle = (low + high) // 2
        if reaches(middle):
            low = middle
        else:
            high = middle
    return low


def _percent(share: float) -> str:
    """A share for people, rounded down: a bound must not look better than it is."""
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f}%"
