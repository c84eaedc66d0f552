"""The kernel of a Gaussian process: its shape, and its most probable hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import minimize
from scipy.spatial.distance import pdist, squareform
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

Floats = npt.NDArray[np.float64]
Shape = Literal["matern-5/2", "rbf"]

MOST_LABELS = 1024  # for hyperparameters: more change them little, and each of some hundred steps costs their cube

# A length scale's median is √e (features about 1 wide are √e apart), that of the noise a tenth of the readout's
# variance; then the spread of their logarithms. Chosen on bike, pol, elevators, kin40k and the IL-2 screen with 80 to
# 600 labels: half or twice of each changes little; a much wider spread overfits noisy readouts with many features.
_LENGTH_SPREAD = 0.8
_NOISE, _NOISE_SPREAD = 0.1, 1.5

_INSIDE = {"signal": (1e-2, 1e2), "length": (1e-2, 1e4), "noise": (1e-4, 1e1)}
_WIDE = (1e-9, 1e9)  # scikit-learn warns where a value is at its own bound: it is never there
_STARTS = ((1.0, _NOISE), (0.3, 0.01))  # length scale in prior medians, and noise
_STEPS = 100


@dataclass(frozen=True)
class Kernel:
    """Covariance of standardised readouts.

    Attributes:
        shape: Of the covariance function.
        length: (e,) length scale of each encoded feature.
        signal: Variance of the function.
        noise: Variance of a readout about the function, beyond what is known of the label.
    """

    shape: Shape
    length: Floats
    signal: float
    noise: float


def fit_kernel(shape: Shape, inputs: Floats, targets: Floats, variances: Floats) -> Kernel:
    """The most probable kernel, one for all outputs.

    Args:
        shape: Of the covariance function.
        inputs: (n, e) encoded features.
        targets: (n, C) standardised readouts.
        variances: (n,) variance that is known of each label.

    Returns:
        The kernel; its numbers are float32, as they are stored.

    Source:
        Rasmussen & Williams 2006, section 5.4.1. A prior for length scales that grows with √e: Hvarfner, Hellsten &
        Nardi, Vanilla Bayesian optimization performs great in high dimensions, 2024.
    """
    varies = np.ptp(inputs, axis=0) > 0
    varies[0] |= not varies.any()
    length = np.ones(len(varies))
    start = sklearn_kernel(Kernel(shape, length[varies], 1.0, _NOISE))
    regressor = Regressor(kernel=start, alpha=variances, optimizer=_from_each_start)
    signal, *length[varies], noise = np.exp(regressor.fit(inputs[:, varies], targets).kernel_.theta)
    return Kernel(
        shape, length.astype(np.float32).astype(np.float64), float(np.float32(signal)), float(np.float32(noise))
    )


def sklearn_kernel(kernel: Kernel) -> Any:
    """The same kernel, noise included, as scikit-learn's."""
    shape = Matern(kernel.length, _WIDE, nu=2.5) if kernel.shape == "matern-5/2" else RBF(kernel.length, _WIDE)
    return ConstantKernel(kernel.signal, _WIDE) * shape + WhiteKernel(kernel.noise, _WIDE)


def correlation(shape: Shape, squares: torch.Tensor) -> torch.Tensor:
    """Covariance of a function of variance 1 at squared distances in length scales."""
    if shape == "rbf":
        return torch.exp(-0.5 * squares)
    distance = torch.sqrt(5.0 * squares)
    return (1.0 + distance + 5.0 / 3.0 * squares) * torch.exp(-distance)


class Regressor(GaussianProcessRegressor):  # type: ignore[misc]
    """scikit-learn's regressor, but for two things: hyperparameters have a prior, and the gradient fits in memory.

    The original's gradient is an n × n matrix for each length scale, 4 GB for 1,000 labels with 500 features.
    """

    def log_marginal_likelihood(
        self, theta: Floats | None = None, eval_gradient: bool = False, clone_kernel: bool = True
    ) -> Any:
        """Logarithm of likelihood × prior; with its gradient by the logarithms of signal, length scales and noise.

        Source: Rasmussen & Williams 2006, eq. 5.8 and 5.9.
        """
        theta = self.kernel_.theta if theta is None else theta
        signal, length, noise = math.exp(theta[0]), np.exp(theta[1:-1]), math.exp(theta[-1])
        scaled, targets = self.X_train_ / length, self.y_train_.reshape(len(self.X_train_), -1)
        n, outputs = targets.shape
        squares = torch.from_numpy(squareform(pdist(scaled, "sqeuclidean")))
        shape: Shape = "matern-5/2" if isinstance(self.kernel_.k1.k2, Matern) else "rbf"
        covariance = signal * correlation(shape, squares).numpy()
        factor = cholesky(covariance + np.diag(self.alpha + noise), lower=True)
        weights = cho_solve((factor, True), targets)
        value = -0.5 * np.sum(targets * weights) - outputs * (
            np.sum(np.log(np.diag(factor))) + 0.5 * n * math.log(2 * math.pi)
        )
        off_length = (theta[1:-1] - 0.5 * math.log(len(length))) / _LENGTH_SPREAD
        off_noise = (theta[-1] - math.log(_NOISE)) / _NOISE_SPREAD
        value -= 0.5 * (np.sum(off_length**2) + off_noise**2)
        if not eval_gradient:
            return value
        pull = weights @ weights.T - outputs * cho_solve((factor, True), np.eye(n))
        along = pull * (signal * _slope(shape, squares).numpy())
        by_length = along.sum(axis=1) @ scaled**2 - np.sum(scaled * (along @ scaled), axis=0)
        by_noise = 0.5 * noise * np.trace(pull)
        return value, np.array(
            [
                0.5 * np.sum(pull * covariance),
                *(by_length - off_length / _LENGTH_SPREAD),
                by_noise - off_noise / _NOISE_SPREAD,
            ]
        )


def _slope(shape: Shape, squares: torch.Tensor) -> torch.Tensor:
    """−2 times the derivative of the correlation by the squared distance."""
    if shape == "rbf":
        return torch.exp(-0.5 * squares)
    distance = torch.sqrt(5.0 * squares)
    return 5.0 / 3.0 * (1.0 + distance) * torch.exp(-distance)


def _from_each_start(
    objective: Callable[[Floats], tuple[float, Floats]], initial: Floats, bounds: Floats
) -> tuple[Floats, float]:
    """An optimiser for scikit-learn: the best that L-BFGS-B finds from a few starts."""
    lengths = len(initial) - 2
    inside = np.log([_INSIDE["signal"], *[_INSIDE["length"]] * lengths, _INSIDE["noise"]]).tolist()
    found = []
    for length, noise in _STARTS:
        start = np.log([1.0, *[length * math.sqrt(lengths)] * lengths, noise])
        found.append(
            minimize(objective, start, jac=True, method="L-BFGS-B", bounds=inside, options={"maxiter": _STEPS})
        )
    best = min(found, key=lambda result: float(result.fun))
    return best.x, float(best.fun)
