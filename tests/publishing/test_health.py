"""Health checks: each of them at every outcome that it can have, and what to do wherever something is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from tasks.ensembles.estimates import Calibration, Estimate
from tasks.publishing.calibration_data import Judged
from tasks.publishing.cards.checks import CHECKS, certificate, lab, model, run_checks
from tasks.publishing.cards.health import health_card, health_counts
from tasks.publishing.cards.parts import Check
from tasks.publishing.report_data import ReportData

Make = Callable[..., ReportData]


@pytest.fixture(scope="module")
def data(report_data: Make) -> ReportData:
    return report_data()


def decided(data: ReportData, **changes: object) -> ReportData:
    return replace(data, decision=dict(data.decision) | changes)


def states(*rows: tuple[int, str, int, str]) -> pd.DataFrame:
    return pd.DataFrame([(*row, "") for row in rows], columns=["round", "barcode", "attempt", "state", "reason"])


@pytest.mark.parametrize(
    ("rows", "status", "told"),
    [
        ([(3, "A", 1, "passed"), (2, "B", 1, "repeated"), (2, "B", 2, "passed")], "PASS", "All 2 plates so far"),
        ([(3, "A", 1, "failed"), (3, "B", 1, "planned")], "FAIL", "1 plate failed quality control: A."),
        ([(3, "A", 1, "passed"), (2, "B", 1, "planned")], "WARN", "1 plate awaited: B."),
        ([(3, "A", 1, "waived"), (3, "B", 1, "abandoned")], "INFO", "A waived; B abandoned."),
        ([(3, "A", 1, "passed"), (4, "B", 1, "planned")], "PASS", "All 1 plate so far"),  # of the round to come
        ([], "INFO", "No plate was planned"),
    ],
)
def test_plates(data: ReportData, rows: list[tuple[int, str, int, str]], status: str, told: str) -> None:
    check = lab.plates(replace(data, plate_states=states(*rows)))
    assert check.status == status
    assert told in check.finding


def z_of(barcode: str, attempt: int, value: float | None) -> dict[str, Any]:
    return {"barcode": barcode, "attempt": attempt, "metrics": [{"name": "zprime", "value": value}]}


@pytest.mark.parametrize(
    ("quality", "status", "told"),
    [
        ([z_of("A", 1, 0.61), z_of("B", 2, 0.5)], "PASS", "Z′ is 0.50 or more on 2 plates"),
        ([z_of("A", 1, 0.61), z_of("B", 2, 0.499)], "WARN", "Z′ is 0.50 on B"),
        ([z_of("A", 1, 0.61), z_of("B", 1, -2.0)], "PASS", "on 1 plate"),  # another attempt is used
        ([z_of("A", 1, None)], "INFO", "No used plate"),
    ],
)
def test_controls(data: ReportData, quality: list[dict[str, Any]], status: str, told: str) -> None:
    book = states((3, "A", 1, "passed"), (3, "B", 1, "repeated"), (3, "B", 2, "waived"), (2, "C", 1, "passed"))
    check = lab.controls(replace(data, plate_states=book, quality=[*quality, z_of("C", 1, 0.1)]))
    assert check.status == status
    assert told in check.finding


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({}, "PASS", "sd 0.08 log mol/L, 8% of the tolerance"),
        ({"shared_sd": 0.5}, "PASS", "50% of the tolerance"),
        ({"shared_sd": 0.51}, "WARN", "51% of the tolerance"),
        ({"warning": "alignment b-score drifts"}, "WARN", "Alignment b-score drifts."),
        ({"shared_sd": None, "plate": None}, "PASS", "By control wells alone (two-point)."),
    ],
)
def test_alignment(data: ReportData, changes: dict[str, Any], status: str, told: str) -> None:
    check = lab.alignment(replace(data, intake=dict(data.intake) | changes))
    assert check.status == status
    assert told in check.finding


@pytest.mark.parametrize(
    ("rejected", "excluded", "status", "told"),
    [
        (0, 0, "PASS", "no well is left out"),
        (0, 1, "INFO", "1 well is left out"),
        (2, 3, "WARN", "2 files or plates were refused. 3 wells are left out"),
    ],
)
def test_uploads(data: ReportData, rejected: int, excluded: int, status: str, told: str) -> None:
    check = lab.uploads(replace(data, intake=dict(data.intake) | {"rejected": rejected, "excluded": excluded}))
    assert check.status == status
    assert told in check.finding


@pytest.mark.parametrize(("odd", "status"), [(0, "PASS"), (1, "PASS"), (5, "WARN")])
def test_replicates(data: ReportData, odd: int, status: str) -> None:
    """Of 200 on two plates 0.2 are outliers by chance: one is no news (18%), five are (2 in a million)."""
    screen = data.screen.head(300).assign(plates=["A;B"] * 200 + ["A"] * 100, flags="")
    screen.iloc[:odd, screen.columns.get_loc("flags")] = "waived;outlier"
    screen.iloc[250:, screen.columns.get_loc("flags")] = "outlier"  # on one plate: nothing can be said
    check = lab.replicates(replace(data, screen=screen))
    assert check.status == status
    assert check.finding.startswith(f"{odd} of 200 perturbations on several plates disagree")
    assert "0.2 would by chance" in check.finding


def test_noise_of_the_labels_limits_what_can_be_reached(data: ReportData) -> None:
    screen = data.screen.head(100).assign(source="measured", standard_error=1 / norm.ppf(0.975))
    check = lab.noise(replace(data, screen=screen))
    assert (check.status, "95.0% of such labels" in check.finding) == ("PASS", True)
    assert lab.noise(decided(replace(data, screen=screen), gamma=0.96)).status == "WARN"
    flipped = replace(data, kind="binary", screen=screen.assign(standard_error=np.sqrt(0.2 * 0.8)))
    assert (lab.noise(flipped).status, "80.0%" in lab.noise(flipped).finding) == ("WARN", True)
    assert lab.noise(replace(data, screen=screen.assign(standard_error=0.0))).status == "PASS"


@pytest.mark.parametrize(
    ("n", "features", "status"), [(49, 10, "WARN"), (50, 10, "PASS"), (50, 50, "PASS"), (60, 2048, "INFO")]
)
def test_labels(data: ReportData, n: int, features: int, status: str) -> None:
    assert model.labels(replace(data, fit={"labels": n, "features": features})).status == status


def losses(best: list[float], late: int) -> pd.DataFrame:
    """Members of three epochs: the first `late` are best at the last one, the others at the second."""
    rows = []
    for member, loss in enumerate(best):
        at = 3 if member < late else 2
        rows += [(member, epoch, loss + abs(epoch - at), epoch == at) for epoch in (1, 2, 3)]
    return pd.DataFrame(rows, columns=["member", "epoch", "loss", "best"])


@pytest.mark.parametrize(
    ("best", "late", "status", "told"),
    [
        ([0.2] * 4, 0, "PASS", "4 of 4 members were best before"),
        ([0.2] * 4, 1, "PASS", "3 of 4"),
        ([0.2] * 4, 2, "WARN", "2 of 4 members were still getting better"),
        ([0.2, 0.2, 1.0, 1.2], 0, "FAIL", "2 of 4 members predict held-out labels no better"),
    ],
)
def test_training(data: ReportData, best: list[float], late: int, status: str, told: str) -> None:
    check = model.training(replace(data, losses=losses(best, late)))
    assert check.status == status
    assert told in check.finding


def test_members_must_differ_and_predictions_must_too(data: ReportData) -> None:
    screen = data.screen.head(4).assign(predicted=[0.0, 0.0, 2.0, 2.0])  # sd 1
    outcomes = {
        value: model.members(replace(data, screen=screen.assign(epistemic=value))).status for value in (0.009, 0.01)
    }
    assert outcomes == {0.009: "WARN", 0.01: "PASS"}
    assert model.members(replace(data, screen=screen.assign(predicted=1.0))).status == "FAIL"


def judged(group: str, n: int = 100, **metrics: Estimate) -> Judged:
    return Judged(3, group, Calibration("continuous", n, metrics, ()))


@pytest.mark.parametrize(
    ("low", "high", "status"), [(0.7, 0.89, "WARN"), (0.85, 0.95, "PASS"), (0.92, 0.99, "INFO"), (0.8, 0.9, "PASS")]
)
def test_intervals_are_judged_on_the_random_control(data: ReportData, low: float, high: float, status: str) -> None:
    wide, told = Estimate(0.5, 0.4, 0.6), Estimate((low + high) / 2, low, high)
    both = (judged("strategy", coverage_90=wide), judged("random", coverage_90=told))
    check = model.intervals(replace(data, calibration=both))
    assert check.status == status
    assert "of 100 measurements that the model had not seen (random control)" in check.finding


@pytest.mark.parametrize(("error", "n", "status"), [(0.11, 50, "WARN"), (0.1, 50, "PASS"), (0.3, 49, "INFO")])
def test_probabilities(data: ReportData, error: float, n: int, status: str) -> None:
    one = judged("random", n, expected_calibration_error=Estimate(error))
    assert model.intervals(replace(data, kind="binary", calibration=(one,))).status == status


def test_forward_residuals(data: ReportData) -> None:
    assert (
        model.forward(data).finding
        == "132 perturbations predicted before measured: 16 random control, 116 strategic picks."
    )
    assert model.forward(replace(data, forward=None)).status == "WARN"
    assert model.forward(replace(data, forward=None, round_index=0)).status == "INFO"


@pytest.mark.parametrize(
    ("changes", "seen", "status"),
    [
        ({}, "reducible", "PASS"),
        ({"stability": {"diagonals": 0.1}}, "reducible", "WARN"),
        ({"stability": {"diagonals": 0.1}}, "members", "INFO"),
        ({"stability": {"diagonals": None}}, "reducible", "INFO"),
        ({"clipped_share": 0.95, "stability": {"diagonals": 0.1}}, "reducible", "INFO"),
        ({"left out": "there are no new forward residuals"}, "reducible", "INFO"),
    ],
)
def test_cobias(data: ReportData, changes: dict[str, Any], seen: str, status: str) -> None:
    operator = {"chosen": {"operator": seen}, "cobias": dict(data.operator["cobias"]) | changes}
    assert model.cobias(replace(data, operator=operator)).status == status


@pytest.mark.parametrize(
    ("correlation", "seen", "status"),
    [
        (0.2, "calibrated", "PASS"),
        (0.19, "calibrated", "WARN"),
        (0.19, "reducible", "INFO"),
        (None, "calibrated", "WARN"),
    ],
)
def test_size_of_the_error(data: ReportData, correlation: float | None, seen: str, status: str) -> None:
    facts = dict(data.operator["calibration"]) | {"correlation": correlation}
    operator = {"chosen": {"operator": seen}, "calibration": facts}
    assert model.error_size(replace(data, operator=operator)).status == status
    assert (
        "7 residuals." in model.error_size(replace(data, operator={"calibration": {"left out": "7 residuals"}})).finding
    )


@pytest.mark.parametrize(("same", "status"), [(0, "PASS"), (10, "INFO"), (11, "WARN")])
def test_duplicates(data: ReportData, same: int, status: str) -> None:
    values = np.arange(100.0)
    values[:same] = -1.0
    screen = data.screen.head(100).assign(predicted=values, epistemic=1.0)
    check = model.duplicates(replace(data, screen=screen))
    assert check.status == status
    assert not same or check.finding.startswith(f"{same} perturbations share their exact prediction")
    assert model.duplicates(replace(data, screen=screen, fit={"model": "forest"})).status == "INFO"


def audited(data: ReportData, **changes: int) -> ReportData:
    return replace(data, evidence={"audit": dict(data.evidence["audit"]) | changes})


def test_an_audit_that_could_not_certify_is_told(data: ReportData) -> None:
    """N = 1,282 of which 802 are open and 97 hidden: without an error at risk 0.0063 at most 38 errors remain."""
    check = certificate.audit_size(data)
    assert check.status == "PASS"
    assert check.finding.startswith("97 hidden members: without a single error among them they would certify 97.0%")
    assert certificate.audit_size(decided(data, gamma=0.975)).status == "WARN"
    assert certificate.audit_size(audited(data, audit=5, measured=5, errors=0)).status == "WARN"


def test_what_has_no_measurement_counts_as_an_error(data: ReportData) -> None:
    assert certificate.unmeasured(data).status == "PASS"
    check = certificate.unmeasured(audited(data, pending=7, measured=95))
    assert check.status == "WARN"
    assert check.finding.startswith("7 chosen perturbations and 2 hidden members have none")


def test_risk(data: ReportData) -> None:
    assert certificate.risk(data).finding == "1.9% of 5% spent after 4 looks."
    assert certificate.risk(decided(data, risk_left=0.0)).status == "WARN"
    assert certificate.risk(decided(data, risk_left=0.0, stop=True)).status == "PASS"


@pytest.mark.parametrize(
    ("random", "status"),
    [((0.5, 0.4, 0.6), "PASS"), ((0.9, 0.7, 1.1), "INFO"), ((1.5, 1.3, 1.7), "WARN"), ((0.9, None, None), "INFO")],
)
def test_picks_against_random(data: ReportData, random: tuple[float | None, ...], status: str) -> None:
    one, other = Estimate(1.0, 0.8, 1.2), Estimate(random[0], random[1], random[2])
    both = (judged("strategy", rmse=one), judged("random", rmse=other))
    assert certificate.random_control(replace(data, calibration=both)).status == status
    assert certificate.random_control(replace(data, calibration=both[:1])).status == "INFO"


@pytest.mark.parametrize(("used", "status"), [(609, "PASS"), (610, "INFO"), (820, "INFO"), (821, "WARN")])
def test_wells_against_a_random_campaign(data: ReportData, used: int, status: str) -> None:
    assert certificate.random_campaign(decided(data, wells_used=used)).status == status


def test_unknown_wells_of_a_random_campaign_say_why(data: ReportData) -> None:
    unknown = decided(data, wells_random_low=None, wells_random_high=None, wells_random_note="Only 7 are left.")
    assert certificate.random_campaign(unknown) == Check("Wells against random", "INFO", "Not known: only 7 are left.")


# --- all of them ---


def bare(data: ReportData) -> ReportData:
    return replace(
        data, forward=None, calibration=(), losses=None, fit={}, operator={}, evidence={}, intake={}, quality=[],
        plate_states=data.plate_states.iloc[:0], screen=data.screen.iloc[:0],
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_whoever_asks_says_what_to_do(report_data: Make, kind: str) -> None:
    worst = report_data(kind=kind)
    for data in (worst, bare(worst), audited(decided(worst, gamma=0.99, wells_used=999), pending=3)):
        for check in run_checks(data):
            assert check.finding.endswith("."), check.name
            assert check.todo.endswith(".") or check.status in ("INFO", "PASS"), check.name


def test_without_data_a_check_says_why_and_passes_nothing(data: ReportData) -> None:
    found = {check.name: check.status for check in run_checks(replace(bare(data), round_index=0))}
    assert found.pop("Risk") == "PASS"
    assert found.pop("Wells against random") == "PASS"
    assert found.pop("Duplicates") == "INFO"
    assert set(found.values()) == {"INFO"}


def test_the_worst_comes_first_and_everything_is_counted(data: ReportData) -> None:
    card = health_card(data)
    order = ["FAIL", "WARN", "INFO", "PASS"]
    ranks = [order.index(check.status) for check in card.checks]
    assert ranks == sorted(ranks)
    assert len(card.checks) == len(CHECKS) == sum(n for _, n in health_counts(data))
    assert card.checks[0].name == "Plates"
    passed = sum(check.status == "PASS" for check in card.checks)
    assert card.finding.startswith(f"{passed} of {len(CHECKS)} checks passed; ")
    assert "asks for something: Plates." in card.finding
    assert dict(health_counts(data))["FAIL"] == 1
