"""Small observed sets whose answer is known."""

import numpy as np

from tasks.assessing.observed import Observed
from tasks.campaigns.ensemble_settings import MlpSettings

TINY = MlpSettings(members=2, hidden=(8,), epochs=8)


def observe(n=80, noise=0.0, seed=0, **more):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 3)).astype(np.float32)
    values = features[:, 0] + 0.5 * features[:, 1] + noise * rng.normal(size=n)
    return Observed(features, values, np.full(n, noise**2), **more)
