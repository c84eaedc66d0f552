"""Each piece of evidence against cases whose answer is known."""

import numpy as np
import pytest

from tasks.assessing.ceiling import from_replicates, noise_ceiling
from tasks.assessing.informativeness import spread
from tasks.assessing.pool import look_at_pool
from tasks.errors import UserError
from tasks.operators.rows import MemoryRows


class TestSpread:
    def test_even_diagonal(self):
        found = spread(np.full(50, 2.0), np.full(7, 3.0))
        assert found.gini == pytest.approx(0.0)
        assert found.top_tenth == pytest.approx(0.1)
        assert found.effective_rank == pytest.approx(7.0)

    def test_all_in_one(self):
        diagonal = np.zeros(50)
        diagonal[3] = 5.0
        found = spread(diagonal, np.array([4.0, 0.0, -1.0]))
        assert found.gini == pytest.approx(0.98)
        assert (found.top_tenth, found.effective_rank, found.modes) == (1.0, 1.0, 1)

    def test_gini_is_the_mean_difference_over_twice_the_mean(self):
        sizes = np.random.default_rng(0).gamma(1.0, size=40)
        oracle = np.abs(sizes[:, None] - sizes).mean() / (2 * sizes.mean())
        assert spread(sizes, np.ones(1)).gini == pytest.approx(oracle)

    def test_no_error_left(self):
        assert spread(np.zeros(10), np.zeros(0)).top_tenth == 0.0


class TestCeiling:
    def test_it_is_the_share_of_the_variance_that_is_no_noise(self):
        rng = np.random.default_rng(0)
        values = rng.normal(size=4000) + 2 * rng.normal(size=4000)
        found = noise_ceiling(values, np.full(4000, 4.0), "continuous", 0)
        assert found.low < 0.2 < found.high
        assert found.value == pytest.approx(0.2, abs=0.04)

    def test_without_noise_it_is_not_known(self):
        found = noise_ceiling(np.arange(9.0), np.zeros(9), "continuous", 0)
        assert found.value is None
        assert "no replicates" in found.why

    @pytest.mark.parametrize("k", [2, 3])
    def test_replicates_tell_the_noise_of_their_mean_whatever_their_levels(self, k):
        rng = np.random.default_rng(k)
        truth = rng.normal(size=5000)
        replicates = truth[:, None] + 1.5 * rng.normal(size=(5000, k)) + np.arange(k) * 10
        found = from_replicates(replicates)
        np.testing.assert_allclose(found.variances, 2.25 / k, rtol=0.06)
        assert found.correlation == pytest.approx(1 / 3.25, abs=0.05)
        assert np.var(found.values) == pytest.approx(1 + 2.25 / k, rel=0.06)

    def test_a_missing_replicate_leaves_a_noisier_mean(self):
        replicates = np.random.default_rng(0).normal(size=(100, 2))
        replicates[:40, 1] = np.nan
        found = from_replicates(replicates)
        np.testing.assert_allclose(found.variances[:40], 2 * found.variances[40])

    def test_one_column_is_no_replicate(self):
        with pytest.raises(UserError, match="too few replicates"):
            from_replicates(np.ones((10, 1)))


class TestPool:
    def test_a_gaussian_library_has_few_of_either(self):
        found = look_at_pool(np.random.default_rng(0).normal(size=(3000, 6)), 0)
        assert found.outliers < 0.01
        assert found.duplicates == 0.0
        assert (found.size, found.sampled, found.asked) == (3000, 3000, 500)

    def test_outliers_are_counted_whatever_the_scale_of_a_feature(self):
        features = np.random.default_rng(0).normal(size=(1000, 6))
        features[:80] += 40.0
        plain = look_at_pool(features, 0).outliers
        assert plain == pytest.approx(0.08, abs=0.01)
        assert look_at_pool(features * [1, 1e3, 1, 1e-3, 1, 1], 0).outliers == pytest.approx(plain)

    def test_duplicates_are_found_in_the_whole_library_not_in_the_sample(self, monkeypatch):
        features = np.random.default_rng(0).normal(size=(2000, 4))
        features[1000:] = features[:1000]
        monkeypatch.setattr("tasks.assessing.pool.SAMPLE", 100)
        found = look_at_pool(MemoryRows(features, chunk=300), 0)
        assert (found.sampled, found.duplicates) == (100, 1.0)

    def test_many_features_are_projected_and_duplicates_stay_duplicates(self):
        features = np.random.default_rng(0).normal(size=(600, 200))
        features[200:400] = features[:200] + 1e-4
        assert look_at_pool(features, 0).duplicates == pytest.approx(400 / 600, abs=0.03)

    def test_a_constant_library_is_all_duplicates(self):
        assert look_at_pool(np.ones((50, 3)), 0).duplicates == 1.0
