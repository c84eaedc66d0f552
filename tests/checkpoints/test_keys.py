import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.checkpoints.keys import Stage, derive_seed, digest, stage_key
from tasks.checkpoints.refs import Ref

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def tagged(value):
    """An independent description of content with types, to compare digests against."""
    if isinstance(value, dict):
        return ("d", tuple(sorted((key, tagged(item)) for key, item in value.items())))
    if isinstance(value, list):
        return ("l", tuple(tagged(item) for item in value))
    return (type(value).__name__, repr(value))


@given(values, values)
def test_digests_are_equal_exactly_when_content_and_types_are(left, right):
    assert (digest(left) == digest(right)) == (tagged(left) == tagged(right))


@given(st.dictionaries(st.text(), scalars, min_size=2))
def test_the_order_of_a_mapping_does_not_matter(mapping):
    assert digest(mapping) == digest(dict(reversed(mapping.items())))


@pytest.mark.parametrize(
    ("left", "right"), [(1, 1.0), (True, 1), ("1", 1), (None, "null"), ([], {}), ([["a", 1]], {"a": 1})]
)
def test_look_alikes_differ(left, right):
    assert digest(left) != digest(right)


def test_an_array_is_its_content_not_its_memory_layout():
    array = np.arange(6.0).reshape(2, 3)
    assert digest(array) == digest(np.asfortranarray(array)) == digest(np.stack([array, array])[0])
    assert digest(array) != digest(array.astype(np.float32))
    assert digest(array) != digest(array.reshape(3, 2))


@pytest.mark.parametrize("value", [{1, 2}, pd.DataFrame({"a": [1]}), object(), {1: "a"}, np.array([None])])
def test_what_has_no_agreed_content_is_an_error(value):
    with pytest.raises(TypeError):
        digest(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_an_error(value):
    with pytest.raises(ValueError, match="key cannot hold"):
        digest({"a": [value]})


def test_every_part_of_a_key_counts():
    ref = Ref(uri="a", sha256="0" * 64, kind="table")
    base = stage_key(Stage("fit", 1), {"a": 1}, {"x": ref}, 3)
    assert base == stage_key(Stage("fit", 1), {"a": 1}, {"x": ref.model_copy(update={"uri": "elsewhere"})}, 3)
    others = [
        stage_key(Stage("fit", 2), {"a": 1}, {"x": ref}, 3),
        stage_key(Stage("fis", 1), {"a": 1}, {"x": ref}, 3),
        stage_key(Stage("fit", 1), {"a": 2}, {"x": ref}, 3),
        stage_key(Stage("fit", 1), {"a": 1}, {"y": ref}, 3),
        stage_key(Stage("fit", 1), {"a": 1}, {"x": ref.model_copy(update={"sha256": "1" * 64})}, 3),
        stage_key(Stage("fit", 1), {"a": 1}, {"x": ref}, 4),
        stage_key(Stage("fit", 1), {"a": 1}, {"x": ref}, None),
    ]
    assert len({base, *others}) == len(others) + 1


def test_keys_are_the_same_in_another_process():
    code = (
        "from tasks.checkpoints.keys import digest; from tasks.campaigns.stopping_settings import StoppingSection;"
        "print(digest({'s': StoppingSection(), 'names': ['b', 'a'], 'x': 0.1}))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {digest({"s": StoppingSection(), "names": ["b", "a"], "x": 0.1})}


def test_seeds_of_different_purposes_differ():
    seeds = {derive_seed(7, "fit", round_index) for round_index in range(50)} | {
        derive_seed(7, "choose", 1),
        derive_seed(8, "fit", 1),
    }
    assert len(seeds) == 52
    assert all(0 <= seed < 2**32 for seed in seeds)
