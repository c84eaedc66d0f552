"""Training: it learns, is reproducible, keeps members apart, and weights labels by their noise."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import MODEL_NAMES, MlpSettings
from tasks.ensembles import MODELS, Target, TrainingSet, fit_ensemble, predict
from tasks.ensembles.determinism import one_thread
from tasks.ensembles.folds import held_out
from tasks.ensembles.perceptrons import preparation
from tasks.ensembles.problem import pose
from tasks.ensembles.training import Group, batch_size, course
from tasks.errors import NumericalError, UserError

SCRIPT = """
import hashlib, numpy as np
from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import MlpSettings
from tasks.ensembles import Target, TrainingSet, ensemble_to_tensors, fit_ensemble
x = np.random.default_rng(3).normal(size=(150, 40))
train = TrainingSet(x, x[:, 0] ** 2 + x[:, 1], np.linspace(0.0, 1.0, 150))
settings = MlpSettings(members=6, hidden=(64, 64), epochs=4, dropout=0.1)
arrays, _ = ensemble_to_tensors(fit_ensemble(train, Target(), settings, OperatorsSection(), 7))
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
    residuals = predict(ensemble, test.features).mean - test.targets[:, 0]
    assert np.sqrt(np.mean(residuals**2)) < 0.25 * test.targets.std()


def test_probabilities_order_the_classes(classifier, labels):
    test = labels(500, seed=9)
    probability = predict(classifier, test.features).mean
    assert np.all((probability >= 0) & (probability <= 1))
    assert np.mean((probability > 0.5) == (test.targets[:, 0] > 3.5)) > 0.92


def test_members_do_not_depend_on_how_many_there_are(train, fit):
    few, many = (predict(fit(train, members=m), train.features).members for m in (2, 7))
    np.testing.assert_allclose(few, many[:, :2], rtol=1e-3, atol=1e-3)
    assert np.std(many, axis=1).min() > 0  # every member has its own start and order


def test_units_of_the_readout_do_not_matter(train, ensemble, fit):
    scaled = TrainingSet(train.features, 1000 * train.targets - 50, 1e6 * train.variances, train.plates)
    plain, other = predict(ensemble, train.features), predict(fit(scaled), train.features)
    np.testing.assert_allclose((other.members + 50) / 1000, plain.members, rtol=0, atol=0.02)
    np.testing.assert_allclose(other.within / 1000, plain.within, rtol=0, atol=0.02)


def test_a_constant_feature_is_ignored_wherever_it_goes(ensemble, train):
    moved = train.features.copy()
    moved[:, 3] += 100.0
    np.testing.assert_array_equal(predict(ensemble, moved).members, predict(ensemble, train.features).members)


def test_an_outlier_is_bounded_by_clip_and_ranks(ensemble, train, fit):
    point = np.repeat(train.features[:1], 2, axis=0)
    point[:, 4] = (1e4, 1e6)
    free = fit(train, clip=None, ranks=False)
    bounded, unbounded = predict(ensemble, point).members, predict(free, point).members
    np.testing.assert_allclose(bounded[0], bounded[1], rtol=1e-3)
    assert np.abs(unbounded[1] - unbounded[0]).max() > 100 * np.abs(bounded[1] - bounded[0]).max()


def test_noisy_labels_count_less(labels, fit):
    clean = labels(200, seed=4)
    wrong = np.arange(len(clean)) % 2 == 0
    targets = clean.targets[:, 0] + np.where(wrong, 4.0, 0.0)
    told = TrainingSet(clean.features, targets, np.where(wrong, 16.0, 0.01))
    untold = TrainingSet(clean.features, targets, np.ones(len(clean)))
    error = [abs(np.mean(predict(fit(set_), clean.features).mean - clean.targets[:, 0])) for set_ in (told, untold)]
    assert error[0] < 0.75 * error[1]  # weights 1/3 and 1 pull the mean shift from 2 to about 1


def group_of(train: TrainingSet, settings: MlpSettings, members: int = 3) -> Group:
    target = Target()
    problem = pose(train, target, preparation(train, target, settings), torch.device("cpu"), noise_head=False)
    masks, _ = held_out(train, settings, 0, range(members))
    return Group(problem, masks, 50, settings, [np.random.default_rng(member) for member in range(members)])


def test_a_member_keeps_the_weights_of_its_best_epoch(train):
    few = TrainingSet(train.features[:60], train.targets[:60] + np.random.default_rng(0).normal(size=(60, 1)),
                      train.variances[:60])  # fmt: skip
    settings = MlpSettings(members=3, hidden=(64,), epochs=40, batch_size=16, layer_rates=False, schedule="constant")
    group = group_of(few, settings)
    best, history = group.train()
    assert np.argmin(history, axis=1).min() < 30  # else the last weights would pass for the best ones
    group.weights = best
    np.testing.assert_allclose(group.held_out_loss().numpy(), history.min(axis=1), rtol=1e-4)


def test_a_member_stops_after_its_patience():
    rng = np.random.default_rng(0)
    noise = TrainingSet(rng.normal(size=(60, 20)), rng.normal(size=60), np.zeros(60))
    settings = MlpSettings(members=3, hidden=(32,), epochs=200, patience=5)
    history = fit_ensemble(noise, Target(), settings, OperatorsSection(), 0).history
    assert history.shape[1] < 200
    for losses in history:
        seen = losses[~np.isnan(losses)]
        assert len(seen) - 1 - int(np.argmin(seen)) == 5
        assert np.isnan(losses[len(seen) :]).all()


def test_progress_ends_with_everything_done(train):
    seen: list[tuple[int, int]] = []
    settings = MlpSettings(members=5, hidden=(8,), epochs=50, patience=2)
    fit_ensemble(train, Target(), settings, OperatorsSection(), 0, lambda done, of: seen.append((done, of)))
    assert seen[-1] == (100, 100)  # two groups of members
    assert seen == sorted(seen)


def test_one_class_alone_can_be_fitted(train, fit):
    zeros = TrainingSet(train.features, np.zeros(len(train)), np.zeros(len(train)))
    assert predict(fit(zeros, "binary", epochs=10), train.features).members.max() < 0.2


def test_a_constant_readout_is_predicted(train, fit):
    flat = TrainingSet(train.features, np.full(len(train), 2.5), np.zeros(len(train)))
    np.testing.assert_allclose(predict(fit(flat), train.features).mean, 2.5, atol=0.2)


def test_targets_of_a_binary_readout_must_be_classes(train, fit):
    with pytest.raises(UserError, match="must be classes"):
        fit(train, "binary")


def test_divergence_is_an_error_that_tells_how_many(train, fit):
    with pytest.raises(NumericalError, match=r"2 of 2 members.*learning_rate"):
        fit(train, members=2, learning_rate=1e30)


def test_registry_offers_what_the_configuration_names():
    assert set(MODELS) == set(MODEL_NAMES)


@pytest.mark.parametrize(("labels", "expected"), [(10, 16), (100, 16), (400, 32), (10_000, 128), (100_000, 512)])
def test_batches_grow_with_the_root_of_the_labels(labels, expected):
    assert batch_size(labels, MlpSettings()) == expected
    assert batch_size(labels, MlpSettings(batch_size=7)) == 7


def test_course_of_the_learning_rate():
    assert course("constant", 0.3) == 1.0
    assert course("cosine", 0.0) == pytest.approx(1.0)
    assert course("cosine", 1.0) == pytest.approx(0.0)
    for zero in (0, 1 / 15, 3 / 15, 7 / 15, 1):  # four cycles, each twice as long
        assert course("cos-log", zero) == pytest.approx(0.0, abs=1e-12)
    for peak in (2**0.5, 2**1.5, 2**2.5, 2**3.5):
        assert course("cos-log", (peak - 1) / 15) == pytest.approx(1.0)


@pytest.mark.parametrize("changed", [{"bootstrap": True}, {"residual": True, "hidden": (16, 16)}, {"dropout": 0.2}])
def test_options_change_the_members_and_still_learn(changed, train, ensemble, labels, fit):
    test = labels(500, seed=9)
    other = predict(fit(train, **changed), test.features)
    assert not np.allclose(other.members, predict(ensemble, test.features).members)
    assert np.sqrt(np.mean((other.mean - test.targets[:, 0]) ** 2)) < 0.35 * test.targets.std()


def test_mixed_precision_stays_close_to_full(train, ensemble, labels, fit):
    test = labels(500, seed=9)
    mixed = predict(fit(train, precision="mixed"), test.features).mean
    assert np.sqrt(np.mean((mixed - predict(ensemble, test.features).mean) ** 2)) < 0.15 * test.targets.std()


def test_a_gradient_clip_bounds_the_steps_of_each_member_alone(train):
    settings = MlpSettings(members=2, hidden=(8,), gradient_clip=1e-3, layer_rates=False)
    group = group_of(train, settings, members=2)
    rows = torch.arange(50).expand(2, -1)
    loss = group.problem.losses(group._forward(rows), rows).sum(dim=1)
    (loss * torch.tensor([1.0, 1e-9])).sum().backward()
    before = group.weights["weight.1"].grad.clone()
    group._clip_gradients()
    norms = torch.stack([value.grad.flatten(1).square().sum(dim=1) for value in group.weights.values()]).sum(dim=0)
    assert float(norms[0].sqrt()) == pytest.approx(1e-3, rel=1e-4)
    torch.testing.assert_close(group.weights["weight.1"].grad[1], before[1])  # small already


@pytest.mark.parametrize(
    ("features", "targets", "variances", "message"),
    [
        (np.zeros((9, 2)), np.zeros(9), np.zeros(9), "too few labels.*got 9.*at least 10"),
        (np.zeros((12, 2)), np.zeros(11), np.zeros(12), "different lengths"),
        (np.zeros(12), np.zeros(12), np.zeros(12), "wrong rank"),
        (np.zeros((12, 2)), np.zeros((12, 2)), np.zeros(12), "different lengths"),
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


def test_the_preset_of_a_paper_can_be_trained(train, labels, fit):
    test = labels(300, seed=9)
    said = predict(fit(train, preset="inference-set-design", hidden=(64, 64), epochs=150), test.features)
    assert np.sqrt(np.mean((said.mean - test.targets[:, 0]) ** 2)) < 0.6 * test.targets.std()


def test_the_order_of_members_changes_nothing_beyond_rounding(train, ensemble):
    order = np.random.default_rng(0).permutation(5)
    names = [name for name in ensemble.tensors if name.startswith(("weight.", "bias.")) or name == "posterior"]
    turned = {name: ensemble.tensors[name][order] for name in names}
    said = predict(ensemble, train.features)
    other = predict(replace(ensemble, tensors={**ensemble.tensors, **turned}), train.features)
    np.testing.assert_allclose(other.members, said.members[:, order], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(other.within, said.within, rtol=1e-4, atol=1e-5)
