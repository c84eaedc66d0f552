"""Notebooks as tests see them: the code cells, executed in order in one namespace, without Jupyter."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def read(notebook):
    return json.loads(notebook.read_text(encoding="utf-8"))


def code_of(notebook):
    return ["".join(cell["source"]) for cell in read(notebook)["cells"] if cell["cell_type"] == "code"]


def run(notebook):
    """Execute the code cells in order; the namespace they leave behind."""
    namespace = {"__name__": "__main__"}
    for number, source in enumerate(code_of(notebook)):
        exec(compile(source, f"{notebook.name}, code cell {number}", "exec"), namespace)
    return namespace


def run_small(name):
    """The same of a notebook by name, at its small setting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYBRIDSCREEN_SMALL", "1")
        return run(FOLDER / name)
