"""A genome-wide screen as its instrument and its authors left it: 114 plate files, layout, log and annotation."""

import re

import numpy as np
import pandas as pd
import pytest

from tasks.campaigns.config import QualitySection
from tasks.readouts.ingest import match_plates
from tasks.readouts.layouts import exclude, folder_source, read_layout
from tasks.readouts.quality import assess_plate, judge_directions, judge_gaps
from tasks.readouts.screens.config import ScreenReadout
from tasks.readouts.screens.intake import take_in_files

IDS = "GeneIDs_Dm_HFA_1.1.txt"
# 17-1 is plate 17, replicate 1
_FAILED = "17-1 17-2 18-1 18-2 19-1 21-1 21-2 25-1 25-2 28-1 28-2 31-1 31-2"
FAILED = [f"P{plate}-R{replicate}" for plate, replicate in re.findall(r"(\d+)-(\d)", _FAILED)]


@pytest.fixture(scope="module")
def folder(real_data):
    return real_data / "kcviab" / "raw"


@pytest.fixture(scope="module")
def layout(folder):
    return read_layout("cellhts2", folder_source(folder), 384, annotation=IDS, id="HFAID")


@pytest.fixture(scope="module")
def readout():
    return ScreenReadout.model_validate({"columns": {"plate": 1, "well": 2, "value": 3}})


@pytest.fixture(scope="module")
def wells(folder, layout, readout):
    """Wells of the screen, before the log is applied."""
    intake = take_in_files(layout, [], folder_source(folder), readout, 384, "kc")
    assert intake.rejections == ()
    matched = match_plates(intake.plates, layout.platemap, readout)
    assert matched.rejections == ()
    return matched.wells


@pytest.fixture(scope="module")
def oracle(real_data):
    return pd.read_parquet(real_data / "kcviab" / "kcviab.parquet")


def test_the_files_say_what_the_tidy_table_says(wells, layout, oracle):
    ids = layout.annotation.rename(columns={"HFAID": "hfaid", "GeneID": "gene"})
    mine = wells.merge(layout.files[["barcode", "plate", "replicate"]], on="barcode", suffixes=("_well", ""))
    mine = mine.merge(ids, on=["barcode", "well"]).astype({"plate": int})
    flagged = pd.MultiIndex.from_frame(layout.exclusions[["barcode", "well"]])
    mine["flagged"] = pd.MultiIndex.from_frame(mine[["barcode", "well"]]).isin(flagged)
    key = ["plate", "replicate", "well"]
    mine = mine.sort_values(key, ignore_index=True)
    theirs = oracle.sort_values(key, ignore_index=True)
    assert len(theirs) == 57 * 2 * 384
    pd.testing.assert_frame_equal(mine[key], theirs[key])
    np.testing.assert_array_equal(mine["value"].to_numpy(np.float32), theirs["value"].to_numpy(np.float32))
    np.testing.assert_array_equal(mine["flagged"], theirs["flagged"])
    names = {"sample": "sample", "negcon": "neg", "poscon": "pos", "other": "other"}
    assert mine["role"].map(names).tolist() == theirs["control"].tolist()
    assert mine["hfaid"].tolist() == theirs["HFAID"].fillna("").tolist()
    assert mine["gene"].tolist() == theirs["GeneID"].fillna("").tolist()


def test_a_sample_is_its_id_or_its_place(wells, oracle):
    samples = wells[wells["role"] == "sample"]
    named = samples["perturbation"].str.startswith("HFA")
    assert set(samples.loc[named, "perturbation"]) == set(oracle["HFAID"].dropna())
    assert (samples.groupby("perturbation").size() == 2).all()
    assert (~named).sum() == 2 * 1301


def test_the_stray_tabs_are_named(layout):
    (note,) = [note for note in layout.notes if note.startswith(IDS)]
    lines = "lines 21121, 21122, 21123, 21146, 21147, …"
    assert note == f"{IDS}: 10 lines with a stray delimiter at the end ({lines}), read without it"


def test_the_excluded_wells_have_no_value_and_a_reason(wells, layout, oracle):
    assert layout.exclusions["reason"].unique().tolist() == ["Contamination"]
    done = exclude(wells, layout.exclusions)
    missing = done[done["value"].isna()]
    assert wells["value"].notna().all()
    assert len(missing) == oracle["flagged"].sum() == 48
    assert set(missing["barcode"]) == {"P06-R1", "P06-R2"}
    assert set(missing["row"]) == {0}


def test_plates_whose_positive_control_failed_are_named(wells, layout, oracle):
    log2 = exclude(wells, layout.exclusions).assign(value=lambda table: np.log2(table["value"]))
    quality = QualitySection(min_gap_share=0.5, max_missing=0.1)
    plates = [assess_plate(plate, quality, min_controls=1) for _, plate in log2.groupby("barcode")]
    assert all(plate.passed for plate in plates)
    found = judge_gaps(plates, quality.min_gap_share)
    assert [plate.barcode for plate in found if not plate.passed] == FAILED
    gaps = oracle[oracle["control"].isin(["neg", "pos"])]
    gaps = gaps.pivot_table(index=["plate", "replicate"], columns="control", values="value")
    gap = np.log2(gaps["pos"]) - np.log2(gaps["neg"])
    weak = gap[gap > gap.median() / 2].index
    assert [f"P{plate:02d}-R{replicate}" for plate, replicate in weak] == FAILED
    turned = [plate.barcode for plate in judge_directions(plates, None) if not plate.passed]
    assert turned == ["P21-R1"]
