"""The notebooks that run commands: a campaign from a CSV, and a replay of finished screens."""

import io
import json
from contextlib import redirect_stdout

import anndata
import numpy as np
import pandas as pd
import pytest
from notebook_cells import FOLDER, run

from tasks.replays.statistics import interval

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def server():
    """One Prefect server for all commands: each would start its own, which takes longer than the command."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=400), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
        yield


def play(name, folder):
    """Namespace that the notebook leaves behind, and what it printed."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setenv("HYBRIDSCREEN_SMALL", "1")
        patch.setenv("HYBRIDSCREEN_FOLDER", str(folder))
        return run(FOLDER / name), printed.getvalue()


@pytest.fixture(scope="module")
def first_campaign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    return folder, *play("from_a_csv_to_a_campaign.ipynb", folder)


def test_a_csv_becomes_a_campaign_with_a_certificate(first_campaign):
    folder, notebook, printed = first_campaign
    campaign = folder / "campaigns" / "first"
    decisions = [
        json.loads((campaign / "rounds" / f"{number:04d}" / "runs" / "01" / "decision.json").read_text())
        for number in (0, 1)
    ]
    published = anndata.read_zarr(campaign / "screens" / "0002" / "screen.zarr")
    certificate = published.uns["certificate"]
    assert certificate["bound"] == decisions[1]["bound"] == notebook["certificate"]["bound"]
    assert f"bound {decisions[1]['bound']:.4f}" in printed
    assert all(decision["reason"] in printed for decision in decisions)
    assert decisions[1]["bound"] <= notebook["true"]
    assert decisions[1]["wells_used"] == 400

    hidden = published.obs[published.obs["audit"]].dropna(subset="measured")
    wrong = int(((hidden["predicted"] - hidden["measured"]).abs() > 1.0).sum())
    names = [trace.name for trace in notebook["published"].data]
    assert names[-2:] == [f"right: {len(hidden) - wrong}", f"wrong: {wrong}"]
    assert f"{wrong} errors among {len(hidden)} measured" in decisions[1]["would_change"]
    drawn = {trace.name.split(",")[0]: len(trace.y) for trace in notebook["published"].data[:2]}
    assert drawn == published.obs["source"].value_counts().to_dict()

    counts = np.array(notebook["plate"].data[0].z, dtype=float)
    assert counts.shape == (8, 12)
    assert np.nanmean(counts[:4, 0]) > np.nanmean(counts[4:, 0]) + 4000  # − reads 8 log units above +


def test_a_campaign_goes_on_where_it_was(first_campaign):
    folder, _, first = first_campaign
    screens = folder / "campaigns" / "first" / "screens"
    before = sorted(path.name for path in screens.iterdir())
    again, printed = play("from_a_csv_to_a_campaign.ipynb", folder)
    assert "already open" in printed
    assert printed.count("0 computed") == 2
    assert sorted(path.name for path in screens.iterdir()) == before
    assert first.splitlines()[-3:] == printed.splitlines()[-3:]
    assert again["newest"].name == before[-1]


def test_a_screen_of_ones_own_is_replayed(tmp_path):
    notebook, printed = play("replay_your_own_screen.ipynb", tmp_path)
    figures = pd.read_parquet(tmp_path / "replays" / "own" / "results" / "0001" / "figures.parquet")
    assert "12 campaigns, 12 played now" in printed
    assert set(figures["arm"]) == {"random", "least-confidence", "eigenspace-clusters"}
    starts = figures[figures["round"] == 0].groupby(["screen", "seed"])["accuracy"]
    assert (starts.nunique() == 1).all()  # all arms of a seed start alike

    thick = [trace for trace in notebook["curves"].data if trace.line.width == 3]
    assert len(thick) == 12
    cells = figures[(figures["screen"] == "cells") & (figures["arm"] == "random")]
    np.testing.assert_allclose(thick[0].y, cells.groupby("labels")["system_accuracy"].mean())

    value = figures.set_index(["screen", "arm", "round", "seed"])["system_accuracy"].sort_index()
    for trace, screen in zip(notebook["differences"].data, ("cells", "cells", "solubility", "solubility"), strict=True):
        for place, number in enumerate((1, 2)):
            mean, low, high = interval(
                (value[screen, trace.name, number] - value[screen, "random", number]).to_numpy(dtype=float)
            )
            ends = trace.y[place] - trace.error_y.arrayminus[place], trace.y[place] + trace.error_y.array[place]
            np.testing.assert_allclose((trace.y[place], *ends), (mean, low, high), rtol=1e-4, atol=1e-5)

    assert f"Verdict: {notebook['assessment']['verdict']}. " in printed
    assert notebook["assessment"]["strategy"] == "least-confidence"
    assert notebook["assessment"]["labels"] == 569
    again = json.loads(notebook["hybridscreen"]("replay", "replay.yaml", "--json"))
    assert (again["computed"], again["newly"]) == (0, False)
