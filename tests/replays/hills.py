"""A small made-up screen."""

import numpy as np
import pandas as pd

N = 260


def made_up_screen(replicates=2):
    rng = np.random.default_rng(3)
    features = rng.uniform(-2, 2, size=(N, 4))
    truth = np.sin(2 * features[:, 0]) + features[:, 1] * features[:, 2]
    table = pd.DataFrame(features, columns=[f"f{i}" for i in range(4)])
    table.insert(0, "perturbation", [f"CPD-{i:03d}" for i in range(N)])
    for replicate in range(replicates):
        table[f"value_{replicate}"] = 3.0 + 2.0 * (truth + 0.2 * rng.standard_normal(N))
    return table.assign(truth=3.0 + 2.0 * truth)
