"""Gaussian processes: scikit-learn's exact posterior is the oracle for kernel, mean, draws and left-out labels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from model_properties import BINARY, ModelProperties, classes_of, features, labels, surface
from scipy.optimize import check_grad
from scipy.stats import multivariate_normal, multivariate_t
from sklearn.gaussian_process import GaussianProcessRegressor

from tasks.ensembles import Ensemble, Target, TrainingSet
from tasks.ensembles import kernel as kernels
from tasks.ensembles.encoding import encode
from tasks.ensembles.kernel import Kernel, Regressor, correlation, fit_kernel, sklearn_kernel
from tasks.ensembles.leave_out import say_without, sets_to_leave_out
from tasks.ensembles.pathwise import fourier_features, frequencies
from tasks.errors import UserError

SHAPES = ("matern-5/2", "rbf")


def exact(ensemble: Ensemble, train: TrainingSet, column: int = 0) -> tuple[GaussianProcessRegressor, float, float]:
    """scikit-learn's process of one output with the ensemble's kernel; the readout's mean and scale."""
    tensors = ensemble.tensors
    mean, scale = float(tensors["target_mean"][column]), float(tensors["target_scale"][column])
    kernel = Kernel(
        ensemble.meta["kernel"], tensors["length"].double().numpy(), float(tensors["signal"]), float(tensors["noise"])
    )
    process = GaussianProcessRegressor(
        sklearn_kernel(kernel), alpha=train.variances[:, column] / scale**2, optimizer=None
    )
    inputs = tensors["inputs"].double().numpy()
    return process.fit(inputs, (train.targets[:, column] - mean) / scale), mean, scale


def encoded(ensemble: Ensemble, x: np.ndarray) -> np.ndarray:
    return encode(ensemble.tensors, torch.from_numpy(x)).double().numpy()


class TestGaussianProcess(ModelProperties):
    NAME = "gp"
    SETTINGS: ClassVar = {"members": 16, "basis": 256}
    RMSE = 0.2

    def test_the_mean_of_the_members_is_the_exact_posterior_mean(self, train: TrainingSet, fitted: Ensemble) -> None:
        process, mean, scale = exact(fitted, train)
        x = features(200, seed=40)
        said = self.predict(fitted, x).members.astype(np.float64)
        np.testing.assert_allclose(said.mean(axis=1), mean + scale * process.predict(encoded(fitted, x)), atol=2e-5)

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize(("n", "noise"), [(40, 0.3), (300, 0.1)])
    def test_the_covariance_of_the_members_is_the_exact_posterior_covariance(
        self, shape: str, n: int, noise: float
    ) -> None:
        """Also with many labels of little noise, where only high frequencies are uncertain."""
        few = labels(n, noise=noise)
        ensemble = self.fit(few, kernel=shape, members=512, basis=4096)
        process, _, scale = exact(ensemble, few)
        x = np.concatenate([features(30, seed=41), few.features[:10], 30 + features(5, seed=42)])
        said = self.predict(ensemble, x).members.astype(np.float64)
        _, covariance = process.predict(encoded(ensemble, x), return_cov=True)
        covariance = scale**2 * (covariance - float(ensemble.tensors["noise"]) * np.eye(len(x)))
        # A variance estimated from M draws is off by √(2/M), 6%; the mean of 30 that go together not by much less.
        ratio = np.diag(np.cov(said)) / np.diag(covariance)
        assert 0.7 < ratio.min() < ratio.max() < 1.4
        assert abs(ratio[:30].mean() - 1) < 0.12
        assert np.linalg.norm(np.cov(said) - covariance) < 0.2 * np.linalg.norm(covariance)

    def test_far_from_all_labels_members_spread_as_the_prior_does(self, fitted: Ensemble) -> None:
        """Encoded features are bounded, so no perturbation is infinitely far: nearly the prior, and never more."""
        far = np.full((1, 5), 1e6, dtype=np.float32) * np.array([1, -1, 1, 1, -1], dtype=np.float32)
        near = self.predict(fitted, features(50, seed=43)).members.std(axis=1).mean()
        assert self.predict(fitted, far).members.std() > 5 * near

    def test_a_draw_is_one_function_for_all_perturbations(self, fitted: Ensemble) -> None:
        x = np.repeat(features(1, seed=44), 500, axis=0)
        x[:, 0] = np.linspace(-1, 1, 500)
        deviation = self.predict(fitted, x, rows=17).members
        deviation = deviation - deviation.mean(axis=1, keepdims=True)
        assert np.abs(np.diff(deviation, axis=0)).max() < 0.1 * deviation.std()

    def test_left_out_labels_are_what_a_fit_without_them_says(self, train: TrainingSet, fitted: Ensemble) -> None:
        _, mean, scale = exact(fitted, train)
        inputs = fitted.tensors["inputs"].double().numpy()
        for row in (0, 17, 199):
            kept = np.arange(len(train)) != row
            kernel = exact(fitted, train)[0].kernel_
            alone = GaussianProcessRegressor(kernel, alpha=train.variances[kept, 0] / scale**2, optimizer=None)
            alone.fit(inputs[kept], (train.targets[kept, 0] - mean) / scale)
            said, sd = alone.predict(inputs[[row]], return_std=True)
            variance = scale**2 * (sd**2 - float(fitted.tensors["noise"]))
            assert float(fitted.tensors["loo.mean"][row, 0]) == pytest.approx(mean + scale * said[0], abs=1e-4)
            assert float(fitted.tensors["loo.variance"][row, 0]) == pytest.approx(variance[0], rel=1e-3)

    def test_plates_are_left_out_whole(self, train: TrainingSet) -> None:
        """With an offset of each plate, what is said of a label must not know its plate."""
        plate = np.arange(len(train)) % 10
        offset = np.random.default_rng(0).normal(size=10) * 2
        x = train.features.copy()
        x[:, 2] = plate  # a feature that gives the plate away
        targets = train.targets[:, 0] + offset[plate]
        by_label = TrainingSet(x, targets, train.variances)
        by_plate = TrainingSet(x, targets, train.variances, plate[:, None] == np.arange(10))
        alone, whole = self.fit(by_label), self.fit(by_plate)
        assert (alone.meta["held_out"], whole.meta["held_out"]) == ("labels", "plates")

        def error(ensemble: Ensemble) -> float:
            return float(np.sqrt(np.mean((ensemble.tensors["loo.mean"].numpy()[:, 0] - targets) ** 2)))

        assert error(alone) < 0.6
        assert error(whole) > 1.2

    def test_each_label_has_its_own_noise(self) -> None:
        """A label of enormous variance is as good as not there."""
        clean = labels(60)
        wild = TrainingSet(
            np.concatenate([clean.features, features(1, seed=45)]),
            np.append(clean.targets[:, 0], clean.targets.mean() + 3.0),
            np.append(clean.variances[:, 0], 1e8),
        )
        ensemble = self.fit(wild)
        process, mean, scale = exact(ensemble, wild)
        inputs = ensemble.tensors["inputs"].double().numpy()[:-1]
        without = GaussianProcessRegressor(process.kernel_, alpha=clean.variances[:, 0] / scale**2, optimizer=None)
        without.fit(inputs, (clean.targets[:, 0] - mean) / scale)
        x = features(50, seed=46)
        expected = mean + scale * without.predict(encoded(ensemble, x))
        np.testing.assert_allclose(self.predict(ensemble, x).mean, expected, atol=1e-4)

    def test_outputs_have_their_own_noise_and_draws(self, train: TrainingSet) -> None:
        both = TrainingSet(
            train.features,
            np.column_stack([train.targets, train.targets]),
            np.column_stack([train.variances, 1 + 0 * train.variances]),
        )
        ensemble = self.fit(both, Target(columns=2))
        x = features(100, seed=47)
        said = self.predict(ensemble, x).members.astype(np.float64)
        for column in (0, 1):
            process, mean, scale = exact(ensemble, both, column)
            np.testing.assert_allclose(
                said[..., column].mean(axis=1), mean + scale * process.predict(encoded(ensemble, x)), atol=2e-5
            )
        spread = said.std(axis=1).mean(axis=0)
        assert spread[1] > 2 * spread[0]
        first, second = (said[..., column] - said[..., column].mean(axis=1, keepdims=True) for column in (0, 1))
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.3

    @pytest.mark.parametrize("known", [0.0, 0.2])
    def test_noise_that_variances_do_not_explain_is_learnt(self, known: float) -> None:
        """A readout's noise is both together, however much of it is known."""
        rng = np.random.default_rng(0)
        x = features(300, seed=48)
        train = TrainingSet(x, surface(x) + 0.5 * rng.normal(size=300), np.full(300, known))
        ensemble = self.fit(train)
        said = self.model.say(ensemble, torch.from_numpy(x[:5]))
        np.testing.assert_allclose(said.noise, 0.25, rtol=0.3)
        scale = float(ensemble.tensors["target_scale"])
        assert ensemble.meta["noise"] * scale**2 == pytest.approx(0.25 - known, abs=0.075)

    def test_facts_name_the_hyperparameters(self, fitted: Ensemble) -> None:
        assert fitted.meta["kernel"] == "matern-5/2"
        assert len(fitted.meta["lengths"]) == 5
        irrelevant, relevant = fitted.meta["lengths"][2], fitted.meta["lengths"][0]
        assert irrelevant > 2 * relevant
        assert fitted.meta["kernel_labels"] == 200

    def test_hyperparameters_are_learned_from_some_labels_the_process_from_all(
        self, train: TrainingSet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.ensembles.process.MOST_LABELS", 50)
        ensemble = self.fit(train)
        assert ensemble.meta["kernel_labels"] == 50
        process, mean, scale = exact(ensemble, train)
        x = features(50, seed=49)
        np.testing.assert_allclose(
            self.predict(ensemble, x).mean, mean + scale * process.predict(encoded(ensemble, x)), atol=2e-5
        )

    @pytest.mark.parametrize("target", [BINARY, Target("multi-class", 2)])
    def test_classes_are_refused(self, train: TrainingSet, target: Target) -> None:
        with pytest.raises(
            UserError, match=r"ensemble\.model.*gp for a (binary|multi-class).*mlp, mc-dropout or forest"
        ):
            self.fit(classes_of(train), target)

    def test_too_many_labels_are_refused(self, train: TrainingSet) -> None:
        with pytest.raises(UserError, match=r"ensemble\.max_labels.*200.*at most 199"):
            self.fit(train, max_labels=199)


def small_problem(seed: int = 0, columns: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(25, 3))
    return x, np.column_stack([np.sin(x[:, 0] + j) for j in range(columns)]), rng.uniform(0, 0.1, 25)


@pytest.mark.parametrize("shape", SHAPES)
def test_likelihood_and_gradient_are_scikit_learns_with_the_prior(shape: str) -> None:
    x, y, variances = small_problem()
    kernel = Kernel(shape, np.array([0.7, 1.3, 2.5]), 1.7, 0.02)
    ours = Regressor(sklearn_kernel(kernel), alpha=variances, optimizer=None).fit(x, y)
    theirs = GaussianProcessRegressor(sklearn_kernel(kernel), alpha=variances, optimizer=None).fit(x, y)
    theta = ours.kernel_.theta

    def prior(at: np.ndarray) -> tuple[float, np.ndarray]:
        center = np.array([at[0], *[np.log(3) / 2] * 3, np.log(kernels._NOISE)])
        sd = np.array([1.0, *[kernels._LENGTH_SPREAD] * 3, kernels._NOISE_SPREAD])
        return float(-0.5 * np.sum(((at - center) / sd) ** 2)), -(at - center) / sd**2

    for at in (theta, theta + 0.3, theta - 0.5):
        value, gradient = ours.log_marginal_likelihood(at, eval_gradient=True)
        expected, slopes = theirs.log_marginal_likelihood(at, eval_gradient=True)
        assert value == pytest.approx(expected + prior(at)[0], rel=1e-10)
        np.testing.assert_allclose(gradient, slopes + prior(at)[1], rtol=1e-8, atol=1e-8)
        assert ours.log_marginal_likelihood(at) == pytest.approx(value)
    error = check_grad(
        ours.log_marginal_likelihood, lambda at: ours.log_marginal_likelihood(at, eval_gradient=True)[1], theta
    )
    assert error < 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_the_fitted_kernel_is_at_a_maximum(shape: str) -> None:
    x, y, variances = small_problem()
    kernel = fit_kernel(shape, x, y, variances)
    regressor = Regressor(sklearn_kernel(kernel), alpha=variances, optimizer=None).fit(x, y)
    theta = regressor.kernel_.theta
    best = regressor.log_marginal_likelihood(theta)
    inside = (theta > np.log([2e-2, *[2e-2] * 3, 2e-4])) & (theta < np.log([50, *[5e3] * 3, 5]))
    assert inside.sum() >= 4
    for step in np.eye(len(theta))[inside]:
        for sign in (-0.1, 0.1):
            assert regressor.log_marginal_likelihood(theta + sign * step) < best


@pytest.mark.parametrize("shape", SHAPES)
def test_correlation_is_scikit_learns(shape: str) -> None:
    x, _, _ = small_problem()
    kernel = Kernel(shape, np.array([0.7, 1.3, 2.5]), 1.0, 1e-9)
    squares = ((x[:, None] - x[None]) ** 2 / kernel.length**2).sum(axis=-1)
    np.testing.assert_allclose(correlation(shape, torch.from_numpy(squares)), sklearn_kernel(kernel).k1(x), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_fourier_features_have_the_kernels_covariance(shape: str) -> None:
    x = torch.from_numpy(small_problem()[0])
    drawn = frequencies(shape, 3, 40_000, np.random.default_rng(0))
    phi = fourier_features(x, *map(torch.from_numpy, drawn))
    squares = (x[:, None] - x[None]).square().sum(dim=-1)
    np.testing.assert_allclose(phi @ phi.T, correlation(shape, squares), atol=0.02)  # five times √(1/b)
    np.testing.assert_allclose((phi**2).sum(dim=1), 1.0, rtol=1e-12)


def test_amplitudes_weigh_by_the_density_of_the_kernel() -> None:
    """Their squares are what the densities of scipy say they are."""
    frequency, amplitude = frequencies("matern-5/2", 3, 1000, np.random.default_rng(1))
    density, cauchy = (multivariate_t(df=df, shape=np.eye(3)).pdf(frequency.T) for df in (5, 1))
    ratio = density / (0.5 * density + 0.5 * cauchy)
    np.testing.assert_allclose(amplitude**2, ratio / ratio.sum(), rtol=1e-10)
    frequency, amplitude = frequencies("rbf", 3, 1000, np.random.default_rng(1))
    density, cauchy = (
        multivariate_normal(np.zeros(3)).pdf(frequency.T),
        multivariate_t(df=1, shape=np.eye(3)).pdf(frequency.T),
    )
    ratio = density / (0.5 * density + 0.5 * cauchy)
    np.testing.assert_allclose(amplitude**2, ratio / ratio.sum(), rtol=1e-10)


def test_a_feature_without_values_has_no_say() -> None:
    x, y, variances = small_problem()
    flat = np.column_stack([np.zeros(25), x])
    with_flat, without = fit_kernel("rbf", flat, y, variances), fit_kernel("rbf", x, y, variances)
    np.testing.assert_array_equal(with_flat.length[1:], without.length)
    assert np.isfinite(fit_kernel("rbf", np.zeros((25, 2)), y, variances).length).all()


class TestSetsToLeaveOut:
    def test_all_labels_that_share_a_plate_go(self) -> None:
        plates = np.zeros((12, 6), dtype=bool)
        plates[np.arange(12), np.arange(12) // 2] = True
        plates[0, 5] = True  # one well on another plate too
        plates[3] = False
        sets, by = sets_to_leave_out(plates)
        assert by == "plates"
        left = {int(row): set(out.tolist()) for asked, out in sets for row in asked}
        assert left[0] == {0, 1, 10, 11}
        assert left[1] == {0, 1}
        assert left[10] == {0, 10, 11}
        assert left[3] == {3}
        assert left[2] == {2}
        assert sorted(left) == list(range(12))

    @pytest.mark.parametrize("plates", [np.zeros((8, 0), bool), np.ones((8, 6), bool), np.eye(8, dtype=bool)[:, :4]])
    def test_labels_go_alone_where_plates_would_take_too_much(self, plates: np.ndarray) -> None:
        sets, by = sets_to_leave_out(plates)
        assert by == "labels"
        assert [(asked.tolist(), out.tolist()) for asked, out in sets] == [([row], [row]) for row in range(8)]

    def test_a_set_left_out_is_a_regression_without_it(self) -> None:
        rng = np.random.default_rng(0)
        root = rng.normal(size=(9, 9))
        covariance, y = root @ root.T + np.eye(9), rng.normal(size=9)
        inverse = np.linalg.inv(covariance)
        out = np.array([1, 4, 5])
        others = np.setdiff1d(np.arange(9), out)
        sets = [(np.array([4]), out), (np.array([1, 5]), out), *[(np.array([row]), np.array([row])) for row in others]]
        mean, variance = say_without(sets, inverse, inverse @ y, y)
        weights = covariance[np.ix_(out, others)] @ np.linalg.inv(covariance[np.ix_(others, others)])
        np.testing.assert_allclose(mean[out], weights @ y[others])
        expected = covariance[np.ix_(out, out)] - weights @ covariance[np.ix_(others, out)]
        np.testing.assert_allclose(variance[out], np.diag(expected))
