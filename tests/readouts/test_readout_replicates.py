from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import UserError
from tasks.readouts.noise import NoiseModel
from tasks.readouts.replicates import aggregate


def _noise(offset_variance: float = 0.3, scale_variance: float = 0.0) -> NoiseModel:
    keys = ["A.1", "A.2", "B.1", "C.1"]
    return NoiseModel(
        well_variance=2.0,
        source="negcon",
        n=9,
        floor=0.1,
        plates=dict.fromkeys(keys, offset_variance),
        scales=dict.fromkeys(keys, scale_variance),
        anchor=0.0,
    )


def _wells(rows: list[tuple[str, int, str, float]]) -> pd.DataFrame:
    """Rows of barcode, attempt, perturbation, aligned."""
    table = pd.DataFrame(rows, columns=["barcode", "attempt", "perturbation", "aligned"])
    return table.assign(role="sample", well=[f"A{i + 1:02d}" for i in range(len(rows))], value=table["aligned"])


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


def test_labels_and_incidence_by_hand(continuous):
    labels, incidence = aggregate(WELLS, _noise(), continuous)
    assert list(labels.columns) == ["perturbation", "value", "n", "variance", "plates"]
    assert labels.to_dict("list") == {
        "perturbation": ["x", "y"],
        "value": [5.0, 3.0],
        "n": [1, 3],
        "variance": [2.0, 2.0 / 3],
        "plates": ["B", "A;B"],
    }
    assert list(incidence.itertuples(index=False, name=None)) == [
        ("x", "B.1", 1.0),
        ("y", "A.1", 1 / 3),
        ("y", "A.2", 1 / 3),
        ("y", "B.1", 1 / 3),
    ]


def test_controls_are_no_labels(continuous):
    controls = WELLS.assign(role="negcon", perturbation="")
    labels, _ = aggregate(pd.concat([WELLS, controls]), _noise(), continuous)
    assert list(labels["perturbation"]) == ["x", "y"]


rows = st.tuples(
    st.sampled_from("ABC"), st.just(1), st.sampled_from(["x", "y", "z"]), st.floats(-100, 100, allow_nan=False)
)


@given(st.lists(rows, min_size=1, max_size=30), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_weights_sum_to_one_means_follow_and_order_changes_no_bit(continuous, wells, seed):
    table = _wells(wells)
    labels, incidence = aggregate(table, _noise(), continuous)
    np.testing.assert_allclose(incidence.groupby("perturbation")["weight"].sum(), 1.0)
    keys = table["barcode"] + ".1"
    plate_means = table.groupby(["perturbation", keys])["aligned"].mean()
    pairs = pd.MultiIndex.from_frame(incidence[["perturbation", "barcode"]])
    rebuilt = (incidence["weight"] * plate_means.loc[pairs].to_numpy()).groupby(incidence["perturbation"]).sum()
    np.testing.assert_allclose(rebuilt, labels["value"], atol=1e-9)
    order = np.random.default_rng(seed).permutation(len(table))
    shuffled, shuffled_incidence = aggregate(table.iloc[order], _noise(), continuous)
    pd.testing.assert_frame_equal(shuffled, labels, check_exact=True)
    pd.testing.assert_frame_equal(shuffled_incidence, incidence, check_exact=True)


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_without_samples_the_tables_are_empty_and_join_the_others(continuous, binary, kind):
    readout = {"continuous": continuous, "binary": binary}[kind]
    full = aggregate(WELLS, _noise(), readout)
    empty = aggregate(WELLS.iloc[:0], _noise(), readout)
    for with_rows, without in zip(full, empty, strict=True):
        assert without.empty
        pd.testing.assert_series_equal(without.dtypes, with_rows.dtypes)


def test_binary_variance_is_the_spread_of_the_class(binary):
    """Draw the label's noise again and again: well noise, and each plate's offset and scale shared by its wells."""
    noise = _noise(offset_variance=0.5, scale_variance=0.01)
    wells = _wells([("A", 1, "y", 2.2), ("B", 1, "y", 3.2), ("B", 1, "y", 2.4)])
    labels, _ = aggregate(wells, noise, binary)
    rng = np.random.default_rng(0)
    mean = wells["aligned"].mean()
    draws = mean + np.sqrt(2.0 / 3) * rng.standard_normal(200_000)
    for weight in (1 / 3, 2 / 3):
        draws += weight * np.sqrt(0.5) * rng.standard_normal(len(draws))
        draws += weight * mean * 0.1 * rng.standard_normal(len(draws))
    share = np.mean(draws > 2.0)
    assert labels["value"][0] == 1.0
    assert labels["variance"][0] == pytest.approx(share * (1 - share), abs=0.003)


def test_binary_class_uses_the_mean_and_is_surest_far_from_the_threshold(binary):
    wells = _wells(
        [
            ("A", 1, "far", 30.0),
            ("A", 1, "at", 2.0),
            ("A", 1, "low", -30.0),
            ("A", 1, "mean", 9.0),
            ("B", 1, "mean", -6.0),
        ]
    )
    labels = aggregate(wells, _noise(), binary)[0].set_index("perturbation")
    assert labels["value"].to_dict() == {"far": 1.0, "at": 0.0, "low": 0.0, "mean": 0.0}
    assert labels.loc["at", "variance"] == pytest.approx(0.25)
    assert labels.loc[["far", "low"], "variance"].max() < 1e-12


def test_a_plate_of_unknown_noise_is_refused(binary):
    with pytest.raises(UserError, match=r"plate attempt without noise; got Q\.1"):
        aggregate(_wells([("Q", 1, "x", 1.0)]), _noise(), binary)
