"""Training: it learns, is reproducible, keeps members apart, and weights labels by their noise."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from tasks.campaigns.config import EnsembleSection, OperatorsSection
from tasks.ensembles import MODELS, TrainingSet, fit_mlp, predict
from tasks.ensembles.determinism import one_thread
from tasks.ensembles.network import standardisation
from tasks.ensembles.training import _Group, standardised_problem, target_scaling
from tasks.errors import NumericalError, UserError

SCRIPT = """
import hashlib, numpy as np
from tasks.campaigns.config import EnsembleSection, OperatorsSection
from tasks.ensembles import TrainingSet, ensemble_to_tensors, fit_mlp
x = np.random.default_rng(3).normal(size=(150, 40))
train = TrainingSet(x, x[:, 0] ** 2 + x[:, 1], np.linspace(0.0, 1.0, 150))
config = EnsembleSection(members=6, hidden=(64, 64), epochs=4)
arrays, _ = ensemble_to_tensors(fit_mlp(train, config, "continuous", OperatorsSection(), 7))
digest = hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()
print(digest)
"""


def test_same_seed_gives_the_same_bits_in_another_process_with_other_threads():
    here: dict[str, str] = {}
    exec(SCRIPT, here)  # the very code that the other process runs
    threads = str(3 - min(torch.get_num_threads(), 2))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    command = [sys.executable, "-c", SCRIPT]
    there = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert there.strip() == here["digest"]


def test_the_thread_count_comes_back_when_the_last_caller_leaves() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_num_threads() == 1
        second.__exit__(None, None, None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def fail_on_one_thread() -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
        raise UserError("inside")


def test_number_of_threads_is_restored():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(UserError, match="inside"):
            fail_on_one_thread()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_another_seed_gives_another_ensemble(train, ensemble, fit):
    other = predict(fit(train, seed=2), train.features).members
    assert not np.allclose(other, predict(ensemble, train.features).members)


def test_learns_what_can_be_learned(ensemble, labels):
    test = labels(500, seed=9)
    residuals = predict(ensemble, test.features).mean - test.targets
    assert np.sqrt(np.mean(residuals**2)) < 0.25 * test.targets.std()


def test_probabilities_order_the_classes(classifier, labels):
    test = labels(500, seed=9)
    probability = predict(classifier, test.features).mean
    assert np.all((probability >= 0) & (probability <= 1))
    assert np.mean((probability > 0.5) == (test.targets > 3.5)) > 0.92


def test_members_do_not_depend_on_how_many_there_are(train, fit):
    few, many = (predict(fit(train, members=m), train.features).members for m in (2, 7))
    np.testing.assert_allclose(few, many[:, :2], rtol=1e-3, atol=1e-3)
    assert np.std(many, axis=1).min() > 0  # every member has its own start and bootstrap


def test_units_of_the_readout_do_not_matter(train, ensemble, fit):
    scaled = TrainingSet(train.features, 1000 * train.targets - 50, 1e6 * train.variances)
    plain, other = predict(ensemble, train.features), predict(fit(scaled), train.features)
    np.testing.assert_allclose((other.members + 50) / 1000, plain.members, rtol=0, atol=0.02)
    np.testing.assert_allclose(other.within / 1000, plain.within, rtol=0, atol=0.02)


def test_a_constant_feature_is_ignored_wherever_it_goes(ensemble, train):
    moved = train.features.copy()
    moved[:, 3] += 100.0
    np.testing.assert_array_equal(predict(ensemble, moved).members, predict(ensemble, train.features).members)


def test_soft_clip_bounds_an_outlier(ensemble, train, fit):
    point = np.repeat(train.features[:1], 2, axis=0)
    point[:, 4] = (1e4, 1e6)
    clipped, free = predict(ensemble, point).members, predict(fit(train, clip=None), point).members
    np.testing.assert_allclose(clipped[0], clipped[1], rtol=1e-3)
    assert np.abs(free[1] - free[0]).max() > 100 * np.abs(clipped[1] - clipped[0]).max()


def test_noisy_labels_count_less(labels, fit):
    clean = labels(200, seed=4)
    wrong = np.arange(len(clean)) % 2 == 0
    targets = np.where(wrong, clean.targets + 4.0, clean.targets)
    told = TrainingSet(clean.features, targets, np.where(wrong, 16.0, 0.01))
    untold = TrainingSet(clean.features, targets, np.ones(len(clean)))
    error = [abs(np.mean(predict(fit(set_), clean.features).mean - clean.targets)) for set_ in (told, untold)]
    assert error[0] < 0.75 * error[1]  # weights 1/3 and 1 pull the mean shift from 2 to about 1


def test_a_member_keeps_the_weights_of_its_best_epoch(train):
    config = EnsembleSection(members=3, hidden=(64,), epochs=25, patience=25, batch_size=16, learning_rate=3e-2)
    few = TrainingSet(train.features[:60], train.targets[:60], train.variances[:60])
    scaling = standardisation(torch.from_numpy(few.features), 3.0) | target_scaling(few, "continuous")
    group = _Group(
        standardised_problem(few, "continuous", scaling), config, [np.random.default_rng(s) for s in (0, 1, 2)]
    )
    best, history = group.train()
    assert np.argmin(history, axis=1).min() < 20  # else the last weights would pass for the best ones
    group.weights = best
    np.testing.assert_allclose(group._held_out_loss().numpy(), history.min(axis=1), rtol=1e-5)


def test_a_member_stops_after_its_patience():
    rng = np.random.default_rng(0)
    noise = TrainingSet(rng.normal(size=(60, 20)), rng.normal(size=60), np.zeros(60))
    config = EnsembleSection(members=3, hidden=(32,), epochs=200, patience=5, batch_size=16, learning_rate=1e-2)
    history = fit_mlp(noise, config, "continuous", OperatorsSection(), 0).history
    assert history.shape[1] < 200
    for losses in history:
        seen = losses[~np.isnan(losses)]
        assert len(seen) - 1 - int(np.argmin(seen)) == 5
        assert np.isnan(losses[len(seen) :]).all()


def test_progress_ends_with_everything_done(train):
    seen: list[tuple[int, int]] = []
    config = EnsembleSection(members=5, hidden=(8,), epochs=50, patience=2)
    fit_mlp(train, config, "continuous", OperatorsSection(), 0, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (100, 100)  # two groups of members
    assert seen == sorted(seen)


def test_one_class_alone_can_be_fitted(train, fit):
    zeros = TrainingSet(train.features, np.zeros(len(train)), np.zeros(len(train)))
    assert predict(fit(zeros, "binary", epochs=5), train.features).members.max() < 0.2


def test_a_constant_readout_is_predicted(train, fit):
    flat = TrainingSet(train.features, np.full(len(train), 2.5), np.zeros(len(train)))
    np.testing.assert_allclose(predict(fit(flat), train.features).mean, 2.5, atol=0.2)


def test_targets_of_a_binary_readout_must_be_classes(train, fit):
    with pytest.raises(UserError, match="must be classes"):
        fit(train, "binary")


def test_divergence_is_an_error_that_names_the_members(train, fit):
    with pytest.raises(NumericalError, match=r"members \[0, 1\].*learning_rate"):
        fit(train, members=2, learning_rate=1e30)


def test_registry_offers_the_default_model():
    assert EnsembleSection().model in MODELS


@pytest.mark.parametrize(
    ("features", "targets", "variances", "message"),
    [
        (np.zeros((9, 2)), np.zeros(9), np.zeros(9), "too few labels.*got 9.*at least 10"),
        (np.zeros((12, 2)), np.zeros(11), np.zeros(12), "different lengths.*12, 11, 12"),
        (np.zeros(12), np.zeros(12), np.zeros(12), "wrong rank"),
        (np.zeros((12, 0)), np.zeros(12), np.zeros(12), "no feature column"),
        (
            np.zeros((12, 2)),
            np.r_[np.zeros(11), np.nan],
            np.zeros(12),
            "row 11: 1 values in the targets are not finite",
        ),
        (np.zeros((12, 2)), np.zeros(12), np.full(12, -1.0), "variance is negative"),
    ],
)
def test_a_training_set_says_what_is_wrong_with_it(features, targets, variances, message):
    with pytest.raises(UserError, match=message):
        TrainingSet(features, targets, variances)
