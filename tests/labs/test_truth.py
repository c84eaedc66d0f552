import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.campaigns.config import ReadoutSection
from tasks.errors import UserError
from tasks.labs.truth import true_accuracy

LOGS = ReadoutSection(tolerance=0.5)
HITS = ReadoutSection(kind="binary", threshold=-1.0)


def screen_of(values, sources):
    ids = [f"p{i}" for i in range(len(values))]
    return pd.DataFrame({"value": values, "source": sources}, index=ids)


def truth_of(values):
    return pd.DataFrame({"perturbation": [f"p{i}" for i in range(len(values))], "value": values})


def test_measured_ones_count_and_predicted_ones_only_when_correct():
    screen = screen_of([9.0, 1.5, 1.51, 1.0], ["measured", "predicted", "predicted", "predicted"])
    assert true_accuracy(screen, truth_of([1.0, 1.0, 1.0, 1.0]), LOGS) == 0.75


def test_a_class_is_compared_with_the_threshold_of_the_truth():
    screen = screen_of([0.9, 0.2, 0.5, 0.6], ["predicted"] * 4)
    assert true_accuracy(screen, truth_of([0.0, 0.0, -1.0, -2.0]), HITS) == 0.5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.booleans()), min_size=1), st.randoms())
def test_neither_order_nor_further_true_values_matter(rows, random):
    published, truth, is_measured = (list(column) for column in zip(*rows, strict=True))
    screen = screen_of(published, np.where(is_measured, "measured", "predicted"))
    expected = np.mean([m or abs(p - t) <= 0.5 for p, t, m in rows])
    values = truth_of([*truth, 100.0])
    shuffled = screen.sample(frac=1.0, random_state=random.randrange(2**32))
    assert true_accuracy(shuffled, values.iloc[::-1], LOGS) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("screen", "message"),
    [
        (screen_of([], []), "empty screen"),
        (screen_of([1.0], ["guessed"]), "unknown source; got guessed"),
        (screen_of([1.0, 2.0, 3.0], ["measured"] * 3), "values: no true value; got p2"),
    ],
)
def test_what_cannot_be_compared_is_refused(screen, message):
    with pytest.raises(UserError, match=message):
        true_accuracy(screen, truth_of([1.0, 2.0]), LOGS)
