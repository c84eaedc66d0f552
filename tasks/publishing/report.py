"""The report of a round: one HTML file that needs nothing else, neither a server nor the network."""

from __future__ import annotations

from tasks.publishing.cards.accuracy import learning_card
from tasks.publishing.cards.assessment import assessment_card
from tasks.publishing.cards.batch import batch_card
from tasks.publishing.cards.bound import bound_card, rules_card
from tasks.publishing.cards.calibration import calibration_card
from tasks.publishing.cards.calibration_course import course_card
from tasks.publishing.cards.computation import downloads_card, glossary_card, recomputed_card
from tasks.publishing.cards.eigenspace import eigenmap_card, spectrum_card
from tasks.publishing.cards.health import health_card
from tasks.publishing.cards.losses import losses_card
from tasks.publishing.cards.overview import agreement_card, distribution_card, extremes_card
from tasks.publishing.cards.parts import Section
from tasks.publishing.cards.quality import quality_card
from tasks.publishing.cards.verdict import verdict
from tasks.publishing.cards.work import fit_card, work_card
from tasks.publishing.report_data import ReportData
from tasks.publishing.templating import render_page


def render_report(data: ReportData) -> str:
    """Draw the report of one round.

    Args:
        data: What the report shows.

    Returns:
        One HTML document. The same data gives the same text: no clock, no random ids. Whatever comes from the data is
        escaped, and a content security policy forbids the page to load anything.

    Raises:
        UserError: The data contradict each other (a well on no plate format, a slot that is not in the batch).
    """
    return render_page("report.html.j2", _sections(data), data=data, verdict=verdict(data))


def _sections(data: ReportData) -> tuple[Section, ...]:
    """Every card in reading order."""
    return (
        Section("health", "Health", (health_card(data),)),
        Section("accuracy", "Accuracy", (bound_card(data), rules_card(data), learning_card(data))),
        Section("calibration", "Calibration", (calibration_card(data), course_card(data))),
        Section(
            "batch",
            "Next batch",
            (batch_card(data), assessment_card(data), spectrum_card(data), eigenmap_card(data)),
        ),
        Section("plates", "Plates", (quality_card(data),)),
        Section("screen", "Hybrid screen", (distribution_card(data), agreement_card(data), extremes_card(data))),
        Section(
            "computation", "Computation", (losses_card(data), fit_card(data), work_card(data), recomputed_card(data))
        ),
        Section("files", "Files and words", (downloads_card(data), glossary_card())),
    )
