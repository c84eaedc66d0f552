"""Worklists: units, well names, sources, cells that a spreadsheet would run."""

import pandas as pd
import pytest

from tasks.batches.layout import lay_out
from tasks.batches.worklist import ECHO_COLUMNS, GENERIC_COLUMNS, echo_picklist, generic_worklist
from tasks.campaigns.spreadsheets import escape_formulas
from tasks.errors import UserError


@pytest.fixture
def platemap(plates):
    batch = pd.DataFrame(
        {
            "perturbation": ["aspirin", "=cmd()", "B-7"],
            "action": "measure",
            "arm": "strategy",
            "slot": "random",
            "rank": range(3),
            "mode": -1,
        }
    )
    return lay_out(batch, plates(), 1, "demo", 1, 0)


def test_echo_has_one_transfer_a_used_well(platemap):
    picklist = echo_picklist(platemap, 25.0, {"negcon": "DMSO"})
    assert tuple(picklist.columns) == ECHO_COLUMNS
    assert len(picklist) == 3 + 8
    assert set(picklist["Transfer Volume"]) == {25.0}
    assert picklist.loc[picklist["Destination Well"] == "A1", "Sample ID"].tolist() == ["DMSO"]
    assert picklist.loc[picklist["Destination Well"] == "E1", "Sample Name"].tolist() == ["poscon (poscon)"]
    assert not picklist["Destination Well"].str.contains(r"^[A-H]0").any()
    assert set(picklist["Source Well"]) == {""}


def test_every_sample_goes_to_the_well_of_the_plate_map(platemap):
    picklist = echo_picklist(platemap, 25.0).set_index("Sample ID")["Destination Well"]
    planned = platemap.set_index("perturbation")["well"]
    assert picklist["aspirin"] == planned["aspirin"][0] + str(int(planned["aspirin"][1:]))


def test_sources_are_filled_in(platemap):
    sources = pd.DataFrame(
        {
            "sample": ["aspirin", "=cmd()", "B-7", "negcon", "poscon"],
            "plate": ["S1", "S1", "S2", "C", "C"],
            "well": ["A01", "AF48", "B02", "A01", "A02"],
        }
    )
    picklist = echo_picklist(platemap, 2.5, sources=sources).set_index("Sample ID")
    assert picklist.loc["B-7", "Source Plate Barcode"] == "S2"
    assert picklist.loc["B-7", "Source Well"] == "B2"
    assert picklist.loc["'=cmd()", "Source Well"] == "AF48"
    with pytest.raises(UserError, match="samples without a source well; got 1, the first is B-7"):
        echo_picklist(platemap, 2.5, sources=sources.drop(index=2))
    with pytest.raises(UserError, match="samples without a source well; got 1, the first is B-7"):
        echo_picklist(platemap, 2.5, sources=sources.assign(well=["A01", "A02", "", "A04", "A05"]))
    with pytest.raises(UserError, match="sample has two sources; got aspirin"):
        echo_picklist(platemap, 2.5, sources=pd.concat([sources, sources.iloc[:1]]))
    with pytest.raises(UserError, match="sources: no column well; got sample, plate, expected sample, plate, well"):
        echo_picklist(platemap, 2.5, sources=sources[["sample", "plate"]])
    for nonsense in ("12", "A0", "ABC1", "=A1"):
        with pytest.raises(UserError, match=f"sources: no well; got '{nonsense}'"):
            echo_picklist(platemap, 2.5, sources=sources.assign(well=["A01", "A02", nonsense, "A04", "A05"]))


@pytest.mark.parametrize("volume", [0.0, -2.5, 3.0, float("nan"), float("inf")])
def test_echo_dispenses_whole_droplets(platemap, volume):
    with pytest.raises(UserError, match=r"volume is no whole number of droplets; got .* nL"):
        echo_picklist(platemap, volume)


def test_generic_worklist_keeps_padded_wells_and_microlitres(platemap):
    worklist = generic_worklist(platemap, 0.025)
    assert tuple(worklist.columns) == GENERIC_COLUMNS
    assert worklist["well"].str.fullmatch(r"[A-H]\d\d").all()
    assert set(worklist["volume_ul"]) == {0.025}
    assert (worklist["role"] == "sample").sum() == 3
    with pytest.raises(UserError, match="volume must be positive"):
        generic_worklist(platemap, 0.0)


def test_no_cell_runs_as_a_formula(platemap):
    for worklist in (echo_picklist(platemap, 25.0), generic_worklist(platemap, 0.1)):
        cells = [cell for column in worklist.select_dtypes(object) for cell in worklist[column]]
        assert "'=cmd()" in cells
        assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in cells)


def test_only_the_beginning_of_a_cell_matters():
    table = pd.DataFrame({"a": ["=1", "+1", "-1", "@x", "\tx", "a=1", ""], "b": [-1.0] * 7})
    escaped = escape_formulas(table)
    assert escaped["a"].tolist() == ["'=1", "'+1", "'-1", "'@x", "'\tx", "a=1", ""]
    assert (escaped["b"] == -1.0).all()
    assert table["a"].iloc[0] == "=1"
