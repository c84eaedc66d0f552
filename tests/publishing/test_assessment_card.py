"""The card on active selection: verdict, evidence, figure, and what it says where there is nothing."""

import pytest

from tasks.publishing.cards.assessment import assessment_card
from tasks.publishing.cards.checks.model import selection
from tasks.publishing.report import render_report

NOTHING = {"value": None, "low": None, "high": None, "why": "12 labels"}


def told(verdict="active", low=-0.1, high=-0.01, **more):
    pairs = [
        {
            "repeat": k,
            "labels": 120,
            "tested": 20,
            "start": 1.0,
            "active": 0.8,
            "random": 0.9,
            "difference": -0.1 + k / 50,
        }
        for k in range(6)
    ]
    findings = [
        {"name": "signal", "speaks_for": "", "sentence": "The model beats the mean.", "figures": {}},
        {"name": "replay", "speaks_for": "active", "sentence": "eigenmodes wins <b>.", "figures": {}},
    ]
    base = {
        "source": "campaign", "round": 3, "strategy": "eigenmodes", "measure": "log RMSE", "labels": 240,
        "library": 1282, "verdict": verdict, "why": "eigenmodes wins.",
        "difference": {"value": -0.05, "low": low, "high": high, "why": ""},
        "findings": findings, "pairs": pairs, "random_share": 0.25, "random_why": "The share goes to 25%.",
    }  # fmt: skip
    return base | more


def test_the_card_tells_verdict_evidence_and_share(report_data):
    card = assessment_card(report_data(assessment=told()))
    assert card.finding == "Verdict: active. eigenmodes wins."
    assert [row[0].text for row in card.tables[0].rows] == ["signal", "replay"]
    assert card.tables[0].rows[1][1].mark == "✓"
    (figure,) = card.figures
    assert [len(trace["x"]) for trace in figure.spec["data"]] == [7, 6, 1]
    assert "The share goes to 25%." in card.note
    assert "never the hidden audit" in card.note
    assert "hidden perturbations" in card.note


def test_a_round_without_replays_has_no_figure(report_data):
    card = assessment_card(report_data(assessment=told(pairs=[], difference=NOTHING)))
    assert card.figures == ()
    assert len(card.tables) == 1


def test_what_was_not_asked_is_said(report_data):
    assert "not asked" in assessment_card(report_data()).missing
    assert selection(report_data()).status == "INFO"


def test_the_report_shows_it_escaped(report_data):
    page = render_report(report_data(assessment=told()))
    assert "Is active selection worth it?" in page
    assert "eigenmodes wins &lt;b&gt;." in page


@pytest.mark.parametrize(
    ("verdict", "low", "high", "status"),
    [
        ("active", -0.1, -0.01, "PASS"),
        ("random", -0.1, 0.1, "INFO"),
        ("random", 0.01, 0.1, "WARN"),
        ("fix the assay first", -0.1, 0.1, "WARN"),
    ],
)
def test_the_check_warns_where_something_is_to_do(report_data, verdict, low, high, status):
    check = selection(report_data(assessment=told(verdict, low, high)))
    assert check.status == status
    assert bool(check.todo) == (status == "WARN")
