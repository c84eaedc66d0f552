"""Rule `audit`: what the hidden random sample says, whatever the model is."""

from __future__ import annotations

from typing import NamedTuple

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.stopping.audit import audit_bound
from tasks.stopping.evidence import AuditEvidence, Look
from tasks.stopping.rule import Found, Rule, bounded, largest

ASSUMPTION = (
    "The hidden audit members are a uniform random sample of everything not chosen. That holds as long as their "
    "readouts influence nothing that is chosen, trained, tuned or repeated. Nothing is assumed of the model."
)


class AccuracyBound(NamedTuple):
    """A lower bound of the system accuracy, and the errors that it allows."""

    accuracy: float
    errors: int


def audit_accuracy(evidence: AuditEvidence, risk: float) -> AccuracyBound:
    """Lower bound of the system accuracy from the hidden audit members.

    accuracy ≥ 1 − (K − e + p)/N: K errors at most in the population (audit_bound, unmeasured members counted as
    errors), e of them known and hence published as measured, p chosen perturbations without a measurement, which were
    not drawn at random and are all taken for errors.
    """
    most = audit_bound(evidence.population, evidence.audit, evidence.errors + evidence.unmeasured, risk)
    errors = most - evidence.errors + evidence.pending
    return AccuracyBound((evidence.library - errors) / evidence.library, errors)


def find(look: Look, stopping: StoppingSection, risk: float) -> Found:
    """Stop when the bound reaches γ."""
    bound = audit_accuracy(look.audit, risk).accuracy
    said = bounded(bound, stopping.gamma, risk)
    return Found(bound >= stopping.gamma, f"{said[0].upper()}{said[1:]}.", ASSUMPTION, bound)


def would_change(look: Look, stopping: StoppingSection, risk: float) -> str:
    """The nearest counts on the other side of γ."""
    evidence = look.audit

    def reaches(**changes: int) -> bool:
        return audit_accuracy(evidence.model_copy(update=changes), risk).accuracy >= stopping.gamma

    allowed = largest(-1, evidence.measured + 1, lambda errors: reaches(errors=errors))
    counts = f"{evidence.errors} errors among {evidence.measured} measured audit members"
    if allowed >= evidence.errors:
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


RULE = Rule(find, would_change, certifies=True)
