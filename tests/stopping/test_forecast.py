"""What the model expects to have wrong."""

import numpy as np
import pytest

from tasks.campaigns.config import ReadoutSection
from tasks.stopping.audit import correct
from tasks.stopping.forecast import said_errors

CONTINUOUS = ReadoutSection(kind="continuous", tolerance=0.5)
BINARY = ReadoutSection(kind="binary", threshold=0.0)
NOTHING = np.zeros((1, 2)), np.zeros(1)


def test_a_class_is_wrong_as_often_as_the_other_one_is_measured():
    p = np.array([0.0, 0.2, 0.5, 0.9, 1.0])
    np.testing.assert_allclose(said_errors(p, *NOTHING, BINARY), [0, 0.2, 0.5, 0.1, 0])


@pytest.mark.parametrize("columns", [2, 3])
def test_it_is_the_share_of_measurements_that_disagree(columns):
    """Error and noise drawn as the variances say, counted by the rule that judges the audit."""
    rng = np.random.default_rng(0)
    variance, noise = rng.uniform(0.01, 0.3, (6, columns)), rng.uniform(0.0, 0.3, 6)
    squared = variance[:, 2] if columns == 3 else variance.sum(axis=1)
    said = said_errors(np.zeros(6), variance, noise, CONTINUOUS)
    for one in range(6):
        measured = rng.normal(0, np.sqrt(squared[one] + noise[one]), 40_000)
        assert 1 - correct(np.zeros(40_000), measured, CONTINUOUS).mean() == pytest.approx(said[one], abs=0.012)


def test_without_any_error_nothing_is_wrong():
    assert said_errors(np.zeros(1), *NOTHING, CONTINUOUS).tolist() == [0.0]
