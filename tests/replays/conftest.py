"""A small finished screen, and a replay of it that takes seconds."""

import numpy as np
import pandas as pd
import pytest
import yaml

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


@pytest.fixture
def screen_file(tmp_path):
    path = tmp_path / "screen.csv"
    made_up_screen().to_csv(path, index=False)
    return path


@pytest.fixture
def content():
    """A configuration that tests change."""
    return {
        "replay": {"name": "small", "seeds": 2},
        "screens": [{"name": "hills", "uri": "screen.csv", "value": ["value_0"], "truth": ["truth"], "features": "f"}],
        "arms": [
            {
                "name": "clusters",
                "slots": [{"strategy": "eigenspace-clusters", "share": 1.0}],
                "operator": "gradients",
            }
        ],
        "protocol": {"initial": 40, "batch": 20, "rounds": 2},
        "ensemble": {"members": 4, "hidden": [16], "epochs": 12},
        "operators": {"sketch": 8, "gradients": 8, "features": 4},
    }


@pytest.fixture
def write(tmp_path, screen_file, content):
    """Write the configuration and answer with its path."""

    def written():
        path = tmp_path / "replay.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return written
