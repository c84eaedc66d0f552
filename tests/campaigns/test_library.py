import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from tasks.campaigns.config import LibrarySection
from tasks.campaigns.library import read_library
from tasks.checkpoints.payloads import Payload, decode, encode
from tasks.errors import UserError

TABLE = pd.DataFrame(
    {"perturbation": ["NA", "007", "c"], "name": ["x", None, "z"], "f1": [1.0, 2.0, 3.0], "f2": [4, 5, 6]}
)


def write(tmp_path, name, table=TABLE):
    path = tmp_path / name
    if name.endswith(".csv"):
        table.to_csv(path, index=False)
    elif name.endswith(".tsv"):
        table.to_csv(path, index=False, sep="\t")
    elif name.endswith(".parquet"):
        table.to_parquet(path)
    else:
        features = table[["f1", "f2"]].to_numpy(dtype=np.float32)
        adata = anndata.AnnData(
            X=scipy.sparse.csr_matrix(features), obs=table[["name"]].fillna("").set_index(table["perturbation"])
        )
        adata.obsm["doubled"] = 2 * features
        adata.write_h5ad(path) if name.endswith(".h5ad") else adata.write_zarr(path)
    return str(path)


@pytest.mark.parametrize("name", ["l.csv", "l.tsv", "l.parquet", "l.h5ad", "l.zarr"])
def test_every_format_gives_the_same_library(tmp_path, name):
    library = read_library(LibrarySection(uri=write(tmp_path, name)))
    assert library.obs_names.tolist() == ["NA", "007", "c"]
    np.testing.assert_array_equal(library.X, np.array([[1, 4], [2, 5], [3, 6]], dtype=np.float32))
    assert library.X.dtype == np.float32


def test_features_are_chosen_by_prefix_or_key(tmp_path):
    assert read_library(LibrarySection(uri=write(tmp_path, "l.csv"), features="f2")).X.tolist() == [[4], [5], [6]]
    assert read_library(LibrarySection(uri=write(tmp_path, "l.h5ad"), features="doubled")).X[2].tolist() == [6, 12]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"perturbation": ["a", "b", "a"]}, ["not unique", "'a' more than once"]),
        ({"f1": [1.0, np.nan, np.inf]}, ["not a finite number", "'007'", "'f1'", "2 of 3 rows"]),
        ({"perturbation": ["a", "", "c"]}, ["unusable perturbation id"]),
        ({"perturbation": ["a", "b\n", "c"]}, ["unusable perturbation id"]),
        ({"perturbation": ["a", "b" * 300, "c"]}, ["unusable perturbation id", "1 to 200"]),
    ],
)
def test_bad_rows_are_named(tmp_path, change, words):
    with pytest.raises(UserError) as caught:
        read_library(LibrarySection(uri=write(tmp_path, "l.csv", TABLE.assign(**change))))
    for word in [*words, "l.csv"]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"uri": "none.csv"}, ["no such library"]),
        ({"uri": "none.zarr"}, ["no such library"]),
        ({"uri": "l.xlsx"}, ["not a kind of library", ".xlsx"]),
        ({"uri": "l.csv", "id": "compound"}, ["no column 'compound'", "perturbation, name"]),
        ({"uri": "l.csv", "features": "g"}, ["no feature columns", "'g'"]),
        ({"uri": "l.h5ad", "features": "pca"}, ["no features 'pca'", "doubled"]),
        ({"uri": "broken.parquet"}, ["cannot be read"]),
        ({"uri": "broken.h5ad"}, ["not AnnData"]),
    ],
)
def test_a_wrong_source_is_one_line(tmp_path, section, words):
    write(tmp_path, "l.csv")
    write(tmp_path, "l.h5ad")
    (tmp_path / "broken.parquet").write_bytes(b"no")
    (tmp_path / "broken.h5ad").write_bytes(b"no")
    with pytest.raises(UserError) as caught:
        read_library(LibrarySection(**{**section, "uri": str(tmp_path / section["uri"])}))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def stored(library):
    return decode("anndata", encode(Payload("anndata", library)))


def from_h5ad(tmp_path, obs, names=("f1", "f2")):
    path = str(tmp_path / "l.h5ad")
    features = np.arange(3 * len(names), dtype=np.float32).reshape(3, -1)
    adata = anndata.AnnData(X=features, obs=obs.set_axis(["a", "b", "c"]), var=pd.DataFrame(index=list(names)))
    adata.write_h5ad(path)
    return read_library(LibrarySection(uri=path))


def test_any_annotation_of_a_table_can_be_stored(tmp_path):
    table = TABLE.assign(
        day=pd.to_datetime(["2020-01-02", None, "2021-01-01"]),
        span=pd.to_timedelta([1, 2, 3], unit="h"),
        kinds=[["a", "b"], None, []],
        level=pd.Categorical([2.5, None, 1.5]),
        group=pd.Categorical(["x", "y", "x"]),
        gap=pd.Categorical(["x", None, "x"]),
        text=pd.array(["t", None, "NA"], dtype="string"),
        flag=pd.array([True, None, False], dtype="boolean"),
    ).rename(columns={"name": "a/b", "kinds": "_index", "text": "..", "group": "a_b"})
    library = read_library(LibrarySection(uri=write(tmp_path, "l.parquet", table), features="f1"))
    back = stored(library)
    assert back.obs_names.tolist() == ["NA", "007", "c"]
    assert list(back.obs.columns) == [
        "a_b",
        "f2",
        "day",
        "span",
        "column__index",
        "level",
        "a_b_2",
        "gap",
        "column_..",
        "flag",
    ]
    assert back.obs["a_b"].tolist() == ["x", "", "z"]
    assert back.obs["day"].tolist() == ["2020-01-02 00:00:00", "", "2021-01-01 00:00:00"]
    np.testing.assert_array_equal(back.obs["level"], [2.5, np.nan, 1.5])
    assert back.obs["a_b_2"].dtype == "category"
    assert back.obs["gap"].tolist() == ["x", "", "x"]
    assert back.obs["column_.."].tolist() == ["t", "", "NA"]
    assert back.obs["flag"].tolist() == ["True", "", "False"]
    assert back.obs["f2"].tolist() == [4, 5, 6]


@pytest.mark.parametrize("kind", ["Int64", "UInt8", "Float64", "int64[pyarrow]", "boolean"])
def test_numbers_of_any_make_stay_numbers(tmp_path, kind):
    whole = pd.DataFrame({"n": pd.array([1, 0, 1], dtype=kind)})
    table = TABLE.assign(n=whole["n"], gap=pd.array([1.5, None, 2.5], dtype="Float64"))
    back = stored(read_library(LibrarySection(uri=write(tmp_path, "l.parquet", table), features="f")))
    assert back.obs["n"].dtype.kind in "biuf"
    assert back.obs["n"].tolist() == [1, 0, 1]
    np.testing.assert_array_equal(back.obs["gap"], [1.5, np.nan, 2.5])


def test_a_column_named_as_the_index_is_dropped_if_it_repeats_the_ids_and_renamed_if_not(tmp_path):
    other = TABLE.rename(columns={"perturbation": "compound"})
    for names, columns in ((["x", "y", "z"], ["perturbation_annotation", "name"]), (["NA", "007", "c"], ["name"])):
        table = other.assign(perturbation=names)[["compound", "perturbation", "name", "f1"]]
        back = stored(read_library(LibrarySection(uri=write(tmp_path, "l.parquet", table), id="compound")))
        assert back.obs.index.name == "perturbation"
        assert list(back.obs.columns) == columns


def test_annotation_of_anndata_can_be_stored(tmp_path):
    obs = pd.DataFrame({"perturbation": ["x", "y", "z"], "level": pd.Categorical([1, 2, 1]), "n": [1, 2, 3]})
    back = stored(from_h5ad(tmp_path, obs))
    assert back.obs["perturbation_annotation"].tolist() == ["x", "y", "z"]
    assert back.obs["level"].tolist() == ["1", "2", "1"]
    assert back.obs["n"].tolist() == [1, 2, 3]


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_feature_names_become_unique_and_may_hold_slashes(tmp_path):
    back = stored(from_h5ad(tmp_path, pd.DataFrame(index=range(3)), ["f", "a/b", "f", "f_2", "f"]))
    assert back.var_names.tolist() == ["f", "a/b", "f_2", "f_2_2", "f_3"]
    table = TABLE.rename(columns={"f1": "f/1"})
    assert stored(read_library(LibrarySection(uri=write(tmp_path, "l.csv", table)))).var_names.tolist() == ["f/1", "f2"]


@pytest.mark.parametrize("root", ["/", "file:///"])
def test_a_library_in_the_root_is_not_looked_for_in_the_working_directory(tmp_path, monkeypatch, root):
    write(tmp_path, "no-such-library-in-the-root.csv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such library"):
        read_library(LibrarySection(uri=f"{root}no-such-library-in-the-root.csv"))
    assert read_library(LibrarySection(uri="no-such-library-in-the-root.csv")).n_obs == 3
