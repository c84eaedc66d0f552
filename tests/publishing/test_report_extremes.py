"""A report is drawn whatever size its numbers have: by then a round has computed everything, and must not end here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tasks.publishing.report import render_report
from tasks.publishing.report_data import ReportData

SIZES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "all zero": np.zeros_like,
    "all the same": lambda x: np.full_like(x, 0.5),
    "hardly apart": lambda x: 0.81 + 0.03 * np.linspace(0.0, 1.0, len(x)),
    "tiny": lambda x: 1e-12 * x,
    "huge": lambda x: 1e12 * x,
    "one far away": lambda x: np.where(np.arange(len(x)) == 0, 1e15, x),
}


@pytest.fixture(scope="module")
def plain(report_data: Callable[..., ReportData]) -> ReportData:
    return report_data(plates=2, library=700)


@pytest.fixture(scope="module")
def headings(plain: ReportData) -> int:
    return render_report(plain).count("<h2")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("table", ["screen", "forward", "spectrum", "eigenmap", "losses", "work", "history", "batch"])
def test_numbers_of_any_size_are_drawn(
    report_data: Callable[..., ReportData], plain: ReportData, headings: int, table: str, size: str
) -> None:
    changed = getattr(plain, table).copy()
    for name in changed.columns:
        if changed[name].dtype.kind == "f":
            changed[name] = SIZES[size](changed[name].to_numpy())
    page = render_report(report_data(plates=2, library=700, **{table: changed}))
    assert page.count("<h2") == headings
