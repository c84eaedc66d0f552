"""The replay flow: cells on workers, results that are numbered, and a page."""

import json
import re

import pandas as pd
import pytest
import yaml

from flows.replay import cells_of, replay, replay_lines
from tasks.replays.results import read_replay

ROWS = 150


@pytest.fixture
def config(tmp_path):
    import numpy as np

    rng = np.random.default_rng(1)
    features = rng.uniform(-2, 2, size=(ROWS, 3))
    for name, factor in (("one", 1.0), ("two", 2.0)):
        table = pd.DataFrame(features, columns=["a", "b", "c"])
        table.insert(0, "perturbation", [f"<b>{k}</b>" for k in range(ROWS)])
        table.assign(value=factor * features[:, 0] * features[:, 1]).to_csv(tmp_path / f"{name}.csv", index=False)
    content = {
        "replay": {"name": "small", "seeds": 2},
        "screens": [{"name": name, "uri": f"{name}.csv", "value": ["value"]} for name in ("one", "two")],
        "arms": [{"name": "variance", "slots": [{"strategy": "top-variance", "share": 1.0}], "operator": "reducible"}],
        "protocol": {"initial": 30, "batch": 10, "rounds": 1},
        "ensemble": {"members": 2, "hidden": [8], "epochs": 3},
        "operators": {"sketch": 4, "gradients": 4, "features": 2},
    }
    path = tmp_path / "replay.yaml"
    path.write_text(yaml.safe_dump(content))
    return path, content


def test_a_replay_is_played_once_extended_and_shown(config, tmp_path):
    path, content = config
    first = replay(str(path))
    assert (first.campaigns, first.computed, first.newly) == (8, 8, True)
    folder = tmp_path / "replays" / "small" / "results" / "0001"
    assert sorted(each.name for each in folder.iterdir()) == [
        "figures.parquet", "replay.yaml", "report.html", "summary.json",
    ]  # fmt: skip
    table = pd.read_parquet(folder / "figures.parquet")
    assert table.groupby(["screen", "arm", "seed"]).size().tolist() == [2] * 8
    assert json.loads((folder / "summary.json").read_text()) == first.summary
    page = (folder / "report.html").read_text()
    assert first.page == str(folder / "report.html")
    for heading in ("Against random", "Learning", "By round", "Labels and ranks", "Model or hits", "Cost"):
        assert re.search(f"<h2>{heading}</h2>", page)
    assert "<dt>Noise added</dt><dd>none</dd>" in page
    assert any("variance" in line for line in replay_lines(first))

    again = replay(str(path))
    assert (again.computed, again.newly, again.result) == (0, False, first.result)
    assert again.summary == first.summary

    content["replay"]["seeds"] = 3
    content["screens"][0]["noise"] = {"level": 0.1, "wells": 10, "controls": 4, "failures": 0.05}
    path.write_text(yaml.safe_dump(content))
    more = replay(str(path))
    assert (more.campaigns, more.computed, more.newly) == (12, 8, True)
    assert more.result.endswith("0002")
    said = re.search("<dt>Noise added</dt><dd>(.*?)</dd>", (folder.parent / "0002" / "report.html").read_text())
    assert "sd 0.1 of a well" in said[1]
    assert "5% of plates fail" in said[1]


def test_workers_in_other_processes_give_the_same(config, tmp_path):
    path, content = config
    here = replay(str(path))
    content["replay"]["storage"] = "elsewhere"
    content["compute"] = {"workers": 2}
    path.write_text(yaml.safe_dump(content))
    there = replay(str(path))
    tables = [pd.read_parquet(f"{each.result}/figures.parquet") for each in (here, there)]
    pd.testing.assert_frame_equal(*tables)


def test_all_arms_of_a_seed_come_before_the_next(config):
    nodes = list(cells_of(read_replay(config[0])))
    assert nodes[:4] == ["cell/one/random/0", "cell/one/variance/0", "cell/two/random/0", "cell/two/variance/0"]
    assert len(nodes) == 8
