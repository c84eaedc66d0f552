"""Vetoes from the annotation of a library."""

import numpy as np
import pandas as pd
import pytest

from tasks.campaigns.vetoes import read_vetoes
from tasks.errors import UserError


@pytest.mark.parametrize(
    "cells",
    [
        [True, False, False],
        [1, 0, 0],
        [1.0, 0.0, np.nan],
        ["true", "false", ""],
        ["Yes", "no", None],
        pd.Categorical(["TRUE", "FALSE", "FALSE"]),
    ],
)
def test_ways_of_saying_it(cells):
    annotation = pd.DataFrame({"stock": cells}, index=["a", "b", "c"])
    assert read_vetoes(annotation, "stock").tolist() == [True, False, False]


def test_nobody_without_a_column():
    assert not read_vetoes(pd.DataFrame(index=["a", "b"]), None).any()


def test_mistakes():
    annotation = pd.DataFrame({"stock": ["true", "maybe"]}, index=["a", "b"])
    with pytest.raises(UserError, match=r"batch\.veto: the library has no such annotation; got toxic, expected stock"):
        read_vetoes(annotation, "toxic")
    with pytest.raises(UserError, match=r"batch\.veto, perturbation b: neither a veto nor none; got 'maybe'"):
        read_vetoes(annotation, "stock")
