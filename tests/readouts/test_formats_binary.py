from __future__ import annotations

import io

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse

from tasks.campaigns.config import ReadoutColumns, ReadoutSection
from tasks.readouts.formats import parquet, tables
from tasks.readouts.ingest import RejectedInput, read_plate_file

TABLE = pd.DataFrame(
    {
        "plate": ["P2", "P1", "P1"],
        "well": ["a1", "A01", "H12"],
        "value": [3.5, -1.25, np.nan],
        "run": ["R", "R", "R"],
        "attempt": [1, 2, 2],
        "role": ["sample", "negcon", None],
    }
)


def section(**changes) -> ReadoutSection:
    return ReadoutSection(tolerance=1.0, **changes)


def as_parquet(table: pd.DataFrame, **options) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, **options)
    return buffer.getvalue()


def as_h5ad(path, matrix, obs, var) -> bytes:
    obs = obs.set_index(pd.Index([f"row {i}" for i in range(len(obs))]))
    anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=pd.Index(var))).write_h5ad(path / "file.h5ad")
    return (path / "file.h5ad").read_bytes()


def read(data: bytes, name: str = "day1.bin", **changes):
    return read_plate_file(data, name, section(**changes), 96)


def check(readouts):
    one, two = readouts
    assert (one.barcode, one.attempt, one.run, one.run_written) == ("P1", 2, "R", True)
    assert (two.barcode, two.attempt) == ("P2", 1)
    assert one.values["well"].tolist() == ["A01", "H12"]
    assert one.values["line"].tolist() == [2, 3]
    np.testing.assert_array_equal(one.values["value"], [-1.25, np.nan])
    assert one.values["role"].tolist() == ["negcon", ""]
    assert one.problems == two.problems == ()


@pytest.mark.parametrize("kind", ["float64", "float32", "Float64", "text", "category", "nullable text"])
def test_parquet_values_may_be_numbers_or_text(kind):
    table = TABLE.copy()
    if kind == "text":
        table["value"] = ["3.5", "-1.25", ""]
    elif kind == "nullable text":
        table["value"] = pd.Series(["3.5", "-1.25", None], dtype="string")
    elif kind == "category":
        table[["plate", "well", "run"]] = table[["plate", "well", "run"]].astype("category")
    else:
        table["value"] = table["value"].astype(kind)
    check(read(as_parquet(table)))


def test_anndata_says_the_same(tmp_path):
    obs = TABLE.drop(columns="value")
    check(read(as_h5ad(tmp_path, TABLE[["value"]].to_numpy(), obs, ["luminescence"])))
    sparse = scipy.sparse.csr_matrix(TABLE[["value"]].to_numpy())
    check(read(as_h5ad(tmp_path, sparse, obs, ["luminescence"])))
    both = np.column_stack([TABLE["value"], [7.0, 8.0, 9.0]])
    check(read(as_h5ad(tmp_path, both, obs, ["value", "other"])))
    check([plate for plate in read(as_h5ad(tmp_path, both.astype("f4"), obs, ["value", "other"]))])


def test_barcodes_and_attempts_that_are_whole_numbers_are_taken():
    (readout,) = read(as_parquet(TABLE.assign(plate=22123, attempt=1, well=["A1", "A2", "A3"])))
    assert (readout.barcode, readout.attempt) == ("22123", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plate": [1.0, 2.0, 3.0]}, "column 'plate' holds float64, expected text or whole numbers"),
        ({"plate": [None, "P1", "P1"]}, "line 1: empty cell in column 'plate'"),
        ({"value": [True, False, True]}, "column 'value' holds bool, expected numbers"),
        ({"value": pd.to_datetime(["2020-01-01"] * 3)}, r"column 'value' holds datetime64\[\w+\], expected numbers"),
        ({"value": [[1], [2], [3]]}, "column 'value' holds object, expected numbers"),
    ],
)
def test_columns_of_other_types_are_refused(change, message):
    with pytest.raises(RejectedInput, match=message):
        read(as_parquet(TABLE.assign(**change)))


def test_infinite_values_and_words_are_the_plates_own_problem():
    _, two = read(as_parquet(TABLE.assign(value=[np.inf, 1.0, 2.0])))
    assert [(p.line, p.reason[:33]) for p in two.problems] == [(1, "not a finite number; got 'inf', e")]
    _, two = read(as_parquet(TABLE.assign(value=["OVER", "1", "2"])))
    assert "got 'OVER'" in two.problems[0].reason


def test_columns_that_are_missing_are_told(tmp_path):
    with pytest.raises(RejectedInput, match=r"no column 'well', 'value'; found 'plate', 'run', 'attempt', 'role'"):
        read(as_parquet(TABLE.drop(columns=["well", "value"])))
    with pytest.raises(RejectedInput, match=r"no column 'value'; found obs 'plate', .*; var 'a', 'b'"):
        read(as_h5ad(tmp_path, np.ones((3, 2)), TABLE.drop(columns="value"), ["a", "b"]))
    with pytest.raises(RejectedInput, match="configured by position"):
        read(as_parquet(TABLE), columns=ReadoutColumns(plate=1, well=2, value=3))


def test_several_features_of_both(tmp_path):
    numbers = np.arange(6.0).reshape(3, 2)
    table = TABLE.drop(columns="value").assign(a=numbers[:, 0], b=numbers[:, 1], c="text")
    for data in (as_parquet(table), as_h5ad(tmp_path, numbers, TABLE.drop(columns="value"), ["a", "b"])):
        one, two = read(data, features=("a", "b"), output="b")
        np.testing.assert_array_equal(one.values[["a", "b"]], numbers[1:])
        np.testing.assert_array_equal(two.values[["a", "b"]], numbers[:1])


def test_cut_files_are_told_wherever_they_are_cut(tmp_path):
    parquet_file = as_parquet(TABLE)
    h5ad = as_h5ad(tmp_path, TABLE[["value"]].to_numpy(), TABLE.drop(columns="value"), ["value"])
    for data, name, message in (
        (parquet_file, "a.parquet", "not a whole Parquet file: is the upload cut off"),
        (h5ad, "a.h5ad", r"damaged .h5ad file|does not begin as HDF5|empty file"),
    ):
        for cut in (1, 3, 10, len(data) // 2, len(data) - 1):
            with pytest.raises(RejectedInput, match=message):
                read(data[:cut], name)


def test_huge_claims_are_refused_before_they_are_read(monkeypatch, tmp_path):
    h5ad = as_h5ad(tmp_path, TABLE[["value"]].to_numpy(), TABLE.drop(columns="value"), ["value"])
    with monkeypatch.context() as patch:
        for module in (tables, parquet):
            patch.setattr(module, "CELLS", 2)
            patch.setattr(module, "CELLS_PER_BYTE", 0)
        with pytest.raises(RejectedInput, match=r"[\d,]+ bytes claim to hold \d+ values"):
            read(as_parquet(TABLE))
        with pytest.raises(RejectedInput, match=r"3 rows × 1 columns, expected at most 2 numbers in a file of"):
            read(h5ad)
    zeros = pd.DataFrame({"plate": "P1", "well": "A1", "value": np.zeros(3_000_000)})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(zeros), sink, compression="zstd", use_dictionary=False)
    with pytest.raises(RejectedInput, match="claim to hold 9,000,000 values"):
        read(sink.getvalue())


def test_a_file_is_known_by_its_content_or_its_name():
    assert read(as_parquet(TABLE), "P1.csv")[0].barcode == "P1"
    with pytest.raises(RejectedInput, match="not a whole Parquet file"):
        read(b"plate,well,value\nP1,A1,1\n", "P1.parquet")
    with pytest.raises(RejectedInput, match="does not begin as HDF5"):
        read(b"plate,well,value\nP1,A1,1\n", "P1.h5ad")
