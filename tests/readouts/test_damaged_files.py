"""Damaged plate files through the real ingestion path: refused and told, or right, and no harm to their neighbours."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from damage import Case, damage, literally, make_cases

from tasks.readouts.formats import anndata_file
from tasks.readouts.ingest import RejectedInput, match_plates, read_plate_file, resolve_copies
from tasks.readouts.wells import plate_shape, plate_wells

KINDS = ["long positional", "long named", "long features", "grid labelled", "grid plain", "parquet", "anndata"]
QUICK = dict.fromkeys(KINDS, 63) | {"anndata": 22}  # 400 damaged files
ALL = dict.fromkeys(KINDS, 317) | {"anndata": 98}  # 2,000; every AnnData file takes a process of its own


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Some damaged HDF5 files are read for ever: a second tells."""
    monkeypatch.setattr(anndata_file, "SECONDS", 1)


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> dict[str, Case]:
    """Files made from real screens where there are some, from random numbers elsewhere."""
    folder = os.environ.get("HYBRIDSCREEN_DATA")
    return make_cases(Path(folder) if folder else None, tmp_path_factory.mktemp("damage"))


def _platemap(values: pd.DataFrame, fmt: int) -> pd.DataFrame:
    """Every plate with all wells that it reports in use."""
    tables = []
    rows, columns = np.divmod(np.arange(fmt), plate_shape(fmt)[1])
    for barcode, plate in values.groupby("barcode"):
        used = np.isin(plate_wells(fmt), plate["well"])
        table = pd.DataFrame({"barcode": barcode, "well": plate_wells(fmt), "row": rows, "column": columns})
        table["role"] = np.where(used, "sample", "empty")
        table["perturbation"] = np.where(used, [f"x{i}" for i in range(fmt)], "")
        tables.append(table.assign(replicate=used.astype(int)))
    return pd.concat(tables, ignore_index=True)


def _neighbours(case: Case) -> pd.DataFrame:
    """Values of three other plates, whose barcodes no damage makes of the first."""
    first = case.truth[case.truth["barcode"] == case.truth["barcode"].iloc[0]]
    return pd.concat(
        [first.assign(barcode=f"NEIGHBOUR {i}", **{name: first[name] + i for name in case.columns}) for i in range(3)]
    )


def _read_neighbours(case: Case, values: pd.DataFrame) -> list:
    columns = {"barcode": case.section.columns.plate, "well": case.section.columns.well}
    if case.section.columns.positional:
        text = values.to_csv(index=False, header=False, sep="\t")
    else:
        text = values.rename(columns={name: str(new) for name, new in columns.items()}).to_csv(index=False)
    return read_plate_file(text.encode(), "neighbours.csv", case.section, case.fmt)


def _take_in(case: Case, files: dict[str, bytes], beside: list, platemap: pd.DataFrame):
    """Plates of some files and their neighbours, as ingestion takes them: what is accepted, and what is told."""
    plates, told = list(beside), []
    for name, data in files.items():
        try:
            plates += read_plate_file(data, name, case.section, case.fmt)
        except RejectedInput as error:
            told += error.rejections
    kept, refused = resolve_copies(plates)
    matched = match_plates(kept, platemap, case.section)
    return matched.wells, [*told, *refused, *matched.rejections]


def _check_neighbours(wells: pd.DataFrame, good: pd.DataFrame, case: Case) -> None:
    found = wells[wells["barcode"].isin(good["barcode"])]
    expected = good.set_index(["barcode", "well"])[case.columns]
    output = case.section.output or "value"
    assert len(found) == len(expected)
    places = pd.MultiIndex.from_frame(found[["barcode", "well"]])
    np.testing.assert_array_equal(found["value"], expected[output].reindex(places))
    for name in case.columns:
        np.testing.assert_array_equal(found[name], expected[name].reindex(places))


def _check_values(wells: pd.DataFrame, case: Case, data: bytes, structural: bool) -> None:
    """An accepted value stands literally in the damaged file; after purely structural damage it is the true one."""
    if wells.empty:
        return
    said = literally(case, data)
    true = {
        (barcode, well, name): value
        for name in case.columns
        for barcode, well, value in zip(case.truth["barcode"], case.truth["well"], case.truth[name], strict=True)
    }
    for name in case.columns:
        for barcode, well, value in zip(wells["barcode"], wells["well"], wells[name], strict=True):
            if np.isnan(value):
                continue
            key = (barcode, well, name)
            assert value in said.get(key, ()), f"{key} is {value}, the file says {said.get(key)}"
            assert not structural or value == true[key], f"{key} is {value}, it was {true[key]}"


def _run(case: Case, seeds: range) -> None:
    values = _neighbours(case)
    beside = _read_neighbours(case, values)
    platemap = _platemap(pd.concat([case.truth, values]), case.fmt)
    accepted = 0
    for seed in seeds:
        data, structural = damage(case, np.random.default_rng([KINDS.index(case.kind), seed]))
        files = {case.name: data}
        if seed % 25 == 24:
            files["second copy of " + case.name] = case.data
        wells, told = _take_in(case, files, beside, platemap)
        _check_neighbours(wells, values, case)
        mine = wells[~wells["barcode"].isin(values["barcode"])]
        if len(files) == 1:
            _check_values(mine, case, data, structural)
        named = {barcode for barcode in case.truth["barcode"].unique() if barcode.encode() in data}
        lost = named - set(mine["barcode"])
        assert not lost or told, f"seed {seed}: {lost} is gone and nothing is told"
        accepted += mine["barcode"].nunique()
    assert accepted  # else the checks of values say nothing


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_or_right(cases, kind):
    _run(cases[kind], range(QUICK[kind]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_damaged_files_are_refused_or_right(cases, kind):
    _run(cases[kind], range(QUICK[kind], ALL[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_undamaged_files_are_read_whole(cases, kind):
    case = cases[kind]
    platemap = _platemap(case.truth, case.fmt)
    wells, told = _take_in(case, {case.name: case.data}, [], platemap)
    assert told == []
    _check_neighbours(wells, case.truth, case)
    wells, told = _take_in(case, {case.name: case.data, f"copy.{case.name}": case.data}, [], platemap)
    assert told == []
    assert len(wells) == len(case.truth)
