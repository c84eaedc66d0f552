"""Rules of all notebooks, and the reader of published screens, on a screen as a round publishes it."""

import ast
import hashlib

import numpy as np
import pandas as pd
import pytest
from notebook_cells import FOLDER, NOTEBOOKS, code_of, read, run

from tasks.campaigns.config import ReadoutSection
from tasks.checkpoints.payloads import Payload, encode
from tasks.checkpoints.records import RoundLock
from tasks.publishing.card import render_card
from tasks.publishing.formats import complete_provenance
from tasks.publishing.screen import build_screen

READER = FOLDER / "read_a_hybrid_screen.ipynb"
THE_OTHERS = [notebook for notebook in NOTEBOOKS if notebook != READER]
LOCK = RoundLock(campaign="pilot", round=0, nodes={}, versions={"numpy": "2.0"})
CERTIFICATE = {
    "stop": False, "certified": False, "bound": 0.75, "gamma": 0.9, "risk": 0.05, "risk_spent": 0.01, "look": 1,
    "assumption": "drawn at random", "reason": "Go on", "wells_used": 24, "wells_full_screen": 60,
}  # fmt: skip


def make_screen(certificate):
    """Thirty perturbations; the first twelve measured, four of these hidden audit members."""
    rng = np.random.default_rng(3)
    ids = [f"CPD-{index:02d}" for index in range(30)]
    predictions = pd.DataFrame(
        {"mean": rng.normal(size=30), "epistemic_sd": 0.3, "bias_sd": 0.1, "aleatoric_sd": 0.2}, index=ids
    )
    labels = pd.DataFrame(
        {
            "perturbation": ids[:12],
            "value": rng.normal(size=12),
            "n": 2,
            "variance": 0.02,
            "plates": "P-R00-P01;P-R00-P02",
            "round": 0,
            "audit": [index < 4 for index in range(12)],
        }
    )
    readout = ReadoutSection(kind="continuous", unit="log units", tolerance=1.0)
    return build_screen(
        pd.DataFrame(index=ids), predictions, labels, readout, certificate, {"campaign": "pilot", "round": 0}
    )


def publish(folder, bound, complete=True):
    """Write a screen below `folder` as a round does, its manifest last."""
    certificate = {"stop": False, "bound": bound, "reason": "Go on: the target is not reached."}
    for name, data in encode(Payload("anndata", make_screen(certificate))).items():
        path = folder / "screen.zarr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if complete:
        (folder / "manifest.json").write_text("{}")
    return folder


def content(folder):
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def no_screen_given(monkeypatch):
    monkeypatch.delenv("HYBRIDSCREEN_SCREEN", raising=False)


def imports_of(notebook):
    """Every dotted name that is imported, with what is taken from it."""
    found = set()
    for node in ast.walk(ast.parse("\n".join(code_of(notebook)))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_reader_only_reads(tmp_path, monkeypatch):
    folder = publish(tmp_path / "0001", bound=0.75)
    monkeypatch.setenv("HYBRIDSCREEN_SCREEN", str(folder))
    before = content(tmp_path)
    run(READER)
    assert content(tmp_path) == before


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_stored_without_outputs(notebook):
    for cell in read(notebook)["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_short_and_stands_in_the_table(notebook):
    assert len(read(notebook)["cells"]) <= 12
    assert f"| `{notebook.name}` |" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_reader_needs_nothing_of_the_pipeline():
    assert not {name.split(".")[0] for name in imports_of(READER)} & {"flows", "tasks"}


@pytest.mark.parametrize("notebook", THE_OTHERS, ids=lambda path: path.name)
def test_notebook_uses_the_command_and_plain_functions_alone(notebook):
    """What runs goes by the command; of `tasks` no nodes of Prefect, and nothing private."""
    for parts in (name.split(".") for name in imports_of(notebook)):
        assert parts[0] not in {"flows", "deployments", "prefect"}
        assert "task" not in parts
        assert not any(part.startswith("_") for part in parts)


def test_reader_prints_the_certificate_and_draws_every_measurement(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HYBRIDSCREEN_SCREEN", str(publish(tmp_path / "0001", bound=0.7531)))
    figure = run(READER)["figure"]
    printed = capsys.readouterr().out
    assert "0.7531" in printed
    assert "Go on: the target is not reached." in printed
    obs = make_screen({}).obs.dropna(subset="measured")
    drawn = {trace.name: trace for trace in figure.data}
    for name, audit in (("hidden audit: a test", True), ("seen in training: no test", False)):
        rows = obs[obs["audit"] == audit]
        np.testing.assert_array_equal(drawn[name].x, rows["measured"])
        np.testing.assert_array_equal(drawn[name].y, rows["predicted"])
    assert figure.layout.xaxis.title.text == "measured [log units]"


def test_five_lines_of_the_reader_are_those_of_the_card_and_draw_the_hidden_members(tmp_path):
    """With anndata alone: no other cell is run before."""
    folder = publish(tmp_path / "0001", bound=0.75)
    five = code_of(READER)[-1].splitlines()
    card = render_card(complete_provenance(make_screen(CERTIFICATE), 1, LOCK))
    assert [line.replace('f"{folder}/screen.zarr"', '"screen.zarr"') for line in five] == [
        line[4:] for line in card.splitlines() if line.startswith("    ")
    ]
    assert len(five) == 5
    namespace = {"folder": folder}
    exec("\n".join(five[:-1]), namespace)
    (drawn,) = eval(five[-1], namespace).data
    hidden = make_screen({}).obs[lambda obs: obs["audit"]]
    np.testing.assert_array_equal(drawn.x, hidden["measured"])
    np.testing.assert_array_equal(drawn.y, hidden["predicted"])


@pytest.mark.parametrize("start", [".", "notebooks"])
def test_reader_takes_the_newest_complete_screen_of_the_demo(start, tmp_path, monkeypatch):
    screens = tmp_path / "hybridscreen-demo" / "campaigns" / "solubility" / "screens"
    for number in (9, 10, 11):
        publish(screens / f"{number:04d}", bound=number / 100, complete=number < 11)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / start)
    assert run(READER)["screen"].uns["certificate"]["bound"] == 0.10


def test_reader_says_what_to_do_without_a_screen(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="HYBRIDSCREEN_SCREEN"):
        run(READER)
