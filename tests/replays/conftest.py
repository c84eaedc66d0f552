"""A small finished screen, and a replay of it that takes seconds."""

import pytest
import yaml
from hills import made_up_screen


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
