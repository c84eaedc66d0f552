"""A Gaussian process for small libraries; the members are functions drawn from its posterior.

Names of the tensors (n labels, e encoded features, b frequencies, M draws, C outputs), beside those of the encoding and
target_mean, target_scale (C,): signal, noise (), length (e,) of the kernel, in standardised readouts; inputs (n, e);
landmarks (q,) rows of them; mean_weight (n, C) of the posterior mean; frequency (e, b), amplitude (b,), prior_weight
(M, 2b, C) and update_weight (M, n, C) of the draws' deviations from it; readout_noise (C,) [readout unit squared];
held_out (M, n): nothing, each draw has learnt from all; loo.mean, loo.variance (n, C): what the process says of the
function at a label without it [readout unit, squared].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import cho_solve
from sklearn.gaussian_process import GaussianProcessRegressor

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import GaussianProcessSettings, NetworkSettings
from tasks.ensembles.determinism import Purpose, generator
from tasks.ensembles.encoding import encode, fit_encoding
from tasks.ensembles.ensemble import Ensemble, Part, Progress
from tasks.ensembles.kernel import MOST_LABELS, Kernel, correlation, fit_kernel, sklearn_kernel
from tasks.ensembles.leave_out import say_without, sets_to_leave_out
from tasks.ensembles.models import Said
from tasks.ensembles.pathwise import Draws, fourier_features
from tasks.ensembles.problem import target_scaling
from tasks.ensembles.target import Target
from tasks.ensembles.training_set import TrainingSet
from tasks.errors import NumericalError, UserError

Floats = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[Any]]

_ENCODING = NetworkSettings(ranks=False)
_LANDMARKS = 512  # labels whose covariance with a perturbation stands for it: ensemble features are projected from that
_CELLS = 1 << 22  # covariances computed at a time


class GaussianProcess:
    """Regression with a Gaussian process whose covariance has a length scale for each feature.

    Hyperparameters are the most probable ones given (at most 1,024 of) the labels. A label's noise is its variance and
    one more for all, learnt. Several outputs share the kernel and are independent otherwise.

    The members are M draws f_j = m + (g_j − ḡ) of the posterior: m is its exact mean, g_j a draw's deviation by
    Matheron's rule, ḡ the mean of those. So the mean over members is m, and their covariance (with 1/(M−1)) has the
    posterior's as its expectation, but for the error of a finite number of random frequencies.

    Source:
        Rasmussen & Williams, Gaussian processes for machine learning, 2006. Draws as functions: Wilson et al.,
        Efficiently sampling functions from Gaussian process posteriors, ICML 2020, eq. 14.
    """

    def fit(
        self,
        train: TrainingSet,
        target: Target,
        settings: GaussianProcessSettings,
        seed: int,
        members: range,
        device: torch.device,
        progress: Progress | None = None,
    ) -> Part:
        """Fit the process and draw functions; the random numbers of draw j depend on the seed and j. On the CPU.

        Raises:
            UserError: The readout is a class, or there are more labels than are allowed.
            NumericalError: The labels' covariance is not positive definite.
        """
        _check(train, target, settings)
        scaling = {name: value.double().numpy() for name, value in target_scaling(train, target).items()}
        targets = (train.targets - scaling["target_mean"]) / scaling["target_scale"]
        variances = train.variances / scaling["target_scale"] ** 2
        inputs = _encoded(train)
        advanced = progress or (lambda done, total: None)
        sets, by = sets_to_leave_out(train.plates)
        kernel = _kernel(settings, inputs, targets, variances, seed)
        advanced(1, target.columns + 1)
        draws = Draws(kernel, inputs, settings, seed, members, target.columns)
        columns = []
        for column in range(target.columns):
            regressor = _regressor(kernel, inputs, targets[:, column], variances[:, column])
            columns.append(_column(regressor, draws, column, sets))
            advanced(column + 2, target.columns + 1)
        arrays = {name: np.stack([each[name] for each in columns], axis=-1) for name in columns[0]}
        arrays["loo.mean"] = scaling["target_mean"] + scaling["target_scale"] * arrays["loo.mean"]
        arrays["loo.variance"] = scaling["target_scale"] ** 2 * arrays["loo.variance"]
        arrays |= {"signal": np.array(kernel.signal), "noise": np.array(kernel.noise), "length": kernel.length}
        arrays |= {"inputs": inputs, "frequency": draws.frequency, "amplitude": draws.amplitude}
        arrays["prior_weight"] = draws.weight - draws.weight.mean(axis=0)
        arrays["readout_noise"] = scaling["target_scale"] ** 2 * kernel.noise + train.variances.mean(axis=0)
        arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
        arrays["held_out"] = np.zeros((len(members), len(train)), dtype=np.uint8)
        arrays["landmarks"] = np.sort(generator(seed, Purpose.LANDMARKS).permutation(len(train))[:_LANDMARKS])
        facts = {
            "kernel": settings.kernel,
            "signal": kernel.signal,
            "noise": kernel.noise,
            "lengths": kernel.length.tolist(),
            "kernel_labels": min(len(train), MOST_LABELS),
            "held_out": by,
        }
        return Part(arrays, np.zeros((len(members), 0)), facts)

    def join(
        self,
        train: TrainingSet,
        target: Target,
        settings: GaussianProcessSettings,
        operators: OperatorsSection,
        seed: int,
        parts: Sequence[Part],
    ) -> Ensemble:
        """The process as an ensemble. Its draws are the whole posterior: `operators` is not read."""
        (part,) = parts
        tensors = fit_encoding(train.features, _ENCODING) | target_scaling(train, target)
        tensors |= {name: torch.from_numpy(np.array(array)) for name, array in part.arrays.items()}
        return Ensemble(target, tensors, part.history, dict(part.facts))

    def say(self, ensemble: Ensemble, features: torch.Tensor) -> Said:
        """What the drawn functions are at (k, d) features.

        The noise is what was learnt beyond the labels' variances, and their mean. The embedding is the covariance with
        some labels: the mean is linear in such covariances, and their principal components are those of the kernel.
        """
        tensors = ensemble.tensors
        double = {name: value.double() for name, value in tensors.items() if value.is_floating_point()}
        rows = max(1, _CELLS // len(tensors["inputs"]))
        inputs = torch.split(encode(tensors, features), rows)
        parts = [_evaluate(double, tensors["landmarks"], ensemble.meta["kernel"], part.double()) for part in inputs]
        members, embedding = (torch.cat(part).to(features.dtype) for part in zip(*parts, strict=True))
        noise = tensors["readout_noise"].to(features.dtype).expand(len(features), -1)
        return Said(members, members.new_zeros(len(features), 0), noise, embedding)


def _column(
    regressor: GaussianProcessRegressor, draws: Draws, column: int, sets: Sequence[tuple[Any, Any]]
) -> dict[str, Floats]:
    """Weights of mean and draws of one output, and what is said of labels left out; see the names of the tensors."""
    factor = (regressor.L_, True)
    noise = regressor.alpha + regressor.kernel_.k2.noise_level
    surprise = draws.at_labels[..., column] + np.sqrt(noise) * draws.label_noise[..., column]
    update = cho_solve(factor, surprise.T).T
    inverse = cho_solve(factor, np.eye(len(noise)))
    mean, variance = say_without(sets, inverse, regressor.alpha_, regressor.y_train_)
    return {
        "mean_weight": regressor.alpha_,
        "update_weight": update - update.mean(axis=0),
        "loo.mean": mean,
        "loo.variance": np.maximum(variance - noise, 0.0),
    }


def _evaluate(
    tensors: dict[str, torch.Tensor], landmarks: torch.Tensor, shape: Any, inputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Members (k, M, C) [readout unit] and covariances with the landmarks (k, q) at encoded features (k, e)."""
    scaled, labels = inputs / tensors["length"], tensors["inputs"] / tensors["length"]
    squares = scaled.square().sum(dim=1, keepdim=True) + labels.square().sum(dim=1) - 2.0 * scaled @ labels.T
    covariance = tensors["signal"] * correlation(shape, squares.clamp_min(0.0))
    spectrum = fourier_features(scaled, tensors["frequency"], tensors["amplitude"])
    prior = torch.tensordot(spectrum, tensors["prior_weight"], dims=([1], [1]))
    update = torch.tensordot(covariance, tensors["update_weight"], dims=([1], [1]))
    members = (covariance @ tensors["mean_weight"])[:, None] + prior - update
    return tensors["target_mean"] + tensors["target_scale"] * members, covariance[:, landmarks]


def _check(train: TrainingSet, target: Target, settings: GaussianProcessSettings) -> None:
    if target.kind != "continuous":
        raise UserError(
            "a Gaussian process predicts numbers, not classes",
            where="ensemble.model",
            got=f"gp for a {target.kind} readout",
            expected="mlp, mc-dropout or forest",
        )
    if len(train) > settings.max_labels:
        raise UserError(
            "too many labels for a Gaussian process",
            where="ensemble.max_labels",
            got=len(train),
            expected=f"at most {settings.max_labels}",
            todo="Use another ensemble.model, or allow more: time grows with their cube, memory with their square",
        )


def _encoded(train: TrainingSet) -> Floats:
    features = torch.from_numpy(train.features)
    return encode(fit_encoding(train.features, _ENCODING), features).double().numpy()


def _kernel(settings: GaussianProcessSettings, inputs: Floats, targets: Floats, variances: Floats, seed: int) -> Kernel:
    rows = np.sort(generator(seed, Purpose.KERNEL_LABELS).permutation(len(inputs))[:MOST_LABELS])
    return fit_kernel(settings.kernel, inputs[rows], targets[rows], variances[rows].mean(axis=1))


def _regressor(kernel: Kernel, inputs: Floats, targets: Floats, variances: Floats) -> GaussianProcessRegressor:
    """The process of one output given all labels."""
    try:
        return GaussianProcessRegressor(sklearn_kernel(kernel), alpha=variances, optimizer=None).fit(inputs, targets)
    except np.linalg.LinAlgError as error:
        raise NumericalError(f"the covariance of {len(inputs)} labels is not positive definite") from error
