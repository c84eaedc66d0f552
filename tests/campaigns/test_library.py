import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from tasks.campaigns.config import LibrarySection
from tasks.campaigns.library import read_library
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
