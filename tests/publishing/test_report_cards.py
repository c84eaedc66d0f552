"""The cards against oracles: what they compute, and what they say when there is nothing to draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, chi2

from tasks.campaigns.answers import Answer
from tasks.errors import UserError
from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.accuracy import control_errors, error_by_arm, learning_card
from tasks.publishing.cards.batch import SHOWN_PICKS, batch_card, well_names
from tasks.publishing.cards.bound import bound_card, rules_card
from tasks.publishing.cards.calibration import calibration_card
from tasks.publishing.cards.calibration_course import course_card
from tasks.publishing.cards.computation import downloads_card, recomputed_card
from tasks.publishing.cards.eigenspace import eigenmap_card, spectrum_card
from tasks.publishing.cards.figures import POINT_LIMIT, thin
from tasks.publishing.cards.losses import losses_card
from tasks.publishing.cards.overview import agreement_card, distribution_card, extremes_card
from tasks.publishing.cards.quality import MOST_COLUMNS, quality_card
from tasks.publishing.cards.verdict import verdict
from tasks.publishing.cards.wording import listed, percent_floor, quantity, shorten, span
from tasks.publishing.cards.work import fit_card, work_card
from tasks.publishing.report_data import COLUMNS, ReportData

Make = Callable[..., ReportData]


@pytest.fixture(scope="module")
def data(report_data: Make) -> ReportData:
    return report_data()


def decided(data: ReportData, **changes: object) -> ReportData:
    return replace(data, decision=dict(data.decision) | changes)


# --- the verdict ---


@pytest.mark.parametrize(
    ("changes", "tone", "beginning"),
    [
        ({"stop": True, "bound": 0.912}, "pass", "Stop: 91.2% of the screen is guaranteed correct, 90% is needed."),
        ({"stop": False, "bound": 0.8437}, "info", "Measure the next batch: 84.3% of the screen is guaranteed"),
        ({"stop": True, "bound": 0.8437}, "warn", "Stop without a certificate: 84.3%"),
        ({"stop": True, "bound": 0.9}, "pass", "Stop: 90.0%"),
        ({"stop": True, "bound": 0.89999}, "warn", "Stop without a certificate: 89.9%"),
        ({"stop": False, "bound": None}, "info", "Measure the next batch: how much is correct could not be bounded."),
    ],
)
def test_headline(data: ReportData, changes: dict[str, object], tone: str, beginning: str) -> None:
    banner = verdict(decided(data, **changes))
    assert banner.tone == tone
    assert banner.headline.startswith(beginning)


def test_a_failed_plate_asks_for_attention_until_its_repeat_has_passed(data: ReportData) -> None:
    assert verdict(data).attention == (
        "1 plate failed quality control: repeat SOL-R03-P02.",
    )  # the failed first attempt of SOL-R01-P02 has a second one that passed
    repeat = pd.DataFrame([(3, "SOL-R03-P02", 2, "passed", "")], columns=data.plate_states.columns)
    later = replace(data, plate_states=pd.concat([data.plate_states, repeat], ignore_index=True))
    assert verdict(later).attention == ()


@pytest.mark.parametrize(("share", "text"), [(0.89999, "89.9%"), (0.9, "90.0%"), (0.29, "29.0%"), (1.0, "100.0%")])
def test_a_bound_never_reads_higher_than_it_is(share: float, text: str) -> None:
    assert percent_floor(share) == text


def test_the_banner_tells_every_bound_and_the_random_campaign(data: ReportData) -> None:
    facts = dict(verdict(data).facts)
    assert facts["Bound of every rule"] == (
        "audit 84.3% (decides); lemma 72.4%, on its own assumption. budget, plateau and manual bound nothing."
    )
    assert facts["Against picking at random"] == (
        "About 700 wells for the same estimate (610 to 820 with 90% confidence), 104 more than were used."
    )
    fewer = dict(verdict(decided(data, wells_random=500, wells_random_low=400, wells_random_high=590)).facts)
    assert fewer["Against picking at random"].endswith("96 fewer than were used.")
    unknown = decided(data, wells_random=None, wells_random_low=None, wells_random_high=None)
    told = dict(verdict(decided(unknown, wells_random_note="too few")).facts)
    assert told["Against picking at random"] == "Not known. Too few."


# --- accuracy ---


def test_risk_is_shown_as_spent_so_far(data: ReportData) -> None:
    card = bound_card(data)
    assert card.finding == (
        "84.3% is guaranteed correct after 4 looks, up from 59.6% at the first. 1.9% of the 5% risk allowed is spent."
    )
    bars, allowed = card.figures[1].spec["data"]
    assert bars["y"] == [0.0062, 0.0125, 0.0125, 0.0188]
    assert bars["customdata"] == ["0.63%", "0.63%", "0.00%", "0.63%"]
    assert set(allowed["y"]) == {0.05}
    older = bound_card(replace(data, history=data.history.assign(risk_spent=np.nan)))
    assert [figure.key for figure in older.figures] == ["bound"]
    assert "did not record the risk" in older.note


def test_limits_can_be_seen_at_the_first_look_too(data: ReportData) -> None:
    first = bound_card(replace(data, history=data.history.head(1)))
    limits = [next(t for t in f.spec["data"] if t["name"] in ("target γ", "allowed")) for f in first.figures]
    assert [(trace["mode"], trace["y"]) for trace in limits] == [("markers", [0.9]), ("markers", [0.05])]
    assert {f.spec["data"][-1]["mode"] for f in bound_card(data).figures} == {"lines"}


def test_every_rule_is_told_whoever_decides(data: ReportData) -> None:
    card = rules_card(data)
    assert card.finding == "The campaign goes by “audit”. Plateau would stop, but does not decide."
    rows = {row[0].text: row for row in card.tables[0].rows}
    assert list(rows) == ["audit", "lemma", "budget", "plateau", "manual"]
    assert [rows[name][2].text for name in rows] == ["84.3%", "72.4%", "–", "–", "–"]
    assert [rows[name][1].text for name in rows] == ["go on", "go on", "go on", "stop", "go on"]
    assert rows["audit"][0].note == "decides"
    assert rows["lemma"][0].note == "shown only"
    assert rows["lemma"][2].note == "risk 0.63%"
    assert rows["audit"][4].text == "At most 11 errors would certify."


def test_the_random_control_has_an_interval_everywhere(data: ReportData) -> None:
    """Left a band, right bars: χ² for a root mean square, Wilson for a share."""
    left, right = learning_card(data).figures
    band = next(trace for trace in left.spec["data"] if trace.get("fill"))
    table = error_by_arm(data)
    assert table is not None
    mine = table[table["arm"] == "random control"]
    assert band["y"] == fig.rounded([*mine["upper"], *mine["lower"][::-1]])
    trace = right.spec["data"][0]
    assert trace["y"] == [0.8, 0.7, 0.65, 0.6]
    assert trace["error_y"]["array"][0] == pytest.approx(0.8 * (np.sqrt(60 / chi2.ppf(0.025, 60)) - 1), rel=1e-4)
    assert trace["error_y"]["arrayminus"][0] == pytest.approx(0.8 * (1 - np.sqrt(60 / chi2.ppf(0.975, 60))), rel=1e-4)
    evidence = {"controls": [{"round_index": 2, "n": 20, "error": 0.25}]}
    shares = control_errors(replace(data, kind="binary", evidence=evidence))
    assert shares is not None
    wilson = binomtest(5, 20).proportion_ci(0.95, method="wilson")
    assert shares.loc[0, ["lower", "upper"]].tolist() == pytest.approx([wilson.low, wilson.high])


def test_forward_error_is_the_rmse_of_each_arm(data: ReportData) -> None:
    table = error_by_arm(data)
    assert table is not None
    assert data.forward is not None
    for row in table.itertuples():
        arm = {"random control": "random", "strategic picks": "strategy"}[str(row.arm)]
        mine = data.forward[(data.forward["round"] == row.round) & (data.forward["arm"] == arm)]
        assert row.error == pytest.approx(np.sqrt(np.mean((mine["measured"] - mine["predicted"]) ** 2)))
        assert row.lower <= row.error <= row.upper


def test_rows_without_a_measurement_and_of_other_rounds_are_left_out(data: ReportData) -> None:
    forward = pd.DataFrame(
        {"perturbation": list("abc"), "predicted": 0.0, "sd": 1.0, "measured": [1.0, np.nan, 2.0], "arm": "random"}
    ).assign(round=[3, 3, 2])
    now = replace(data, forward=forward).forward_of_round()
    assert now is not None
    assert now["perturbation"].tolist() == ["a"]


# --- the batch ---


def test_every_well_of_every_plate_is_drawn_once_in_its_group(report_data: Make) -> None:
    data = report_data(plates=3, fmt=96)
    card = batch_card(data)
    assert data.platemap is not None
    assert len(card.plates) == 3
    for picture in card.plates:
        wells = data.platemap[data.platemap["barcode"] == picture.barcode]
        assert sum(path.count("M") for _, path in picture.paths) == 96
        for row, column, role, perturbation in wells[["row", "column", "role", "perturbation"]].itertuples(index=False):
            index = row * picture.columns + column
            assert picture.payload["names"][index] == perturbation
            group = picture.payload["groups"][picture.payload["codes"][index]]
            if role != "sample":
                assert (
                    group == {"negcon": "negative control", "poscon": "positive control", "empty": "empty well"}[role]
                )


def test_legend_counts_only_what_costs_a_well(data: ReportData) -> None:
    assert data.batch is not None
    measured = data.batch[data.batch["action"] == "measure"]
    counts = {swatch.name: swatch.count for swatch in batch_card(data).legend}
    for slot, n in measured.loc[measured["arm"] == "strategy", "slot"].value_counts().items():
        assert counts[str(slot)] == str(n)
    assert "5 hidden audit members" in batch_card(data).finding


def test_every_choice_says_why_and_where(report_data: Make) -> None:
    data = report_data(plates=2, fmt=96)
    assert data.batch is not None
    assert data.platemap is not None
    arms, picks = batch_card(data).tables
    assert len(picks.rows) == len(data.batch)
    for cells, row in zip(picks.rows, data.batch.sort_values("rank").itertuples(), strict=True):
        wells = data.platemap[data.platemap["perturbation"] == row.perturbation]
        where = ", ".join(
            f"P0{barcode[-1]} {well}" for barcode, well in zip(wells["barcode"], wells["well"], strict=True)
        )
        assert cells[0].hint == row.perturbation
        assert cells[4].text == (where or "measured already" if row.action == "release" else where or "–")
        assert cells[5].text.rstrip(".").casefold() == str(row.reason).casefold()
    assert sum(int(row[1].text) for row in arms.rows) == (data.batch["action"] == "measure").sum()
    assert {row[0].text: row[2].text for row in arms.rows}["random arm"] == "0"
    assert sum(int(row[2].text) for row in arms.rows) == 5


@pytest.mark.parametrize("batch", [True, False])
def test_what_people_answered_to_batches_is_shown_to_the_end(data: ReportData, batch: bool) -> None:
    answers = (
        Answer(0, 1, "veto", ("<b>7</b>", "9"), "toxic", "2026-03-01T10:20:30+00:00"),
        Answer(0, 2, "approve", (), "", "2026-03-01T11:00:00+00:00"),
    )
    shown = replace(data, answers=answers) if batch else replace(data, answers=answers, batch=None, platemap=None)
    rows = [[cell.text for cell in row] for row in batch_card(shown).tables[-1].rows]
    assert rows == [
        ["0, run 01", "vetoed some of it", "<b>7</b>, 9", "toxic", "2026-03-01 10:20"],
        ["0, run 02", "approved", "–", "–", "2026-03-01 11:00"],
    ]


def test_of_very_many_choices_the_first_are_shown(report_data: Make) -> None:
    picks = batch_card(report_data(plates=30, fmt=384)).tables[1]
    assert len(picks.rows) == SHOWN_PICKS
    assert picks.folded == "The first 500 of 1,277 choices: why, and on which plate (the others: batch.csv)"


def test_plates_that_end_alike_keep_their_barcodes() -> None:
    platemap = pd.DataFrame(
        {"barcode": ["A-P1", "B-P1", "B-P1"], "well": ["A01", "A02", "A03"], "role": ["sample", "sample", "negcon"]}
    ).assign(perturbation=["x", "x", ""])
    assert well_names(platemap) == {"x": "A-P1 A01, B-P1 A02"}
    assert well_names(platemap.replace("B-P1", "A-P2")) == {"x": "P1 A01, P2 A02"}


def test_the_pointer_reads_why_a_well_was_chosen(report_data: Make) -> None:
    data = report_data(plates=2, fmt=96)
    assert data.batch is not None
    reasons = dict(zip(data.batch["perturbation"], data.batch["reason"], strict=True))
    for picture in batch_card(data).plates:
        told = zip(picture.payload["names"], picture.payload["reasons"], strict=True)
        assert all(reason == reasons.get(name, "") for name, reason in told)


def test_the_map_tells_why_a_perturbation_was_chosen(data: ReportData) -> None:
    assert data.batch is not None
    assert data.eigenmap is not None
    first = data.batch.iloc[7]
    group = np.where(data.eigenmap["perturbation"] == first["perturbation"], "chosen", "pool")
    spec = eigenmap_card(replace(data, eigenmap=data.eigenmap.assign(group=group))).figures[0].spec
    shown = next(trace["text"] for trace in spec["data"] if trace["name"] == "in the next batch")
    assert shown[0].startswith(f"{first['perturbation']}<br>{first['reason']}")
    plain = next(trace["text"] for trace in spec["data"] if trace["name"] == "can be chosen")
    assert set(data.eigenmap["perturbation"]) - set(data.batch["perturbation"]) <= set(plain)


def test_a_well_of_an_unknown_slot_is_an_error(data: ReportData) -> None:
    assert data.platemap is not None
    platemap = data.platemap.copy()
    sample = platemap.index[platemap["role"] == "sample"][0]
    platemap.loc[sample, ["perturbation", "slot"]] = ["not in the batch", "ghost"]
    with pytest.raises(UserError, match=r"plate SOL-R04-P01: a well belongs to no slot of the batch; got 'ghost'"):
        batch_card(replace(data, platemap=platemap))


# --- quality, spectrum, screen ---


def test_each_metric_shows_its_verdict_and_why(data: ReportData) -> None:
    table = quality_card(data).tables[0]
    failed = next(row for row in table.rows if row[0].text == "SOL-R03-P02")
    by_name = dict(zip(table.headers, failed, strict=True))
    assert (by_name["Z′"].tone, by_name["Z′"].text) == ("fail", "−1.42")
    assert "threshold 0.3" in by_name["Z′"].hint
    assert by_name["remark"].text == "Z′: -1.42 is below 0.3; SSMD: 2.1 is below 3."
    assert by_name["column effect"].text == "–"
    assert "too few" in by_name["column effect"].hint


def test_the_interval_stands_beside_its_metric_and_the_page_is_linked(data: ReportData) -> None:
    quality = [dict(plate) for plate in data.quality]
    for plate in quality:
        plate["metrics"] = [
            metric | ({"low": -1.9, "high": 0.25} if metric["name"] == "zprime" else {}) for metric in plate["metrics"]
        ]
        plate["metrics"].append(
            dict(plate["metrics"][0]) | {"name": "replicate_agreement", "value": 0.8, "verdict": "INFO"}
        )
    card = quality_card(replace(data, quality=quality, links={"quality page": "quality.html"}))
    row = next(row for row in card.tables[0].rows if row[0].text == "SOL-R03-P02")
    by_name = dict(zip(card.tables[0].headers, row, strict=True))
    assert (by_name["Z′"].text, by_name["Z′"].note) == ("−1.42", "−1.90 to 0.25")
    assert by_name["replicates"].text == "0.80"
    assert "Below a value: its bootstrap interval." in card.note
    assert [link.href for link in card.links] == ["quality.html"]
    assert not quality_card(data).links
    assert "bootstrap" not in quality_card(data).note


def test_a_table_of_plates_fits_a_page_and_shows_what_is_judged(data: ReportData) -> None:
    quality = [dict(plate) for plate in data.quality]
    more = [dict(quality[0]["metrics"][2]) | {"name": f"own_{index}"} for index in range(20)]
    late = dict(quality[0]["metrics"][3]) | {"name": "own_judged"}
    for plate in quality:
        plate["metrics"] = [*plate["metrics"], *more, late]
    card = quality_card(replace(data, quality=quality, links={"quality page": "quality.html"}))
    headers = card.tables[0].headers
    assert headers[:4] == ("plate", "attempt", "state", "remark")
    assert len(headers) == 4 + MOST_COLUMNS
    assert {"Z′", "SSMD", "missing", "own_judged"} <= set(headers)
    assert "negcon wells" not in headers
    assert card.note.endswith("More metrics stand on the plate quality page.")


def test_a_remark_is_told_where_there_is_one_alone(data: ReportData) -> None:
    passed = data.plate_states[data.plate_states["barcode"] != "SOL-R03-P02"]
    assert "remark" not in quality_card(replace(data, plate_states=passed, quality=[])).tables[0].headers
    reason = "zprime: -7.71 is below 0.4 (8 poscon against 8 negcon wells); ssmd: 0.46 is below 5"
    table = quality_card(replace(data, plate_states=data.plate_states.assign(reason=reason))).tables[0]
    failed = next(row for row in table.rows if row[0].text == "SOL-R03-P02")
    assert failed[3].text == "Z′: -7.71 is below 0.4; SSMD: 0.46 is below 5."
    noted = quality_card(replace(data, plate_states=data.plate_states.assign(reason="waived: fine (zprime: 0)")))
    assert (
        next(row for row in noted.tables[0].rows if row[0].text == "SOL-R03-P02")[3].text == "Waived: fine (zprime: 0)."
    )


def test_plates_of_other_rounds_are_folded_away(data: ReportData) -> None:
    now, before = quality_card(data).tables
    assert all(row[0].text.startswith("SOL-R03") for row in now.rows)
    assert len(now.rows) + len(before.rows) == len(data.plate_states)
    assert before.folded


def test_effective_number_of_directions(data: ReportData) -> None:
    spectrum = pd.DataFrame({"mode": range(8), "eigenvalue": 2.0, "operator": "reducible"})
    card = spectrum_card(replace(data, spectrum=spectrum))
    assert "about 8 directions; the first five hold 62%" in card.finding
    zero = spectrum_card(replace(data, spectrum=spectrum.assign(eigenvalue=0.0)))
    assert "no reducible error left" in zero.missing


def test_each_part_of_the_operator_has_its_line(data: ReportData) -> None:
    card = spectrum_card(data)
    lines = {trace["name"]: trace["y"] for trace in card.figures[0].spec["data"]}
    assert list(lines) == ["reducible Ω", "members Σ_F", "cobias Δ", "noise Σ_Y", "Ω with noise"]
    assert lines["noise Σ_Y"][:2] == [5.0, 4.95]
    assert len(lines["cobias Δ"]) == 9
    # 240·0.8^k stands above the median noise, about 4.5, for k up to 17.
    assert "18 modes stand above the noise Σ_Y" in card.note
    assert data.spectrum is not None
    silent = spectrum_card(replace(data, spectrum=data.spectrum[data.spectrum["operator"] == "members"]))
    assert "Σ_Y" not in silent.note


def test_what_strategies_see_is_told_with_how_far_it_can_be_trusted(data: ReportData) -> None:
    stability = {"diagonals": 0.412, "subspace": None, "modes": 0, "by": "plates", "why": ""}
    facts = {"residuals": 80, "effective_residuals": 12.3, "stability": stability}
    chosen = {"asked": "difference", "operator": "reducible", "why": "there are two rounds"}
    operator = {"chosen": chosen, "cobias": facts, "calibration": {"left out": "7 residuals"}}
    note = spectrum_card(replace(data, operator=operator)).note
    assert "Strategies see the reducible operator. The difference one was asked for, but there are two rounds." in note
    assert "Cobias: 80 residuals, worth 12 independent ones; its halves agree with r = 0.41." in note
    assert "Calibration: left out, 7 residuals." in note
    silent = replace(data, operator={"cobias": facts | {"stability": stability | {"diagonals": None}}})
    assert "halves cannot be compared" in spectrum_card(silent).note


def test_histogram_counts_everything_once(data: ReportData) -> None:
    bars = distribution_card(data).figures[0].spec["data"]
    assert sum(sum(trace["y"]) for trace in bars) == len(data.screen)
    flat = data.screen.assign(value=1.0)
    assert sum(sum(t["y"]) for t in distribution_card(replace(data, screen=flat)).figures[0].spec["data"]) == len(flat)


def test_accuracy_is_read_from_hidden_audit_members(data: ReportData) -> None:
    audit = data.screen[data.screen["audit"]]
    share = round(100 * float(audit["correct"].astype(bool).mean()))
    assert agreement_card(data).finding.startswith(f"{share}% of {len(audit)} hidden audit members predicted correctly")


def test_extremes_are_the_extremes(data: ReportData) -> None:
    high, low = extremes_card(data).tables
    assert high.rows[0][0].text == data.screen["value"].idxmax()
    assert low.rows[0][0].text == data.screen["value"].idxmin()


def test_many_points_are_thinned_and_the_card_says_so(data: ReportData) -> None:
    assert data.eigenmap is not None
    many = pd.concat([data.eigenmap.assign(group="pool")] * 4, ignore_index=True)
    card = eigenmap_card(replace(data, eigenmap=many))
    assert len(card.figures[0].spec["data"][0]["x"]) == POINT_LIMIT
    assert f"3,000 of {len(many):,} points" in card.note
    pd.testing.assert_frame_equal(thin(many), thin(many))


def test_recomputed_counts(data: ReportData) -> None:
    card = recomputed_card(data)
    assert card.finding == "6 steps computed, 2 read from checkpoints."
    began, followed, read = card.tables
    assert [row[0].text for row in began.rows] == ["ingest"]
    assert not began.folded
    assert followed.folded == "5 steps followed: what they read had changed"
    assert read.folded == "2 steps read from checkpoints"
    names = ["fit/001", "fit/000", "fit/002", "fit/003", "predict/000"]
    alike = pd.DataFrame({"node": names, "status": "computed", "reason": "another seed"})
    (table,) = recomputed_card(replace(data, recomputed=alike)).tables
    assert [row[0].text for row in table.rows] == ["fit/000, fit/001, fit/002 and fit/003", "predict/000"]


def test_files_are_told_in_the_order_people_want_them() -> None:
    links = {"decision.json": "decision.json", "batch": "proposal/batch.csv", "x": "../../screens/0001/screen.h5ad"}
    card = downloads_card(cast(ReportData, SimpleNamespace(links=links | {"own": "own.txt"})))
    assert [link.name for link in card.links] == ["x", "batch", "decision.json", "own"]
    assert card.links[0].what == "the same as AnnData in one file: anndata.read_h5ad"
    assert card.links[3].what == ""
    assert downloads_card(cast(ReportData, SimpleNamespace(links={}))).missing.endswith(".")


# --- nothing to draw ---


def test_a_card_without_data_says_why(data: ReportData) -> None:
    nothing = replace(
        data,
        forward=None,
        calibration=(),
        evidence={},
        decision=dict(data.decision) | {"rules": {}},
        losses=None,
        work=None,
        spectrum=None,
        batch=None,
        eigenmap=None,
        history=data.history.iloc[:0],
        quality=[],
        plate_states=data.plate_states.iloc[:0],
        recomputed=data.recomputed.iloc[:0],
        screen=data.screen.iloc[:0],
    )
    cards = (bound_card, learning_card, calibration_card, batch_card, spectrum_card, eigenmap_card, quality_card)
    cards += (distribution_card, agreement_card, extremes_card, recomputed_card)
    cards += (course_card, losses_card, fit_card, work_card, rules_card)
    for card in (make(nothing) for make in cards):
        assert card.missing.endswith("."), card.key
        assert not card.figures, card.key
        assert not card.tables, card.key


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_a_missing_column_is_named(data: ReportData, name: str) -> None:
    column = COLUMNS[name][-1]
    with pytest.raises(UserError, match=f"{name} lacks {column}"):
        replace(data, **{name: getattr(data, name).drop(columns=column)})


def test_a_missing_key_of_the_decision_is_named(data: ReportData) -> None:
    with pytest.raises(UserError, match="decision lacks bound"):
        replace(data, decision={key: value for key, value in data.decision.items() if key != "bound"})


@pytest.mark.parametrize(
    "href", ["https://example.org/x", "javascript:alert(1)", "//host/x", "/etc/passwd", " data:text/html,x"]
)
def test_a_link_must_be_relative(data: ReportData, href: str) -> None:
    with pytest.raises(UserError, match="must be relative"):
        replace(data, links={"file": href})


# --- wording ---


def test_wording() -> None:
    assert quantity(-0.5) == "−0.5"
    assert quantity(2.0, zeros=True) == "2.00"
    assert quantity(100.0, zeros=True) == "100"
    assert quantity(21340.0) == "21,340"
    assert span([3.0, 1.0, 2.0]) == "1 to 3"
    assert span([2.0, 2.0]) == "2"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefg")) == "a, b, c, d and 3 more"
    long = shorten("x" * 40 + "tail", 20)
    assert len(long) == 20
    assert long.endswith("tail")
