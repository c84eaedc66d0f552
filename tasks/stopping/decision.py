"""Stop or go on: every rule's finding, what the configured ones decide, and the risk that is spent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.stopping.evidence import AuditEvidence, Look
from tasks.stopping.record import Decision, RuleRecord
from tasks.stopping.rule import Found, bounded
from tasks.stopping.rules import RULES, Joined, read_rule
from tasks.stopping.savings import estimate, random_campaign


def decide(look: Look, stopping: StoppingSection, previous_looks: Sequence[tuple[int, float]], risk: float) -> Decision:
    """Look at the evidence once, and spend risk on it.

    Rules that decide and certify share the risk of the look where one of them is enough (`or`); where all must (`and`)
    each has all of it. A rule that is only shown has all of it too: a campaign that goes by it makes other looks.

    Args:
        look: What is known.
        stopping: γ, risk, rules and their limits.
        previous_looks: (round, risk spent) of every earlier look, runs of the same round included. Computing an
            identical run again is the same look, and must not be listed.
        risk: What this look spends: that of the first look at this evidence if it was looked at before, else
            `risk_of_look`. One evidence has one risk for good: another would be another bound from the same audit, and
            spend what nobody counts.

    Raises:
        UserError: On an unknown rule or a negative risk.
    """
    joined = read_rule(stopping.rule)
    risks = {name: risk / joined.parts if name in joined.certifying else risk for name in RULES}
    found = {name: rule.find(look, stopping, risks[name]) for name, rule in RULES.items()}
    changes = {name: rule.would_change(look, stopping, risks[name]) for name, rule in RULES.items()}
    certificate = _certificate(joined, found)
    bound = found[certificate].bound or 0.0
    stop, reason = _verdict(look, stopping, joined, found, certificate, risks[certificate])
    spent = math.fsum([risk, *(before for _, before in previous_looks)])
    at_random = random_campaign(look)
    others = [f"{name}: {changes[name]}" for name in joined.names if name != certificate]
    return Decision(
        stop=stop,
        certified=bound >= stopping.gamma,
        reason=reason,
        rule=stopping.rule,
        certificate=certificate,
        bound=bound,
        estimate=estimate(look.audit),
        gamma=stopping.gamma,
        risk=stopping.risk,
        risk_spent=spent,
        risk_left=max(0.0, stopping.risk - spent),
        risk_this_look=risk,
        look=len(previous_looks) + 1,
        round_index=look.round_index,
        assumption=found[certificate].assumption,
        rules={name: _record(name, joined, found[name], risks[name], changes[name]) for name in RULES},
        control=look.control,
        wells_used=look.wells.used,
        wells_full_screen=look.wells.full,
        wells_saved=look.wells.full - look.wells.used,
        wells_random=at_random.wells,
        wells_random_low=at_random.low,
        wells_random_high=at_random.high,
        wells_saved_random=None if at_random.wells is None else at_random.wells - look.wells.used,
        wells_random_note=at_random.note,
        would_change=" ".join([changes[certificate], *others]),
    )


def _certificate(joined: Joined, found: Mapping[str, Found]) -> str:
    """The rule whose bound is published: the weakest of those that must all certify, the best of those that may."""
    pick = min if joined.every else max
    return pick(joined.certifying, key=lambda name: found[name].bound or 0.0)


def _record(name: str, joined: Joined, found: Found, risk: float, would_change: str) -> RuleRecord:
    return RuleRecord(
        decides=name in joined.names,
        stop=found.stop,
        bound=found.bound,
        risk=None if found.bound is None else risk,
        reason=found.reason,
        assumption=found.assumption,
        would_change=would_change,
    )


def _verdict(
    look: Look, stopping: StoppingSection, joined: Joined, found: Mapping[str, Found], certificate: str, risk: float
) -> tuple[bool, str]:
    """Whether to stop, and the sentence."""
    backing = found[certificate]
    bound = backing.bound or 0.0
    known = bounded(bound, stopping.gamma, risk, backing.condition)
    stops = [name for name in joined.names if found[name].stop]
    decided = len(stops) == len(joined.names) if joined.every else bool(stops)
    others = [found[name].reason for name in stops if not RULES[name].certifies]
    if bound >= stopping.gamma and decided:
        return True, " ".join([f"Certified: {known}.", *others])
    ended = " ".join(others) if decided else _no_more(look.audit, look.round_index, stopping)
    if ended and bound >= stopping.gamma:
        return True, f"Certified: {known}. {ended}"
    if ended:
        why = f"{ended[0].lower()}{ended[1:]}"
        return True, f"Stopped without a certificate: {why} So far {known}.{_awaited(look.audit)}"
    waiting = [f"Rule {name} does not stop: {found[name].reason}" for name in joined.names if not found[name].stop]
    return False, " ".join([f"Go on: so far {known}.", *(waiting if bound >= stopping.gamma else [])])


def _no_more(evidence: AuditEvidence, round_index: int, stopping: StoppingSection) -> str:
    """Why no round can follow, whatever the rules say; empty where one can."""
    if evidence.open == 0:
        return "Nothing is left to choose."
    return f"Round {round_index} was the last." if round_index >= stopping.max_rounds else ""


def _awaited(evidence: AuditEvidence) -> str:
    missing = evidence.pending + evidence.unmeasured if evidence.open == 0 else 0
    return f" {missing} perturbations still wait for a plate that passes." if missing else ""
