"""Cards on the computation: what was recomputed and why, files to download, and the words."""

from __future__ import annotations

from tasks.publishing.cards.parts import Card, Cell, Link, Table, Tone
from tasks.publishing.cards.wording import as_text, sentence, things
from tasks.publishing.report_data import ReportData

STATUS: dict[str, tuple[Tone, str]] = {"computed": ("info", "●"), "cached": ("muted", "○")}
FOLD_FROM = 25

TERMS = (
    (
        "Hybrid screen",
        "A value for every perturbation of the library: measured where there is a measurement, else predicted.",
    ),
    (
        "Audit set",
        "Perturbations drawn at random and measured, but hidden from the model until the strategy itself would "
        "choose them. Errors are counted on them, so the guarantee does not depend on the model.",
    ),
    (
        "Guaranteed correct",
        "A lower bound of the share of the screen that is correct, wrong with at most the allowed risk. Correct "
        "means within the tolerance, or the right class.",
    ),
    (
        "Target γ",
        "The share of the screen that has to be guaranteed correct before the campaign stops.",
    ),
    (
        "Random arm, random control",
        "The arm is the part of every batch that is drawn at random; it joins the audit set. Together they are the "
        "control with which strategic picks are compared.",
    ),
    (
        "Forward error",
        "Measured minus predicted, by a model that had not seen that perturbation.",
    ),
    (
        "Calibrated",
        "What is promised holds as often as promised: 90% intervals hold nine measurements in ten.",
    ),
    (
        "CRPS",
        "Continuous ranked probability score: the distance of a predicted distribution from what was measured, in the "
        "unit of the readout. Small when predictions are right and their standard deviations are too.",
    ),
    (
        "Held-out loss",
        "Error on labels that a member of the ensemble was not trained on; for numbers, in units of the labels' "
        "variance. It decides which epoch a member keeps, and is no test of the ensemble.",
    ),
    (
        "Standard error",
        "Of a measured value: noise of its wells and of plate alignment. Of a predicted one: disagreement of the "
        "ensemble and bias of the model together.",
    ),
    (
        "Reducible Ω, Σ_F, Δ",
        "The part of the error that more data can remove: disagreement of the ensemble (Σ_F) plus bias (Δ). Each "
        "mode is a direction in which many perturbations err together.",
    ),
    (
        "Robust Z′",
        "1 − 3 (s₊ + s₋) / |m₊ − m₋| over the control wells, with medians m and s = 1.4826 MAD. Near 1 is excellent.",
    ),
    (
        "SSMD",
        "|m₊ − m₋| / √(s₊² + s₋²): distance of the controls in units of their spread.",
    ),
)


def recomputed_card(data: ReportData) -> Card:
    """Every step of the round: computed anew and why, or read from its checkpoint."""
    title = "What was recomputed, and why"
    steps = data.recomputed
    if steps.empty:
        return Card("recomputed", title, missing="No step was recorded.", wide=True)
    anew = int((steps["status"] == "computed").sum())
    rows = tuple(
        (Cell(str(node)), Cell(str(status), *STATUS.get(str(status), ("", ""))), Cell(sentence(as_text(reason))))
        for node, status, reason in zip(steps["node"], steps["status"], steps["reason"], strict=True)
    )
    finding = f"{things(anew, 'step')} computed, {len(steps) - anew} read from checkpoints."
    folded = f"All {len(steps)} steps" if len(steps) > FOLD_FROM else ""
    return Card(
        "recomputed", title, finding, tables=(Table(("step", "status", "why"), rows, folded=folded),), wide=True
    )


def downloads_card(data: ReportData) -> Card:
    """Files beside the report."""
    if not data.links:
        return Card("downloads", "Files", missing="No file was handed out beside this report.", wide=True)
    return Card("downloads", "Files", links=tuple(Link(name, href) for name, href in data.links.items()), wide=True)


def glossary_card() -> Card:
    """The words of the report in plain English."""
    return Card("glossary", "Words", terms=TERMS, wide=True)
