"""A real screen with one control a plate (needs HYBRIDSCREEN_DATA)."""

import importlib.util
from pathlib import Path

import pytest

_PATH = Path(__file__).parents[1] / "benchmarks" / "kcviab_alignment.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("kcviab_alignment", _PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wells(bench, real_data):
    return bench.read_wells(real_data)


@pytest.mark.parametrize(
    ("method", "least"),
    [("negcon", 0.849), ("negcon shrunk", 0.855), ("bridges", 0.875), ("samples", 0.92), ("plate-median", 0.92)],
)
def test_agreement_with_the_published_score(bench, wells, method, least):
    assert bench.whole_screen(wells, method)["r"] > least


def test_stated_error_of_single_controls_with_bridges(bench, wells):
    row = bench.whole_screen(wells, "bridges")
    assert row["stated"] == pytest.approx(row["error"], rel=0.25)


def test_medians_drift_with_the_choice_and_anchors_do_not(bench, wells):
    rows = {
        method: bench.chosen_screen(wells, 0.3, "lowest", method) for method in ("plate-median", "samples", "bridges")
    }
    assert rows["plate-median"]["drift"] > 0.1
    assert abs(rows["samples"]["drift"]) < 0.04
    assert abs(rows["bridges"]["drift"]) < 0.04
    assert rows["samples"]["r"] > rows["plate-median"]["r"] + 0.05
