"""Features as networks see them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tasks.campaigns.ensemble_settings import MlpSettings
from tasks.ensembles.encoding import encode, fit_encoding


def encoded(features: np.ndarray, rows: np.ndarray | None = None, **settings: object) -> np.ndarray:
    tensors = fit_encoding(features.astype(np.float32), MlpSettings(**settings))
    return encode(tensors, torch.from_numpy((features if rows is None else rows).astype(np.float32))).numpy()


def test_ranks_are_normal_scores():
    x = np.random.default_rng(0).exponential(size=(5000, 1)) ** 3
    scores = encoded(x)[:, 1]
    expected = stats.norm.ppf(((stats.rankdata(x[:, 0]) - 0.5) / 5000).clip(1e-3, 1 - 1e-3))
    inner = np.abs(expected) < 2  # the tails of 257 knots are coarse
    np.testing.assert_allclose(scores[inner], expected[inner], atol=0.03)


@given(st.integers(3, 60), st.integers(0, 10))
def test_order_is_kept_and_ties_stay_ties(values, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(values, size=(200, 1)).astype(float)
    x[:3, 0] = (0, 1, 2)
    codes, order = encoded(x), np.argsort(x[:, 0], kind="stable")
    assert (np.diff(codes[order], axis=0) >= 0).all()
    for value in np.unique(x):
        assert (codes[x[:, 0] == value] == codes[x[:, 0] == value][0]).all()


def test_every_value_of_a_short_list_has_its_own_score():
    x = np.repeat(np.arange(30.0), 7)[:, None]
    assert len(np.unique(encoded(x)[:, 1])) == 30


@given(st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
def test_unit_and_origin_of_a_feature_do_not_matter(scale, shift):
    x = np.random.default_rng(1).normal(size=(300, 2))
    np.testing.assert_allclose(encoded(x * scale + shift), encoded(x), atol=2e-2)


def test_outliers_are_bounded():
    x = np.random.default_rng(2).normal(size=(300, 1))
    far = encoded(x, np.array([[1e9], [-1e9]]))
    assert np.abs(far[:, 0]).max() <= 3.0
    assert np.abs(far[:, 1]).max() <= 3.1


def test_a_constant_column_is_zero_wherever_it_goes():
    x = np.c_[np.full(50, 3.0), np.arange(50.0)]
    assert encoded(x, np.array([[9.0, 1.0]]))[0, 0] == 0.0


def test_two_values_are_not_ranked():
    x = np.c_[np.arange(40) % 2, np.arange(40)].astype(float)
    assert encoded(x).shape == (40, 3)
    assert encoded(x, ranks=False).shape == (40, 2)


def test_without_a_clip_features_are_standardised():
    x = np.random.default_rng(3).gamma(1.0, size=(400, 3))
    np.testing.assert_allclose(encoded(x, clip=None, ranks=False), stats.zscore(x, axis=0), atol=1e-4)


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_a_row_is_encoded_alike_in_any_company(rows):
    x = np.random.default_rng(4).normal(size=(50, 4))
    np.testing.assert_array_equal(encoded(x, x[:rows]), encoded(x)[:rows])
