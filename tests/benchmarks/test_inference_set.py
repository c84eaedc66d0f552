"""Inference set design's experiments: what they do to data, how they count, and that hidden readouts reach no model."""

from __future__ import annotations

import inference_set_experiment as experiment
import inference_set_libraries as libraries
import inference_set_report as report
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ensembles import Target


@given(st.integers(0, 2**32 - 1))
def test_shuffling_touches_6_8_and_9_alone(seed):
    rng = np.random.default_rng(seed)
    digits = rng.integers(0, 10, 3000)
    shuffled = libraries.shuffle(digits, rng)
    touched = np.isin(digits, [6, 8, 9])
    assert (shuffled[~touched] == digits[~touched]).all()
    assert set(shuffled[touched]) == {6, 8, 9}
    assert 0.2 < (shuffled[touched] == digits[touched]).mean() < 0.47  # a third by luck


def test_cropping_leaves_the_upper_third():
    images = np.arange(2 * 28 * 28).reshape(2, 28, 28)
    cropped = libraries.crop(images)
    assert cropped.shape == (2, 10, 28)
    assert (cropped == images[:, :10]).all()


def test_what_is_measured_counts_as_right_and_is_not_in_the_inference_set():
    right = np.array([True, False, False, True, True, False])
    measured = np.array([True, True, False, False, False, False])
    system, inference = experiment.accuracies(right, measured)
    assert system == pytest.approx(4 / 6)
    assert inference == pytest.approx(2 / 4)
    assert experiment.accuracies(right, np.ones(6, dtype=bool))[0] == 1


@pytest.mark.parametrize("mean", [np.array([0.2, 0.9]), np.array([[0.8, 0.2], [0.1, 0.9]])])
def test_a_prediction_is_its_most_probable_class(mean):
    right, doubt = experiment.judge_predictions(mean, np.array([0, 0]))
    assert right.tolist() == [True, False]
    assert doubt == pytest.approx([0.2, 0.1])


@pytest.fixture(scope="module")
def small():
    """Two classes, of which a third of the points have a random label; 400 to measure and 100 to test."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((500, 3)).astype(np.float32)
    classes, hard = (features[:, 0] > 0).astype(np.int64), features[:, 1] > 0.5
    classes = np.where(hard, rng.integers(0, 2, 500), classes)
    return libraries.Screen(features[:400], classes[:400], hard[:400], features[400:], classes[400:], Target("binary"))


@pytest.fixture(autouse=True)
def _small_rounds(monkeypatch):
    for name, value in {"BATCH": 40, "INITIAL": 40, "ARM": 0.1, "AUDIT": 0.1}.items():
        monkeypatch.setattr(experiment, name, value)


def test_a_campaign_counts_its_wells(small):
    line = experiment.play(small, "least-confidence", 3, 3, seed=0)
    assert line["wells"] == "80 120 160 200"
    assert line["picks_right"].split()[0] == "nan"
    system, bound = (np.array(line[name].split(), dtype=float) for name in ("system", "bound"))
    wells = np.array(line["wells"].split(), dtype=float)
    inference = np.array(line["inference"].split(), dtype=float)
    assert system == pytest.approx((wells + inference * (400 - wells)) / 400, abs=1e-4)
    assert (bound <= system).all()


def test_hidden_readouts_reach_no_model_and_no_choice(small, monkeypatch):
    """Another readout of hidden members, as long as they are hidden: the same models and the same batches."""
    seen = {}

    def watched(screen, rows, seed, name):
        seen.setdefault(name, []).append(rows.copy())
        return libraries.fit(screen, rows, seed)

    drawn = experiment.initial_batch(400, [str(row) for row in range(400)], 40, 80, 0)
    hidden = drawn.loc[drawn["arm"] == "audit", "perturbation"].astype(int).to_numpy()
    monkeypatch.setattr(experiment, "fit", lambda *given: watched(*given, name="as it is"))
    plain = experiment.play(small, "least-confidence", 1, 1, seed=0)
    assert not np.isin(hidden, seen["as it is"][0]).any()

    never = hidden[~np.isin(hidden, seen["as it is"][-1])]  # not picked in this campaign
    assert len(never)
    poisoned = small.classes.copy()
    poisoned[never] = 1 - poisoned[never]
    other = libraries.Screen(**{**vars(small), "classes": poisoned})
    monkeypatch.setattr(experiment, "fit", lambda *given: watched(*given, name="poisoned"))
    changed = experiment.play(other, "least-confidence", 1, 1, seed=0)
    for one, two in zip(seen["as it is"], seen["poisoned"], strict=True):
        assert (one == two).all()
    assert changed["test"] == plain["test"]
    assert changed["bound"] != plain["bound"]  # the audit does read them


def test_the_report_names_what_was_never_certified(small):
    """Tables, claims and figure of a few short campaigns under the names of the real ones."""
    rows = []
    for strategy in ("random", "least-confidence"):
        for seed in (0, 1):
            line = experiment.play(small, strategy, 2, 2, seed)
            rows.append({name: "" for name in experiment.COLUMNS} | {"experiment": "qm9", "strategy": strategy} | line)
            rows[-1]["seed"] = str(seed)
    assert "qm9, least confidence" in report.tables(rows)
    assert "–" in report.needed(rows)
    said = report.claims(rows)
    assert said.count("reproduced") == 7
