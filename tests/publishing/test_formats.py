"""The files of a screen: they all say the same, the same screen gives the same bytes, and SCHEMA.md describes them."""

import io
import json
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from published import ANNOTATION, lock, screen

import tasks.publishing
from tasks.campaigns.spreadsheets import FORMULA
from tasks.checkpoints.payloads import decode
from tasks.publishing.formats import complete_provenance, parquet_facts, screen_files
from tasks.publishing.screen import CLASS_COLUMNS, SCHEMA_VERSION, SCREEN_COLUMNS

SCHEMA = (Path(tasks.publishing.__file__).parent / "SCHEMA.md").read_text(encoding="utf-8")


def read_zarr(files):
    prefix = "screen.zarr/"
    return decode("anndata", {name[len(prefix) :]: data for name, data in files.items() if name.startswith(prefix)})


def read_h5ad(files):
    return ad.read_h5ad(io.BytesIO(files["screen.h5ad"]))


def read_parquet(files):
    return pd.read_parquet(io.BytesIO(files["screen.parquet"]))


def unescaped(cell):
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and FORMULA.match(cell[1:]) else cell


def read_csv(files):
    table = pd.read_csv(io.BytesIO(files["screen.csv"]), keep_default_na=False, dtype=str)
    table = table.map(unescaped)
    return table.rename(columns=unescaped)


def plain(frame):
    """Every cell as Python has it; nothing instead of the many ways to say nothing."""
    frame = frame.astype(object)
    return frame.where(frame.notna(), None).to_dict("list")


@settings(max_examples=15, phases=(Phase.explicit, Phase.generate))  # shrinking five files takes minutes
@given(
    kind=st.sampled_from(["continuous", "binary"]),
    seed=st.integers(0, 2**16),
    rows=st.integers(5, 30),
    data=st.data(),
)
def test_every_format_gives_back_what_went_in(kind, seed, rows, data):
    annotation = {
        "note": data.draw(st.lists(ANNOTATION, min_size=rows, max_size=rows)),
        "value": data.draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=rows, max_size=rows)),
        "lot": pd.Categorical(data.draw(st.lists(st.sampled_from(["x", "y"]), min_size=rows, max_size=rows))),
    }
    before = screen(kind, rows, seed, annotation, {"extra": {"bound": 0.25, "shown": True}})
    files = screen_files(before)
    for after in (read_zarr(files), read_h5ad(files)):
        np.testing.assert_array_equal(after.X, before.X)
        assert after.obs.index.tolist() == before.obs.index.tolist()
        assert after.obs.dtypes.astype(str).tolist() == before.obs.dtypes.astype(str).tolist()
        assert plain(after.obs) == plain(before.obs)
        assert plain(after.var) == plain(before.var)
        said = [
            json.dumps(dict(one.uns), default=lambda number: number.item(), sort_keys=True) for one in (after, before)
        ]
        assert said[0] == said[1]
    table = read_parquet(files)
    assert plain(table.set_index("perturbation")) == plain(before.obs)
    assert table.drop(columns="perturbation").dtypes.astype(str).tolist() == before.obs.dtypes.astype(str).tolist()
    facts = parquet_facts(files["screen.parquet"])
    assert {name: facts[name] for name in before.uns} == before.uns
    assert facts["readout"]["kind"] == kind
    text = read_csv(files)
    assert text["perturbation"].tolist() == before.obs.index.tolist()
    for name, column in before.obs.items():
        if pd.api.types.is_float_dtype(column):
            np.testing.assert_array_equal([float(cell or "nan") for cell in text[str(name)]], column.to_numpy(float))
        else:
            ends = "\r\n", "\r"
            cells = [
                "" if pd.isna(cell) else str(cell).replace(ends[0], "\n").replace(ends[1], "\n") for cell in column
            ]
            assert text[str(name)].tolist() == cells


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_the_same_screen_is_the_same_bytes(kind):
    first, second = screen_files(screen(kind)), screen_files(screen(kind))
    assert [name for name in first if first[name] != second[name]] == []
    other = screen_files(screen(kind, seed=1))
    for name in ("screen.h5ad", "screen.parquet", "screen.csv", "card.md"):
        assert other[name] != first[name]


def turned(mapping):
    """The same in another order."""
    return {key: turned(value) if isinstance(value, dict) else value for key, value in reversed(mapping.items())}


def test_the_order_in_which_a_checkpoint_was_read_does_not_reach_the_bytes():
    made = screen()
    other = ad.AnnData(X=made.X, obs=made.obs, var=made.var, uns=turned(dict(made.uns)))
    assert list(other.uns) != list(made.uns)
    files = [screen_files(complete_provenance(one, 1, lock())) for one in (made, other)]
    assert [name for name in files[0] if files[0][name] != files[1][name]] == []


def test_the_lock_of_the_round_comes_back_from_any_file():
    files = screen_files(screen())
    known = lock().model_dump(mode="json")
    for uns in (read_zarr(files).uns, read_h5ad(files).uns, parquet_facts(files["screen.parquet"])):
        assert json.loads(uns["provenance"]["lock"]) == known
        assert uns["provenance"]["versions"]["numpy"] == "2.0"


def columns_of(title):
    """Name and type of each row of the first table below a title of SCHEMA.md."""
    text = SCHEMA.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in text.splitlines() if line.startswith("| `") or line.startswith("| index `")]
    return {re.findall(r"`(\w+)`", row)[0]: row.split("|")[2].strip() for row in rows}


TYPES = {
    "text": "object",
    "category": "category",
    "float64": "float64",
    "int32": "int32",
    "bool": "bool",
    "nullable bool": "boolean",
}


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_the_schema_in_prose_is_that_of_a_screen(kind):
    files = screen_files(screen(kind))
    described = columns_of("obs")
    assert described.pop("perturbation") == "text"
    expected = [*SCREEN_COLUMNS, *(CLASS_COLUMNS if kind == "binary" else ())]
    assert list(described) == [*SCREEN_COLUMNS, *CLASS_COLUMNS]
    for after in (read_zarr(files), read_h5ad(files)):
        assert after.obs.index.name == "perturbation"
        assert after.obs.columns.tolist() == expected
        assert {name: str(after.obs[name].dtype) for name in expected} == {
            name: TYPES[described[name]] for name in expected
        }
        assert after.X.dtype == np.float64
        assert set(columns_of("X, var")) == set(after.var.columns)
        assert set(columns_of("uns")) == set(after.uns)
    assert f"schema version {SCHEMA_VERSION}" in SCHEMA.splitlines()[0]
    described = {name for name in re.findall(r"\| `([\w.]+)` \|", SCHEMA.split("\n## Files\n")[1].split("\n## ")[0])}
    assert described == {name.split("/")[0] for name in files} | {"claim.json", "manifest.json"}


@pytest.mark.parametrize("variance", [0.0, 0.09, 0.2499, 0.25])
def test_the_probability_of_a_measured_class_is_one_less_the_chance_that_noise_flipped_it(variance):
    obs = screen("binary", value=[1.0, 0.0] * 6 + [1.0], variance=variance).obs
    measured = obs[obs["source"] == "measured"]
    p = measured["probability_1"].to_numpy()
    np.testing.assert_allclose(p * (1 - p), variance, atol=1e-12)
    assert (((p >= 0.5) & (measured["value"] == 1)) | ((p <= 0.5) & (measured["value"] == 0))).all()
    predicted = obs[obs["source"] == "predicted"]
    np.testing.assert_array_equal(predicted["probability_1"], predicted["value"])
    assert "probability_1" not in screen("continuous").obs
