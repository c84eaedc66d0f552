"""The metrics of calibration as a table, each with a sentence on how to read it."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.ensembles.calibration import area_by_chance
from tasks.ensembles.estimates import Estimate
from tasks.publishing.calibration_data import Judged
from tasks.publishing.cards.accuracy import ARM_NAMES
from tasks.publishing.cards.parts import Cell, Table
from tasks.publishing.cards.wording import count, percent, quantity, sentence
from tasks.publishing.report_data import ReportData

SHARES = ("coverage_50", "coverage_80", "coverage_90", "coverage_95", "accuracy")
TWO_DIGITS = ("miscalibration_area", "rank_correlation", "rank_correlation_epistemic", "auroc")
WITH_UNIT = ("crps", "sharpness", "rmse", "mae")
READINGS = {
    "coverage_50": ("inside 50% intervals", "Should be 50%. Fewer: the model is too sure. More: too careful."),
    "coverage_80": ("inside 80% intervals", "Should be 80%."),
    "coverage_90": ("inside 90% intervals", "Should be 90%."),
    "coverage_95": ("inside 95% intervals", "Should be 95%."),
    "miscalibration_area": (
        "miscalibration area",
        "Area between the curve and the diagonal: 0 is perfect, 0.5 the worst. In brackets: what chance alone gives.",
    ),
    "nll": (
        "negative log likelihood",
        "Lower is better. One confident error costs more than many small ones. Compare rounds, not campaigns.",
    ),
    "crps": ("CRPS", "Lower is better: the absolute error of a prediction that is a distribution, in the unit."),
    "sharpness": (
        "sharpness",
        "Root mean square of the predicted sd: the error the model expects. As large as the RMSE if it is right.",
    ),
    "rmse": ("RMSE", "Root mean squared error: the error that was met."),
    "mae": ("mean absolute error", "As the RMSE, less moved by the worst."),
    "rank_correlation": (
        "rank correlation, sd and error",
        "Above 0: errors are larger where the sd is larger. Even a perfect model stays well below 1.",
    ),
    "rank_correlation_epistemic": (
        "rank correlation, reducible sd and error",
        "The same without the noise of the label: active selection lives on this. Around 0 it chooses at random.",
    ),
    "accuracy": ("predicted rightly", "Share on the right side of one half."),
    "brier": ("Brier score", "Mean squared distance of probability and class. Lower is better; always one half: 0.25."),
    "expected_calibration_error": (
        "expected calibration error",
        "Mean distance of the curve from the diagonal, in ten bins. 0 is perfect; few measurements make it larger.",
    ),
    "auroc": (
        "AUROC of confidence",
        "Chance that a right prediction is more confident than a wrong one. 0.5: confidence says nothing.",
    ),
}
_LOG_LOSS = ("log loss", "Negative log likelihood, lower is better. Always one half: 0.69. Confident errors cost most.")


def metrics_table(data: ReportData, judged: Sequence[Judged]) -> Table:
    """Every metric with its 95% interval, a column a group."""
    names = [ARM_NAMES.get(one.group, one.group) for one in judged]
    rows = [(Cell("measurements", note="Intervals are 95%."), *(Cell(count(one.calibration.n)) for one in judged))]
    for metric in judged[0].calibration.metrics:
        name, reading = _LOG_LOSS if metric == "nll" and data.kind == "binary" else READINGS[metric]
        unit = f" [{data.unit}]" if metric in WITH_UNIT and data.unit else ""
        cells = (_cell(metric, one.calibration.metrics[metric], one.calibration.n) for one in judged)
        rows.append((Cell(name + unit, note=reading), *cells))
    columns = tuple(range(1, len(names) + 1))
    return Table(("metric", *names), tuple(rows), numeric=columns, stacked=True)


def metric_text(metric: str, value: float | None) -> str:
    """A value of a metric as people read it."""
    if metric in SHARES:
        return percent(value, 0)
    if value is None or metric not in TWO_DIGITS:
        return quantity(value, zeros=True)
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # + 0.0: no −0.00


def _cell(metric: str, found: Estimate, n: int) -> Cell:
    """The value with its interval, or a dash that says why."""
    text = metric_text(metric, found.value)
    if metric == "miscalibration_area" and n:
        return Cell(text, note=f"({metric_text(metric, area_by_chance(n))})")
    if found.low is None or found.high is None:
        return Cell(text, hint=sentence(found.why))
    return Cell(text, note=f"{metric_text(metric, found.low)} to {metric_text(metric, found.high)}")
