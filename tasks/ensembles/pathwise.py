"""Draws from a Gaussian process as functions: random Fourier features, and the random numbers of each draw."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import gammaln

from tasks.campaigns.ensemble_settings import GaussianProcessSettings
from tasks.ensembles.determinism import Purpose, generator
from tasks.ensembles.kernel import Kernel, Shape

Floats = npt.NDArray[np.float64]


class Draws:
    """What the draws of all outputs share: the frequencies, and their random numbers.

    Attributes:
        frequency, amplitude: (e, b) and (b,), as they are stored.
        weight: (M, 2b, C) of the draws from the prior.
        label_noise: (M, n, C) standard normal.
    """

    def __init__(
        self, kernel: Kernel, inputs: Floats, settings: GaussianProcessSettings, seed: int, members: range, columns: int
    ) -> None:
        count = settings.basis // 2
        drawn = frequencies(kernel.shape, inputs.shape[1], count, generator(seed, Purpose.FREQUENCIES))
        self.frequency, self.amplitude = (array.astype(np.float32).astype(np.float64) for array in drawn)
        rngs = [generator(seed, Purpose.MEMBER, member) for member in members]
        self.weight = np.stack([rng.standard_normal((2 * count, columns)) for rng in rngs]) * np.sqrt(kernel.signal)
        self.label_noise = np.stack([rng.standard_normal((len(inputs), columns)) for rng in rngs])
        spectrum = torch.from_numpy(self.frequency), torch.from_numpy(self.amplitude)
        features = fourier_features(torch.from_numpy(inputs / kernel.length), *spectrum).numpy()
        self.at_labels = np.einsum("nb,mbc->mnc", features, self.weight, optimize=True)


def frequencies(shape: Shape, features: int, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Random frequencies (e, b) of a kernel with length scales 1, and the amplitude (b,) of each.

    Half of them come from the spectral density (Student's with 5 degrees of freedom for Matérn-5/2, normal for rbf),
    half from Cauchy's, whose tails are heavier; amplitudes make up for it. Near labels with little noise a function is
    uncertain in its high frequencies alone, and those are rare: 1,024 frequencies from the density itself gave three
    quarters of the posterior variance there; with half from Cauchy's all of it.

    Source:
        Rahimi & Recht, Random features for large-scale kernel machines, 2007. Spectral density: Rasmussen & Williams
        2006, eq. 4.15.
    """
    degrees, half = (math.inf if shape == "rbf" else 5.0), count // 2
    drawn = [_student(degrees, features, count - half, rng), _student(1.0, features, half, rng)]
    frequency = np.concatenate(drawn, axis=1)
    density, cauchy = _log_student(degrees, frequency), _log_student(1.0, frequency)
    share = half / count
    ratio = np.exp(density - np.logaddexp(np.log(1 - share) + density, np.log(share) + cauchy))
    return frequency, np.sqrt(ratio / ratio.sum())


def fourier_features(scaled: torch.Tensor, frequency: torch.Tensor, amplitude: torch.Tensor) -> torch.Tensor:
    """(k, 2b) features whose products approximate the correlation of inputs (k, e) in length scales.

    Cosine and sine of each frequency: so the variance is 1 at every input.
    """
    phase = scaled @ frequency
    return torch.cat([phase.cos() * amplitude, phase.sin() * amplitude], dim=1)


def _student(degrees: float, features: int, count: int, rng: np.random.Generator) -> Floats:
    """(e, b) draws from the multivariate Student distribution."""
    draws = rng.standard_normal((features, count))
    return draws if math.isinf(degrees) else np.asarray(draws * np.sqrt(degrees / rng.chisquare(degrees, count)))


def _log_student(degrees: float, at: Floats) -> Floats:
    """(b,) logarithm of its density at (e, b), but for a constant of the dimension that all have."""
    squares, features = np.sum(at**2, axis=0), len(at)
    if math.isinf(degrees):
        return np.asarray(-0.5 * squares - 0.5 * features * math.log(2.0))
    norm = gammaln((degrees + features) / 2) - gammaln(degrees / 2) - 0.5 * features * math.log(degrees)
    return np.asarray(norm - 0.5 * (degrees + features) * np.log1p(squares / degrees))
