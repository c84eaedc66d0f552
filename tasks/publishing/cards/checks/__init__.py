"""The health checks of a round, in reading order. A new check is one function and one entry of its module's CHECKS."""

from __future__ import annotations

from tasks.publishing.cards.checks import certificate, lab, model
from tasks.publishing.cards.parts import Check
from tasks.publishing.report_data import ReportData

CHECKS = (*lab.CHECKS, *model.CHECKS, *certificate.CHECKS)


def run_checks(data: ReportData) -> tuple[Check, ...]:
    """Every check of a round. One that cannot be made says why as INFO."""
    return tuple(check(data) for check in CHECKS)
