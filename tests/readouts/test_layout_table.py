"""Plate maps in the project's own columns."""

import pandas as pd
import pytest

from tasks.batches.layout import PLATEMAP_COLUMNS, lay_out
from tasks.campaigns.config import ControlWells, PlatesSection
from tasks.campaigns.designs import table_text
from tasks.errors import UserError
from tasks.readouts.layouts import read_layout

TEXT = (
    "barcode,well,role,perturbation,reagent,gene\nP1,A1,negcon,,,\nP1,B01,sample,X,g1,tp53\nP2,B01,sample,X,g2,tp53\n"
)


def read(text, name="platemap.csv", **options):
    files = {name: text.encode(), "log.csv": b"barcode,well,reason\nP1,B1,leaked\n"}
    return read_layout("table", files.__getitem__, 96, **options)


def test_what_a_design_writes_is_read_back():
    plates = PlatesSection(format=96, negcon=ControlWells(wells=("A01:H01",)), poscon=ControlWells(wells=("A12:H12",)))
    batch = pd.DataFrame({"perturbation": [f"X{i}" for i in range(90)]})
    batch = batch.assign(action="measure", arm="strategy", slot="first", mode=-1, rank=range(90))
    platemap = lay_out(batch, plates, 2, "demo", 0, 1)
    layout = read(table_text(platemap))
    columns = list(PLATEMAP_COLUMNS)
    pd.testing.assert_frame_equal(layout.platemap[columns], platemap[columns], check_dtype=False)
    assert layout.files["barcode"].tolist() == ["demo-R00-P01", "demo-R00-P02"]
    assert layout.exclusions.empty
    assert layout.notes == ()


def test_wells_that_are_not_named_are_empty_and_further_columns_annotation():
    layout = read(TEXT, exclusions="log.csv")
    assert len(layout.platemap) == 2 * 96
    used = layout.platemap[layout.platemap["role"] != "empty"]
    assert used[["barcode", "well", "role", "perturbation", "replicate", "reagent"]].to_numpy().tolist() == [
        ["P1", "A01", "negcon", "", 0, ""],
        ["P1", "B01", "sample", "X", 1, "g1"],
        ["P2", "B01", "sample", "X", 1, "g2"],
    ]
    assert layout.annotation.to_numpy().tolist() == [["P1", "A01", ""], ["P1", "B01", "tp53"], ["P2", "B01", "tp53"]]
    assert layout.exclusions.to_numpy().tolist() == [["P1", 0, "B01", "leaked"]]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            "P1,A01,sample,Y,,",
            "platemap.csv, line 5: named twice; got P1 A01, which stands on line 2, expected each once",
        ),
        (
            "P1,C01,vehicle,,,",
            "platemap.csv, line 5: unknown role; got 'vehicle', expected sample, negcon, poscon, other, empty",
        ),
        (
            "P1,C01,sample,,,",
            "platemap.csv, line 5: role and perturbation disagree; "
            "got sample '', expected a perturbation in every sample well, and in no other",
        ),
        (
            "P1,C01,negcon,X,,",
            "platemap.csv, line 5: role and perturbation disagree; "
            "got negcon 'X', expected a perturbation in every sample well, and in no other",
        ),
        (
            "P1,I01,negcon,,,",
            "platemap.csv, line 5: well outside the 96-well plate; got 'I01', expected a well from A01 to H12",
        ),
        (
            ",C01,negcon,,,",
            "platemap.csv, line 5: no barcode, or one of another file; got '', expected one plate map for each barcode",
        ),
    ],
)
def test_every_mistake_is_one_line_with_file_and_line(row, line):
    with pytest.raises(UserError) as caught:
        read(TEXT + row + "\n")
    assert str(caught.value) == line


def test_columns_that_contradict_each_other_are_named():
    text = "barcode,well,role,perturbation,row,column,replicate\nP1,B02,sample,X,{},{},{}\n"
    assert len(read(text.format(1, 1, 2)).platemap) == 96
    with pytest.raises(UserError, match=r"line 2: row and column are not those of the well; got row 2, column 1"):
        read(text.format(2, 1, 1))
    with pytest.raises(UserError, match=r"line 2: wrong replicate; got '0', expected 1, 2, … for a sample, 0 else"):
        read(text.format(1, 1, 0))


def test_a_barcode_belongs_to_one_file():
    files = {"a.csv": TEXT.encode(), "b.csv": TEXT.replace("P1", "P3").encode()}
    with pytest.raises(UserError, match=r"^b.csv, line 4: no barcode, or one of another file; got 'P2'"):
        read_layout("table", files.__getitem__, 96, files=["a.csv", "b.csv"])


def test_a_quote_that_does_not_end_is_named():
    with pytest.raises(
        UserError, match=r"^platemap.csv, line 5: the line cannot be split into cells; got unexpected end"
    ):
        read(TEXT + 'P1,C01,"negcon,,,\n')
