from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import UserError
from tasks.readouts.replicates import aggregate
from tasks.readouts.sigma_y import sigma_y

KEYS = ["A.1", "A.2", "B.1", "C.1"]


def _wells(rows: list[tuple[str, int, str, float]]) -> pd.DataFrame:
    """Rows of barcode, attempt, perturbation, aligned."""
    table = pd.DataFrame(rows, columns=["barcode", "attempt", "perturbation", "aligned"])
    return table.assign(
        role="sample", run="R0", well=[f"A{i + 1:02d}" for i in range(len(rows))], value=table["aligned"]
    )


WELLS = _wells(
    [
        ("A", 1, "y", 1.0),
        ("A", 2, "y", 2.0),
        ("B", 1, "y", 6.0),
        ("B", 1, "x", 5.0),
        ("B", 1, "z", np.nan),
        ("C", 1, "x", np.nan),
    ]
)


def test_labels_incidence_and_levels_by_hand(continuous, make_noise):
    labels, incidence, levels = aggregate(WELLS, make_noise(KEYS), continuous)
    assert list(labels.columns) == ["perturbation", "value", "n", "variance", "plates"]
    assert labels[["perturbation", "n", "plates"]].to_numpy().tolist() == [["x", 1, "B"], ["y", 3, "A;B"]]
    np.testing.assert_allclose(labels["value"], [5.0, 3.0])
    np.testing.assert_allclose(labels["variance"], [2.0, 2.0 / 3])
    assert incidence[["perturbation", "barcode"]].to_numpy().tolist() == [
        ["x", "B.1"],
        ["y", "A.1"],
        ["y", "A.2"],
        ["y", "B.1"],
    ]
    np.testing.assert_allclose(incidence["weight"], [1.0, 1 / 3, 1 / 3, 1 / 3])
    assert levels.drop(columns=["value", "variance"]).to_numpy().tolist() == [
        ["x", "plate", "", "B.1", 1],
        ["x", "run", "", "R0", 1],
        ["x", "perturbation", "", "x", 1],
        ["y", "plate", "", "A.1", 1],
        ["y", "plate", "", "A.2", 1],
        ["y", "plate", "", "B.1", 1],
        ["y", "run", "", "R0", 3],
        ["y", "perturbation", "", "y", 3],
    ]
    np.testing.assert_allclose(levels["value"], [5, 5, 5, 1, 2, 6, 3, 3])
    np.testing.assert_allclose(levels["variance"], [2.3] * 6 + [2.3 / 3] * 2)


def test_weights_are_those_of_the_smallest_variance(continuous, make_noise):
    """Oracle: generalised least squares with the dense covariance of wells, plates and runs."""
    keys = ["A.1", "B.1", "C.1", "D.1"]
    runs, run_variances = ["R0", "R0", "R1", "R1"], {"R0": 0.4, "R1": 1.5}
    noise = make_noise(keys, well=1.3, offset=[0.1, 0.8, 0.3, 2.0], runs=runs, run_variances=run_variances)
    table = _wells([(barcode, 1, "y", float(i)) for i, barcode in enumerate("AAABCCDDDD")])
    result = aggregate(table, noise, continuous)
    plate = np.array([keys.index(f"{barcode}.1") for barcode in table["barcode"]])
    same_plate, run = plate[:, None] == plate, np.array(runs)[plate]
    covariance = 1.3 * np.eye(10) + same_plate * np.array(list(noise.plates.values()))[plate]
    covariance += (run[:, None] == run) * np.array([run_variances[name] for name in run])
    solved = np.linalg.solve(covariance, np.ones(10))
    best = np.bincount(plate, solved / solved.sum())
    np.testing.assert_allclose(result.incidence["weight"], best)
    np.testing.assert_allclose(result.table["value"], solved @ table["aligned"] / solved.sum())
    total = sigma_y(result.table, result.incidence, noise, kind="continuous").diagonal()
    np.testing.assert_allclose(total, 1 / solved.sum())
    whole = result.levels[result.levels["level"] == "perturbation"]
    np.testing.assert_allclose(whole["variance"], total)


def test_precise_plates_count_more_and_labels_are_closer_to_the_truth(continuous, make_noise):
    """Plates aligned on 1, 4 and 16 controls, with 1 to 4 wells each: mean squared error of three ways to average."""
    rng = np.random.default_rng(0)
    keys, wells = ["A.1", "B.1", "C.1"], 1 + rng.integers(0, 4, (3, 400))
    noise = make_noise(keys, well=1.0, offset=[1.0, 0.25, 0.0625])
    squares = np.zeros(3)
    for _ in range(40):
        shifts = np.sqrt(list(noise.plates.values())) * rng.standard_normal(3)
        rows = [("ABC"[p], 1, f"x{i:03d}") for p in range(3) for i in range(400) for _ in range(wells[p, i])]
        plate = np.array(["ABC".index(row[0]) for row in rows])
        table = _wells([(*row, 0.0) for row in rows])
        table["aligned"] = shifts[plate] + rng.standard_normal(len(table))
        found = aggregate(table, noise, continuous).table["value"]
        plain = table.groupby("perturbation")["aligned"].mean()
        equal = table.groupby(["perturbation", "barcode"])["aligned"].mean().groupby("perturbation").mean()
        squares += [np.mean(found**2), np.mean(plain**2), np.mean(equal**2)]
    assert squares[0] < 0.85 * min(squares[1:])


def test_reagents_count_the_same_and_their_variance_is_in_the_label(continuous, make_noise):
    table = _wells([("A", 1, "g", 1.0), ("A", 1, "g", 3.0), ("B", 1, "g", 5.0), ("B", 1, "h", 7.0)])
    table["reagent"] = ["g1", "g1", "g2", "h1"]
    labels, incidence, levels = aggregate(table, make_noise(KEYS, reagent=0.6), continuous)
    np.testing.assert_allclose(labels["value"], [3.5, 7.0])
    np.testing.assert_allclose(labels["variance"], [(2.0 / 2 + 2.0 + 2 * 0.6) / 4, 2.0 + 0.6])
    np.testing.assert_allclose(incidence["weight"], [0.5, 0.5, 1.0])
    reagents = levels[levels["level"] == "reagent"]
    assert reagents["group"].tolist() == ["g1", "g2", "h1"]
    np.testing.assert_allclose(reagents["variance"], [2.0 / 2 + 0.3 + 0.6, 2.0 + 0.3 + 0.6, 2.0 + 0.3 + 0.6])


def test_noise_at_the_labels_value_is_the_one_that_counts(continuous, make_noise):
    noise = make_noise(KEYS, knots=(0.0, 10.0), variances=(1.0, 100.0))
    table = _wells([("A", 1, "low", -5.0), ("A", 1, "mid", 5.0), ("A", 1, "top", 12.0), ("B", 1, "top", 28.0)])
    labels = aggregate(table, noise, continuous).table
    np.testing.assert_allclose(labels["variance"], [1.0, 10.0, 50.0])


def test_controls_are_no_labels(continuous, make_noise):
    controls = WELLS.assign(role="negcon", perturbation="")
    labels = aggregate(pd.concat([WELLS, controls]), make_noise(KEYS), continuous).table
    assert list(labels["perturbation"]) == ["x", "y"]


rows = st.tuples(
    st.sampled_from("ABC"), st.just(1), st.sampled_from(["x", "y", "z"]), st.floats(-100, 100, allow_nan=False)
)


@given(st.lists(rows, min_size=1, max_size=30), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_weights_sum_to_one_means_follow_and_order_changes_no_bit(continuous, make_noise, wells, seed):
    table, noise = _wells(wells), make_noise(KEYS, scale=0.01)
    labels, incidence, levels = aggregate(table, noise, continuous)
    np.testing.assert_allclose(incidence.groupby("perturbation")["weight"].sum(), 1.0)
    keys = table["barcode"] + ".1"
    plate_means = table.groupby(["perturbation", keys])["aligned"].mean()
    pairs = pd.MultiIndex.from_frame(incidence[["perturbation", "barcode"]])
    rebuilt = (incidence["weight"] * plate_means.loc[pairs].to_numpy()).groupby(incidence["perturbation"]).sum()
    np.testing.assert_allclose(rebuilt, labels["value"], atol=1e-9)
    order = np.random.default_rng(seed).permutation(len(table))
    for shuffled, expected in zip(
        aggregate(table.iloc[order], noise, continuous), (labels, incidence, levels), strict=True
    ):
        pd.testing.assert_frame_equal(shuffled, expected, check_exact=True)


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_without_samples_the_tables_are_empty_and_join_the_others(continuous, binary, make_noise, kind):
    readout = {"continuous": continuous, "binary": binary}[kind]
    full = aggregate(WELLS, make_noise(KEYS), readout)
    empty = aggregate(WELLS.iloc[:0], make_noise(KEYS), readout)
    for with_rows, without in zip(full, empty, strict=True):
        assert without.empty
        pd.testing.assert_series_equal(without.dtypes, with_rows.dtypes)


def test_binary_variance_is_the_spread_of_the_class(binary, make_noise):
    """Draw the label's noise again and again: wells, each plate's offset and scale, and the run."""
    noise = make_noise(KEYS, offset=0.5, scale=0.01, run_variances={"R0": 0.7})
    wells = _wells([("A", 1, "y", 2.2), ("B", 1, "y", 3.2), ("B", 1, "y", 2.4)])
    labels, incidence, _ = aggregate(wells, noise, binary)
    share_a, share_b = incidence["weight"]
    rng = np.random.default_rng(0)
    mean = share_a * 2.2 + share_b * 2.8
    draws = mean + np.sqrt(0.7) * rng.standard_normal(200_000)
    for weight, n in ((share_a, 1), (share_b, 2)):
        draws += weight * np.sqrt(2.0 / n + 0.5) * rng.standard_normal(len(draws))
        draws += weight * mean * 0.1 * rng.standard_normal(len(draws))
    share = np.mean(draws > 2.0)
    assert labels["value"][0] == 1.0
    assert labels["variance"][0] == pytest.approx(share * (1 - share), abs=0.003)


def test_binary_class_uses_the_mean_and_is_surest_far_from_the_threshold(binary, make_noise):
    wells = _wells(
        [
            ("A", 1, "far", 30.0),
            ("A", 1, "at", 2.0),
            ("A", 1, "low", -30.0),
            ("A", 1, "mean", 9.0),
            ("B", 1, "mean", -6.0),
        ]
    )
    labels = aggregate(wells, make_noise(KEYS), binary).table.set_index("perturbation")
    assert labels["value"].to_dict() == {"far": 1.0, "at": 0.0, "low": 0.0, "mean": 0.0}
    assert labels.loc["at", "variance"] == pytest.approx(0.25)
    assert labels.loc[["far", "low"], "variance"].max() < 1e-12


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_a_plate_of_unknown_noise_is_refused(continuous, binary, make_noise, kind):
    with pytest.raises(UserError, match=r"plate attempt without noise; got Q\.1"):
        aggregate(_wells([("Q", 1, "x", 1.0)]), make_noise(KEYS), {"continuous": continuous, "binary": binary}[kind])
