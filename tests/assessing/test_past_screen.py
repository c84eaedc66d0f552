"""Past screens from files: values, replicates, features, and every mistake in one line."""

import numpy as np
import pandas as pd
import pytest

from tasks.assessing.past_screen import read_past_screen
from tasks.campaigns.config import LibrarySection
from tasks.errors import UserError


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    content = pd.DataFrame(rng.normal(size=(40, 2)), columns=["f1", "f2"])
    content.insert(0, "gene", [f"G{i:02d}" for i in range(40)])
    content["d1"] = content["f1"] + rng.normal(size=40)
    content["d2"] = content["f1"] + rng.normal(size=40)
    content.loc[3, ["d1", "d2"]] = np.nan
    content["note"] = "x"
    path = tmp_path / "screen.csv"
    content.to_csv(path, index=False)
    return content, path


def read(path, values, library=None, **more):
    return read_past_screen(
        str(path), values, library, more.pop("id_column", "gene"), more.pop("features", "X"), **more
    )


def test_values_are_no_features(table):
    content, path = table
    past = read(path, ["d1", "d2"])
    np.testing.assert_allclose(past.library, content[["f1", "f2"]], rtol=1e-6)
    assert len(past.observed) == 39
    assert past.replicates == 2
    assert 0 < past.correlation < 1
    level = content[["d1", "d2"]].mean()
    expected = (content["d1"] - level["d1"] + content["d2"] - level["d2"]) / 2 + level.mean()
    np.testing.assert_allclose(past.observed.values, expected.drop(3))


def test_one_column_has_no_noise(table):
    past = read(table[1], ["d1"], features="f")
    assert not past.observed.variances.any()
    assert past.correlation is None


def test_a_library_is_joined_by_id_whatever_its_order(table, tmp_path):
    content, _ = table
    library = content[["gene", "f1", "f2"]].iloc[::-1]
    library.to_parquet(tmp_path / "library.parquet")
    section = LibrarySection(uri=str(tmp_path / "library.parquet"), id="gene")
    content.set_index("gene")[["d1"]].to_parquet(tmp_path / "values.parquet")
    past = read(tmp_path / "values.parquet", ["d1"], section)
    np.testing.assert_allclose(past.observed.features, content[["f1", "f2"]].drop(3), rtol=1e-6)


def test_classes_by_a_threshold_carry_the_chance_of_a_flip(table):
    past = read(table[1], ["d1", "d2"], kind="binary", threshold=0.0)
    assert set(past.observed.values) == {0.0, 1.0}
    assert past.observed.variances.max() <= 0.25
    assert past.observed.variances.min() > 0


@pytest.mark.parametrize(
    ("values", "more", "said"),
    [
        (["d3"], {}, "no such column of values; got 'd3', expected one of f1, f2, d1, d2"),
        (["note"], {}, "values must be numbers"),
        (["d1"], {"id_column": "perturbation"}, "no column 'perturbation'"),
        (["d1"], {"features": "q"}, "no feature columns"),
    ],
)
def test_mistakes_are_one_line(table, values, more, said):
    with pytest.raises(UserError, match=said):
        read(table[1], values, **more)


def test_ids_that_do_not_meet(table, tmp_path):
    pd.DataFrame({"gene": ["A", "B"], "f": [1.0, 2.0]}).to_csv(tmp_path / "library.csv", index=False)
    with pytest.raises(UserError, match="no perturbation of the screen is in the library; got 'G00' and 'A'"):
        read(table[1], ["d1"], LibrarySection(uri=str(tmp_path / "library.csv"), id="gene"))
