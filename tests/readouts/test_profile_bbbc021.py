"""The recommended alignment of profiles on real Cell Painting wells; the whole comparison is in tests/benchmarks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_PATH = Path(__file__).parents[1] / "benchmarks" / "profile_alignment.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("profile_alignment", _PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_weeks_vanish_and_mechanisms_stay(benchmark, real_data):
    wells, features = benchmark.read_wells(real_data)
    assert wells.shape[0] == 632
    raw, aligned = (benchmark.measures(wells, features, setting) for setting in (None, benchmark.RECOMMENDED))
    assert len(raw["right"]) == 103
    assert raw["week"] > 0.7
    assert aligned["week"] <= 0.25
    assert aligned["moa"] >= 0.87
    assert aligned["moa"] > raw["moa"]
    unseen = [benchmark.held_out_week(wells, features, setting) for setting in (None, benchmark.RECOMMENDED)]
    assert unseen[1] < unseen[0] / 2
