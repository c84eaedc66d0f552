"""Flags: where they come from, their order, and how seldom noise alone makes an outlier."""

import numpy as np
import pandas as pd

from tasks.publishing.flags import FLAGS, OUTLIER_LEVEL, flag_rows, outlying


def test_flags_stand_in_order_and_only_where_something_is_said():
    planned = pd.DataFrame({"perturbation": ["a", "a", "b", "c", "d"], "barcode": ["P1", "P2", "P2", "P3", "P4"]})
    states = {"P1": "failed", "P2": "waived", "P3": "abandoned"}
    found = flag_rows(list("edcba"), planned, states, vetoed=["c", "e"], outliers=["a", "d"])
    assert found.index.tolist() == list("edcba")
    assert found.tolist() == ["vetoed", "outlier", "abandoned;vetoed", "waived", "failed;waived;outlier"]
    assert flag_rows(list("ab"), planned.iloc[:0], {}, [], []).tolist() == ["", ""]
    assert set(";".join(found).split(";")) == set(FLAGS)


def levels(values, runs, plate_variance, run_variance, reagents=1):
    """Means of plates and of runs: values (n, plates), runs[plate]."""
    rows = []
    for number, row in enumerate(values):
        name = f"CPD-{number:05d}"
        for plate, value in enumerate(row):
            rows.append((name, "plate", "", f"P{plate}.1", value, 1, plate_variance))
        for run in sorted(set(runs)):
            mine = [value for value, at in zip(row, runs, strict=True) if at == run]
            variance = plate_variance / len(mine) + run_variance
            rows.append((name, "run", "", run, float(np.mean(mine)), len(mine), variance))
        rows.append((name, "perturbation", "", name, float(np.mean(row)), len(row), 0.1))
    return pd.DataFrame(rows, columns=["perturbation", "level", "reagent", "group", "value", "n", "variance"])


def test_noise_alone_makes_one_outlier_in_a_thousand_with_runs_of_their_own_too():
    rng = np.random.default_rng(0)
    runs = ["A", "A", "B", "C"]
    shift = dict(zip("ABC", rng.normal(size=(3, 20_000)) * 0.5, strict=True))  # each label's own draw of the run
    values = rng.normal(size=(20_000, 4)) * 0.3 + np.stack([shift[run] for run in runs], axis=1)
    found = outlying(levels(values, runs, 0.09, 0.25), {f"P{k}.1": run for k, run in enumerate(runs)})
    expected = OUTLIER_LEVEL * len(values)
    assert abs(len(found) - expected) < 4 * np.sqrt(expected)


def test_plates_that_disagree_are_found_and_a_single_plate_says_nothing():
    values = np.array([[0.0, 0.1], [0.0, 3.0], [5.0, 5.1]])
    assert outlying(levels(values, ["A", "A"], 0.09, 0.0), {"P0.1": "A", "P1.1": "A"}) == ["CPD-00001"]
    assert outlying(levels(values, ["A", "B"], 0.09, 0.0), {"P0.1": "A", "P1.1": "B"}) == ["CPD-00001"]
    assert outlying(levels(values[:, :1], ["A"], 0.09, 0.0), {"P0.1": "A"}) == []
    assert outlying(levels(values[:0], ["A"], 0.09, 0.0), {}) == []


def test_reagents_that_differ_are_no_outliers():
    """Guides of a gene may do different things; only wells of one of them must agree."""
    rows = [
        ("g", "plate", guide, f"P{k}.1", value, 1, 0.01) for k, (guide, value) in enumerate([("x", 0.0), ("y", 9.0)])
    ]
    rows += [("g", "run", guide, "A", value, 1, 0.01) for guide, value in [("x", 0.0), ("y", 9.0)]]
    table = pd.DataFrame(rows, columns=["perturbation", "level", "reagent", "group", "value", "n", "variance"])
    assert outlying(table, {"P0.1": "A", "P1.1": "A"}) == []
    assert outlying(table.assign(reagent="x"), {"P0.1": "A", "P1.1": "A"}) == ["g"]
