"""Checks on the certificate and on what active selection is worth."""

from __future__ import annotations

from tasks.publishing.cards.accuracy import error_by_arm
from tasks.publishing.cards.parts import Check
from tasks.publishing.cards.wording import as_float, count, percent, percent_floor, plain_percent, quantity, things
from tasks.publishing.report_data import ReportData
from tasks.stopping.audit_rule import audit_accuracy
from tasks.stopping.evidence import AuditEvidence

STRATEGY, RANDOM = "strategic picks", "random control"


def audit_size(data: ReportData) -> Check:
    """Whether the hidden audit members could certify the target at all."""
    name = "Size of the audit"
    if not data.evidence:
        return Check(name, "INFO", "What the audit holds was not recorded.")
    evidence = AuditEvidence.model_validate(data.evidence["audit"])
    risk, gamma = float(data.decision["rules"]["audit"]["risk"]), float(data.decision["gamma"])
    faultless = {"errors": 0, "measured": evidence.audit, "pending": 0}
    best = audit_accuracy(evidence.model_copy(update=faultless), risk).accuracy
    found = f"{things(evidence.audit, 'hidden member')}: without a single error among them they would certify "
    found += f"{percent_floor(best)}; the target is {plain_percent(gamma)}."
    if best < gamma:
        todo = "Each round's random arm adds members: enlarge batch.random_arm, or go on; lower γ if that is enough."
        return Check(name, "WARN", found, todo)
    return Check(name, "PASS", found)


def unmeasured(data: ReportData) -> Check:
    """Chosen or hidden perturbations without a measurement: the bound counts each as an error."""
    name = "Without a measurement"
    if not data.evidence:
        return Check(name, "INFO", "What has no measurement was not recorded.")
    evidence = AuditEvidence.model_validate(data.evidence["audit"])
    missing = evidence.pending + evidence.unmeasured
    if not missing:
        return Check(name, "PASS", "Everything chosen, and every hidden member, has a measurement.")
    found = f"{things(evidence.pending, 'chosen perturbation')} and {things(evidence.unmeasured, 'hidden member')} "
    todo = "Repeat plates that failed or upload those awaited, for their own sake and not for that of the bound."
    return Check(name, "WARN", f"{found}have none, and count as errors in the bound.", todo)


def risk(data: ReportData) -> Check:
    """What is left of the allowed risk."""
    name = "Risk"
    spent, left = (as_float(data.decision[key]) or 0.0 for key in ("risk_spent", "risk_left"))
    allowed = float(data.decision["risk"])
    found = f"{percent(spent)} of {plain_percent(allowed)} spent after {things(int(data.decision['look']), 'look')}."
    if left <= 0 and not data.decision["stop"]:
        todo = "A further look can certify nothing but certainties: do not compute finished rounds again."
        return Check(name, "WARN", f"All of it is spent: {found}", todo)
    return Check(name, "PASS", found)


def random_control(data: ReportData) -> Check:
    """Whether strategic picks find larger errors than random picks do."""
    name = "Picks against random"
    table = error_by_arm(data)
    now = None if table is None else table[table["round"] == data.round_index].set_index("arm")
    if now is None or not {STRATEGY, RANDOM} <= set(now.index):
        return Check(name, "INFO", "This round has no forward errors of both arms to compare.")
    values = {arm: [as_float(now.at[arm, end]) for end in ("error", "lower", "upper")] for arm in (STRATEGY, RANDOM)}
    (error, low, high), (error_random, low_random, high_random) = values[STRATEGY], values[RANDOM]
    if low is None or high is None or low_random is None or high_random is None:
        return Check(name, "INFO", "Too few forward errors to compare the two arms.")
    told = [percent(one) if data.kind == "binary" else quantity(one, data.unit) for one in (error, error_random)]
    found = f"Forward error {told[0]} on strategic picks, {told[1]} on random ones"
    if low > high_random:
        return Check(name, "PASS", f"{found}: the strategy finds what the model gets wrong.")
    if high < low_random:
        todo = "Give random a larger share of batch.slots until the strategy finds larger errors than chance does."
        return Check(name, "WARN", f"{found}: the strategy looks where the model is right already.", todo)
    return Check(name, "INFO", f"{found}: no more than chance apart, so the picks may be no better than random ones.")


def random_campaign(data: ReportData) -> Check:
    """Wells used, against those that random order would have used for the same accuracy."""
    name = "Wells against random"
    used, low, high = (as_float(data.decision[key]) for key in ("wells_used", "wells_random_low", "wells_random_high"))
    if used is None or low is None or high is None:
        why = str(data.decision["wells_random_note"] or "").strip().rstrip(".")
        return Check(name, "INFO", f"Not known: {why[0].lower()}{why[1:]}." if why else "Not known.")
    found = f"{count(used)} wells used; in random order {count(low)} to {count(high)} would have given this accuracy"
    if used < low:
        return Check(name, "PASS", f"{found}: selection saved wells.")
    if used > high:
        todo = "Set random as the strategy of a slot; the certificate is as good with it."
        return Check(name, "WARN", f"{found}: selection cost wells.", todo)
    return Check(name, "INFO", f"{found}: it cannot be told which is better.")


CHECKS = (audit_size, unmeasured, risk, random_control, random_campaign)
