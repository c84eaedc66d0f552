"""A cell: a whole campaign by the nodes of a live one."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.checkpoints.checkpointer import Checkpointer
from tasks.checkpoints.pieces import CallingThread
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.checkpoints.task import plainly
from tasks.errors import UserError
from tasks.replays import task as replay_task
from tasks.replays.cell import Cell, play
from tasks.replays.figures import hits_of, judge_errors, judge_screen
from tasks.replays.results import read_replay
from tasks.replays.screens import Screen
from tasks.replays.settings import NoiseSection, ReadoutSettings
from tasks.replays.task import cell_node, load_screen


@pytest.fixture
def run(write, tmp_path):
    """Play a cell of the configuration as it is now: its outputs, and what was computed."""

    def played(arm=1, seed=0, noise=None, folder="store"):
        config = read_replay(write())
        cp = Checkpointer(CheckpointStore(Storage(str(tmp_path / folder))))
        screen = plainly(load_screen)(cp, config.screens[0])["screen"]
        cell = Cell(config, config.played[arm], noise, seed)
        outputs = plainly(cell_node)(cp, CallingThread(), "cell", screen, cell)
        return outputs, cp.load(outputs["figures"]), cp.load(outputs["picks"])

    return played


def test_a_campaign_is_played_to_its_end(run):
    outputs, figures, picks = run()
    assert not outputs.hit
    assert figures["labels"].tolist() == [40, 60, 80]
    assert figures["rmse"].iloc[-1] < figures["rmse"].iloc[0] < 1.2
    assert picks.groupby("round").size().tolist() == [40, 20, 20]
    assert picks["perturbation"].is_unique
    assert set(picks["slot"]) == {"initial", "eigenspace-clusters"}


def test_arms_share_split_and_first_labels_and_then_differ(run):
    _, random, drawn = run(arm=0)
    _, clusters, chosen = run(arm=1)
    assert random.iloc[0].to_dict() == clusters.iloc[0].to_dict()
    assert set(drawn.loc[drawn["round"] == 0, "perturbation"]) == set(chosen.loc[chosen["round"] == 0, "perturbation"])
    assert random["rmse"].iloc[-1] != clusters["rmse"].iloc[-1]


def test_the_same_cell_gives_the_same_digests_anywhere(run):
    first, again = run(folder="one")[0], run(folder="two")[0]
    assert {name: ref.sha256 for name, ref in first.refs.items()} == {n: ref.sha256 for n, ref in again.refs.items()}
    assert run(folder="one")[0].hit


def test_other_arms_seeds_and_screens_leave_a_cell_as_it_is(run, content):
    run()
    content["arms"].append({"name": "other", "slots": [{"strategy": "top-variance", "share": 1.0}]})
    content["replay"]["seeds"] = 9
    content["screens"].append({**content["screens"][0], "name": "second"})
    content["compute"] = {"workers": 2}
    assert run()[0].hit
    content["arms"][0]["name"] = "renamed"
    assert run()[0].hit


@pytest.mark.parametrize("name", ["align", "labels", "fit", "omega", "propose"])
def test_a_new_version_of_what_it_computes_with_makes_it_another(run, monkeypatch, name):
    run()
    stages = {stage.name: stage for stage in replay_task._WITHIN}
    stages[name] = replace(stages[name], version=stages[name].version + 1)
    monkeypatch.setattr(replay_task, "_WITHIN", tuple(stages.values()))
    assert not run()[0].hit


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": {"initial": 40, "batch": 21, "rounds": 2}},
        {"ensemble": {"members": 4, "hidden": [16], "epochs": 13}},
        {"operators": {"sketch": 8, "gradients": 9, "features": 4}},
        {"readout": {"tolerance": 0.4}},
    ],
)
def test_what_a_cell_depends_on_makes_it_another(run, content, change):
    run()
    content.update(change)
    assert not run()[0].hit


def test_an_arm_may_estimate_its_operator_in_its_own_way(run, content):
    run()
    content["arms"][0]["operators"] = {"sketch": 8, "gradients": 16, "features": 4}
    outputs, _, picks = run()
    assert not outputs.hit
    assert picks["slot"].iloc[-1] == "eigenspace-clusters"


def test_noise_reaches_labels_and_wells(run):
    _, exact, _ = run()
    _, noisy, _ = run(noise=NoiseSection(level=1.5, replicates=2, controls=4))
    assert noisy["wells"].tolist() == [80, 120, 160]
    assert noisy["rmse"].iloc[-1] > exact["rmse"].iloc[-1]


@pytest.mark.parametrize("arm", [0, 1])
def test_what_failed_plates_held_is_paid_for_and_may_be_chosen_again(run, content, arm):
    content["protocol"]["rounds"] = 6
    _, figures, picks = run(arm=arm, noise=NoiseSection(level=0.2, replicates=1, wells=10, controls=4, failures=0.3))
    assert figures["wells"].tolist() == [40, 60, 80, 100, 120, 140, 160]
    assert figures["labels"].iloc[-1] < 160
    assert (figures["labels"] % 10 == 0).all()
    again = picks[picks["perturbation"].duplicated(keep=False)].groupby("perturbation")["round"]
    assert len(again) > 0
    assert again.nunique().min() == 2
    assert picks["perturbation"].nunique() >= figures["labels"].iloc[-1]


def test_a_round_without_any_plate_teaches_nothing_and_the_campaign_goes_on(run, content):
    content["protocol"]["rounds"] = 5
    _, figures, _ = run(noise=NoiseSection(level=0.2, replicates=1, wells=20, controls=4, failures=0.6))
    gained = figures["labels"].diff().iloc[1:]
    assert {0.0, 20.0} == set(gained)
    assert np.isfinite(figures["rmse"]).all()


def test_a_first_round_without_plates_is_one_line(run):
    with pytest.raises(UserError, match=r"noise\.failures, seed 0: every plate of the first round failed"):
        run(noise=NoiseSection(replicates=1, wells=40, controls=4, failures=0.999))


@pytest.mark.parametrize("operator", ["members", "reducible", "calibrated", "gradients", "difference"])
def test_every_operator_can_be_replayed(run, content, operator):
    content["arms"][0]["operator"] = operator
    content["arms"][0]["slots"] = [{"strategy": "error-sampling", "share": 1.0}]
    content["protocol"]["rounds"] = 3 if operator == "difference" else 1
    _, figures, picks = run()
    assert np.isfinite(figures["rmse"]).all()
    assert picks["round"].max() == content["protocol"]["rounds"]


def test_classes_and_hits(run, content):
    content["readout"] = {"kind": "binary"}
    content["arms"][0] |= {"slots": [{"strategy": "least-confidence", "share": 1.0}], "operator": "reducible"}
    content["arms"][0]["hits"] = {"strategy": "greedy-hits", "share": 0.5, "options": {"tail": "high"}}
    _, figures, picks = run()
    assert figures["accuracy"].iloc[-1] > 0.5
    assert figures["hits_found"].iloc[-1] > figures["hits_found"].iloc[0]
    assert {"greedy-hits", "least-confidence"} <= set(picks["slot"])


def test_a_campaign_ends_when_nothing_is_left(run, content):
    content["protocol"] = {"initial": 40, "batch": 100, "rounds": 5}
    _, figures, picks = run(arm=0)
    assert figures["labels"].tolist() == [40, 140, 208]
    assert len(picks) == 208
    assert figures["system_accuracy"].iloc[-1] == 1.0


def test_without_a_test_the_rest_of_the_pool_judges(run, content):
    content["protocol"]["test"] = 0.0
    _, figures, _ = run(arm=0)
    assert figures["labels"].iloc[0] == 40
    assert 0 < figures["rmse"].iloc[-1] < 1.2


def screen_of(truth):
    n = len(truth)
    return Screen([f"c{k}" for k in range(n)], np.zeros((n, 1), np.float32), np.array(truth)[:, None], np.array(truth))


def test_figures_by_hand():
    readout = ReadoutSettings(tolerance=0.5)
    truth = np.array([0.0, 1.0, 2.0, 3.0])
    found = judge_errors(np.array([0.0, 1.4, 2.0, 5.0]), np.array([0.1, 0.3, 0.1, 1.0]), truth, readout)
    assert found["rmse"] == pytest.approx(np.sqrt((0.16 + 4) / 4))
    assert found["mae"] == pytest.approx(0.6)
    assert (found["error_max"], found["accuracy"], found["coverage_90"]) == (2.0, 0.75, 0.75)
    assert found["coverage_gap"] == pytest.approx(0.15)
    assert found["rank_correlation"] > 0.9
    assert judge_errors(truth[:0], truth[:0], truth[:0], readout) == {}
    classes = judge_errors(np.array([0.9, 0.4]), np.zeros(0), np.array([1.0, 1.0]), ReadoutSettings(kind="binary"))
    assert classes == {"rmse": pytest.approx(np.sqrt((0.01 + 0.36) / 2)), "mae": pytest.approx(0.35), "accuracy": 0.5}


def test_the_hybrid_screen_counts_what_was_measured_as_right():
    readout = ReadoutSettings(tolerance=0.5, hits=0.5, tail="high")
    pool = screen_of([0.0, 1.0, 2.0, 3.0])
    found = judge_screen(np.array([9.0, 1.0, 9.0, 9.0]), pool, np.array([True, False, False, True]), readout)
    assert found == {"hits_found": 0.5, "system_accuracy": 0.75, "inference_accuracy": 0.5}


@pytest.mark.parametrize(("tail", "expected"), [("high", [3, 4]), ("low", [0, 1]), ("both", [0, 4])])
def test_hits_are_the_most_extreme(tail, expected):
    truth = np.array([-5.0, -1.0, 0.0, 2.0, 4.0])
    assert np.flatnonzero(hits_of(truth, ReadoutSettings(hits=0.4, tail=tail))).tolist() == expected


@pytest.mark.parametrize(("tail", "expected"), [("high", [0, 2, 3]), ("both", [0, 2, 3]), ("low", [1])])
def test_of_classes_a_whole_class_is_the_hits(tail, expected):
    truth = np.array([1.0, 0.0, 1.0, 1.0])
    assert np.flatnonzero(hits_of(truth, ReadoutSettings(kind="binary", hits=0.25, tail=tail))).tolist() == expected


def test_nothing_is_left_behind_in_the_temporary_folder(run, monkeypatch, tmp_path):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    run()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_cell_reports_its_rounds(write, tmp_path):
    from tasks.checkpoints.progress import listening

    class Ear:
        def __init__(self):
            self.heard = []

        def started(self, node, worker=""):
            self.heard.append(("started", node))

        def advanced(self, node, done, total):
            self.heard.append((node, done, total))

        def finished(self, event):
            self.heard.append(("finished", event.node))

    config, ear = read_replay(write()), Ear()
    cp = Checkpointer(CheckpointStore(Storage(str(tmp_path / "store"))))
    screen = plainly(load_screen)(cp, config.screens[0])["screen"]
    with listening(ear):
        play(cp.store, "cell/x", screen, Cell(config, config.played[0], None, 0))
    assert ear.heard == [("cell/x", done, 3) for done in (1, 2, 3)]
