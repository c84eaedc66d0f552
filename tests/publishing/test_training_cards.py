"""Training as the report shows it: every loss once, the best epochs, and where the work was done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasks.checkpoints.manifest import Manifest
from tasks.publishing.cards.losses import POINTS, losses_card
from tasks.publishing.cards.work import fit_card, work_card
from tasks.publishing.report_data import ReportData
from tasks.publishing.training_data import WORK_COLUMNS, losses_table, work_table

Make = Callable[..., ReportData]


@pytest.fixture(scope="module")
def data(report_data: Make) -> ReportData:
    return report_data()


def manifest(node: str, stage: str, worker: str = "host:1", **more: Any) -> Manifest:
    facts = {"key": node, "version": 1, "inputs": {}, "seed": 0, "payloads": {}, "why": "", "started": "", "ended": ""}
    base = facts | {"node": node, "stage": stage, "params": {}, "seconds": 2.0, "worker": worker, "flow_run": None}
    return Manifest(**(base | {"versions": {}} | more))


# --- tables ---


def test_losses_stand_at_their_epochs_and_stop_where_a_member_stopped() -> None:
    history = np.array([[3.0, 1.0, 2.0], [2.0, np.nan, np.nan], [4.0, 4.0, np.nan]])
    table = losses_table(history)
    assert table[["member", "epoch", "loss"]].to_numpy().tolist() == [
        [0, 1, 3.0], [0, 2, 1.0], [0, 3, 2.0], [1, 1, 2.0], [2, 1, 4.0], [2, 2, 4.0]
    ]  # fmt: skip
    assert table.loc[table["best"], ["member", "epoch"]].to_numpy().tolist() == [[0, 2], [1, 1], [2, 1]]
    assert (table.loc[table["best"], "epoch"].to_numpy() - 1 == np.nanargmin(history, axis=1)).all()


@pytest.mark.parametrize("history", [None, np.zeros((5, 0)), np.full((2, 3), np.nan)])
def test_a_model_without_epochs_has_no_losses(history: np.ndarray | None) -> None:
    assert losses_table(history).empty


def test_work_is_told_piece_by_piece_and_prediction_by_worker() -> None:
    manifests = [
        manifest("predict/00001", "predict", "b:2", seconds=3.0, peak_rss_gib=1.5),
        manifest("fit/001", "fit", "b:2", params={"members": [4, 5]}),
        manifest("fit/000", "fit", params={"members": [0, 4]}, peak_rss_gib=2.0),
        manifest("predict/00000", "predict", seconds=1.0),
        manifest("predict/00002", "predict", "b:2", seconds=4.0, peak_rss_gib=1.25),
        manifest("ensemble", "ensemble"),
    ]
    facts = {"fit/000": {"samples": 100, "device": "cuda"}, "fit/001": {"nodes": 7}}
    table = work_table(manifests, facts, ["fit/000", "predict/00001"])
    assert tuple(table.columns) == WORK_COLUMNS
    assert table["step"].tolist() == ["fit/000", "fit/001", "ensemble", "predict", "predict"]
    assert table["members"].tolist() == ["1–4", "5", "", "", ""]
    assert table["worker"].tolist() == ["host:1", "b:2", "host:1", "host:1", "b:2"]
    assert table["pieces"].tolist() == [1, 1, 1, 1, 2]
    assert table["seconds"].tolist() == [2.0, 2.0, 2.0, 1.0, 7.0]
    assert table["computed"].tolist() == [1, 0, 0, 0, 1]
    assert table["device"].tolist() == ["cuda", "", "", "", ""]
    np.testing.assert_array_equal(table["samples"], [100.0, np.nan, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(table["peak_rss_gib"], [2.0, np.nan, np.nan, np.nan, 1.5])
    assert work_table(manifests[::-1], facts, ["predict/00001", "fit/000"]).equals(table)


def test_one_node_that_fits_everything_is_told_too() -> None:
    table = work_table(
        [manifest("fit", "fit"), manifest("predict/00000", "predict")], {"fit": {"members": 16}}, ["fit"]
    )
    assert table["step"].tolist() == ["fit", "predict"]
    assert table["members"].tolist() == ["", ""]
    assert work_table([], {}, []).empty


# --- cards ---


def test_every_member_is_a_line_and_every_best_epoch_a_dot(data: ReportData) -> None:
    assert data.losses is not None
    traces = losses_card(data).figures[0].spec["data"]
    lines, dots = traces[:-1], traces[-1]
    assert len(lines) == 16
    for member, trace in enumerate(lines):
        mine = data.losses[data.losses["member"] == member]
        assert trace["x"] == mine["epoch"].tolist()
        assert trace["y"] == pytest.approx(mine["loss"].tolist(), rel=1e-3)
        assert f"member {member + 1}<br>" in trace["hovertemplate"]
    best = data.losses[data.losses["best"]]
    assert dots["x"] == best["epoch"].tolist()
    assert dots["text"] == [f"member {member + 1}" for member in best["member"]]


def test_the_darkest_line_is_the_member_with_the_lowest_loss(data: ReportData) -> None:
    assert data.losses is not None
    traces = losses_card(data).figures[0].spec["data"][:-1]
    brightness = [sum(int(trace["line"]["color"][at : at + 2], 16) for at in (1, 3, 5)) for trace in traces]
    lowest = data.losses.groupby("member")["loss"].min().to_numpy()
    assert np.argsort(brightness).tolist() == np.argsort(lowest).tolist()


def test_the_finding_says_how_low_and_when(data: ReportData) -> None:
    history = np.array([[3.0, 1.0, 2.0], [5.0, 4.0, 3.0]])
    card = losses_card(replace(data, losses=losses_table(history), fit={"model": "mlp", "members": 2}))
    assert card.finding == (
        "2 members; the best held-out loss is 2 in the median (1 to 3), at epoch 2 (2 to 3). "
        "1 member was best at the last epoch: more may help."
    )
    shared = losses_card(replace(data, losses=losses_table(history[:1]), fit={"model": "mc-dropout", "members": 50}))
    assert shared.finding.startswith("1 network;")


def test_a_model_without_epochs_says_so_and_still_shows_its_work(data: ReportData) -> None:
    forest = replace(data, losses=losses_table(np.zeros((100, 0))), fit={"model": "forest", "members": 100})
    assert losses_card(forest).missing == "No loss curve: a random forest is not fitted epoch by epoch."
    rows = {row[0].text: row[1].text for row in fit_card(forest).tables[0].rows}
    assert rows["members"] == "100"
    assert "epochs run" not in rows
    assert work_card(forest).tables


def test_losses_below_zero_stand_on_a_linear_axis(data: ReportData) -> None:
    axis = losses_card(replace(data, losses=losses_table(np.array([[0.5, -0.5]])))).figures[0].spec["layout"]["yaxis"]
    assert axis.get("type") != "log"


def test_losses_that_hardly_differ_stand_on_a_linear_axis(data: ReportData) -> None:
    assert data.losses is not None
    spread = data.losses["loss"] / data.losses["loss"].max()
    card = losses_card(replace(data, losses=data.losses.assign(loss=0.81 + 0.04 * spread)))
    assert card.figures[0].spec["layout"]["yaxis"].get("type") != "log"


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.11), (0.117, 0.4), (0.01, 9.0), (1e-6, 1e6)])
def test_a_logarithmic_axis_has_a_few_round_ticks_inside(data: ReportData, low: float, high: float) -> None:
    losses = losses_table(np.array([[high, low]]))
    axis = losses_card(replace(data, losses=losses)).figures[0].spec["layout"]["yaxis"]
    assert axis["type"] == "log"
    assert 1 <= len(axis["tickvals"]) <= 8
    assert all(low <= tick <= high for tick in axis["tickvals"])


def test_very_many_epochs_are_thinned_but_never_the_best_or_the_ends(data: ReportData) -> None:
    rng = np.random.default_rng(0)
    losses = losses_table(rng.random((130, 1000)))
    card = losses_card(replace(data, losses=losses))
    lines = card.figures[0].spec["data"][:-1]
    assert sum(len(trace["x"]) for trace in lines) < POINTS + 3 * 130
    assert "One epoch in 3 is drawn." in card.note
    best = losses[losses["best"]].set_index("member")["epoch"]
    for member, trace in enumerate(lines):
        assert {1, 1000, best[member]} <= set(trace["x"])


def test_what_it_took_is_added_up(data: ReportData) -> None:
    card = fit_card(data)
    rows = {row[0].text: row[1].text for row in card.tables[0].rows}
    assert card.finding == "Model mlp, fitted in 2 pieces on CUDA."
    assert rows["time of fitting"] == "2.0 min"
    assert rows["samples a second of fitting"] == f"{9_600_000 / (61.2 + 58.9):,.0f}"
    assert rows["largest memory of a process"] == "3.90 GiB"
    assert rows["processes"] == "2"


def test_each_piece_says_where_it_ran_and_whether_it_was_computed_now(data: ReportData) -> None:
    card = work_card(data)
    assert card.finding == "62 of 81 pieces computed in this run."
    rows = [[cell.text for cell in row] for row in card.tables[0].rows]
    assert rows[0] == ["fit/000, members 1–8", "node-7:4121 (CUDA)", "61.2 s", "78,431", "3.40 GiB", "computed"]
    assert [row[-1] for row in rows] == ["computed", "read", "computed", "computed", "20 of 38 computed"]
    assert rows[3][0] == "predict, 40 chunks"
    assert rows[3][3] == "–"


def test_what_was_not_recorded_is_a_dash(data: ReportData) -> None:
    assert data.work is not None
    old = replace(data, work=data.work.assign(samples=np.nan, peak_rss_gib=np.nan, device=""))
    rows = {row[0].text: row[1].text for row in fit_card(old).tables[0].rows}
    assert rows["samples a second of fitting"] == "–"
    assert rows["largest memory of a process"] == "–"
    assert fit_card(old).finding == "Model mlp, fitted in 2 pieces."
    assert {row[4].text for row in work_card(old).tables[0].rows} == {"–"}
