"""The health of a round: every check, the worst first."""

from __future__ import annotations

from tasks.publishing.cards.checks import run_checks
from tasks.publishing.cards.parts import Card, Status, Tone
from tasks.publishing.cards.wording import listed, things
from tasks.publishing.report_data import ReportData

ORDER: tuple[Status, ...] = ("FAIL", "WARN", "INFO", "PASS")
TONES: dict[Status, Tone] = {"FAIL": "fail", "WARN": "warn", "INFO": "info", "PASS": "pass"}


def health_card(data: ReportData) -> Card:
    """All checks, those that ask for something first."""
    checks = tuple(sorted(run_checks(data), key=lambda check: ORDER.index(check.status)))
    asking = [check.name for check in checks if check.status in ("FAIL", "WARN")]
    passed = sum(check.status == "PASS" for check in checks)
    finding = f"{passed} of {things(len(checks), 'check')} passed"
    if asking:
        finding += f"; {things(len(asking), 'asks', 'ask')} for something: {listed(asking)}."
    else:
        finding += "; none asks for anything."
    return Card("health", "What to look at", finding, checks=checks, wide=True)


def health_counts(data: ReportData) -> tuple[tuple[Status, int], ...]:
    """How many checks came out which way, the worst first; those that did not occur are left out."""
    found = [check.status for check in run_checks(data)]
    return tuple((status, found.count(status)) for status in ORDER if status in found)
