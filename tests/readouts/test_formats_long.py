from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.campaigns.config import ReadoutColumns, ReadoutSection
from tasks.errors import UserError
from tasks.readouts.formats.numeric import to_floats
from tasks.readouts.ingest import RejectedInput, read_plate_file


def section(**changes) -> ReadoutSection:
    return ReadoutSection(tolerance=1.0, **changes)


def read(text: str, name: str = "P7.csv", fmt: int = 96, **changes):
    return read_plate_file(text.encode(), name, section(**changes), fmt)


def test_without_a_plate_column_the_files_name_is_the_barcode():
    (readout,) = read("well,value\nA1,5\nH12,6\n", "day 1/P7.txt")
    assert (readout.barcode, readout.attempt, readout.run, readout.run_written) == ("P7", 1, "P7", False)
    assert list(readout.values["well"]) == ["A01", "H12"]
    (again,) = read("well,value\nA1,5\n", "P7.attempt12.csv")
    assert (again.barcode, again.attempt) == ("P7", 12)
    (written,) = read("well,value,attempt\nA1,5,3\n", "P7.attempt2.csv")
    assert (written.barcode, written.attempt) == ("P7", 3)


def test_a_plate_column_that_is_configured_must_be_there():
    with pytest.raises(RejectedInput, match="no column 'Barcode'; found 'well', 'value'"):
        read("well,value\nA1,5\n", columns=ReadoutColumns(plate="Barcode"))


@pytest.mark.parametrize("mark", ["\t", ";", ","])
def test_files_without_a_header_have_columns_by_position(mark):
    text = "P1 x A01 x 887763\nP1 x A02 x 958308.5\nP2 x B1 x NA\n".replace(" ", mark)
    one, two = read(text, columns=ReadoutColumns(plate=1, well=3, value=5))
    assert (one.barcode, two.barcode) == ("P1", "P2")
    assert list(one.values.columns) == ["well", "line", "value"]
    assert list(one.values["line"]) == [1, 2]
    np.testing.assert_array_equal(one.values["value"], [887763, 958308.5])
    np.testing.assert_array_equal(two.values["value"], [np.nan])
    (stem,) = read("A01;5\nA02;6\n", columns=ReadoutColumns(well=1, value=2))
    assert stem.barcode == "P7"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("P1\tA01\t5\n", "3 tab-separated cells, expected at least 4"),
        ("P1\tA01\t5\t\nP1\tA02\t5\n", "line 2: 3 cells, expected 4 as on the first line"),
    ],
)
def test_positions_that_are_not_there_are_told(text, message):
    with pytest.raises(RejectedInput, match=message):
        read(text, columns=ReadoutColumns(plate=1, well=2, value=4))


def test_positional_columns_survive_being_written_down():
    columns = ReadoutColumns(plate=1, well=2, value=3)
    assert ReadoutColumns.model_validate(columns.model_dump(mode="json")) == columns


@pytest.mark.parametrize("wrong", [{"well": 1, "value": "OD"}, {"well": 1, "value": 1}, {"well": "a", "value": "a"}])
def test_columns_are_named_in_one_way_and_differ(wrong):
    with pytest.raises(ValueError, match=r"not both|two columns have the same"):
        ReadoutColumns(**wrong)


def test_features_need_a_header():
    with pytest.raises(ValueError, match="features need a header"):
        section(columns={"well": 1, "value": 2}, features=("a",), output="a")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_decimal_commas_are_read_where_they_are_configured(mark):
    lines = [f"plate{mark}well{mark}value"] + [
        f"P1{mark}A{i}{mark}{x}" for i, x in enumerate(("1,5", "-2,5e3", "7", ""), 1)
    ]
    text = "\n".join(lines) + "\n"
    (readout,) = read(text, decimal=",")
    np.testing.assert_array_equal(readout.values["value"], [1.5, -2500, 7, np.nan])
    (readout,) = read(text)
    assert [(p.line, "is readout.decimal ','?" in p.reason) for p in readout.problems] == [(2, True), (3, True)]
    (readout,) = read(text.replace(",", "."), decimal=",")
    assert ["is readout.decimal '.'?" in problem.reason for problem in readout.problems] == [True, True]
    (readout,) = read(f"plate{mark}well{mark}value\nP1{mark}A1{mark}1.234,5\n", decimal=",")
    assert "got '1.234,5', expected a number with the decimal mark ','" in readout.problems[0].reason


@given(
    st.lists(
        st.one_of(
            st.floats().map(repr),
            st.sampled_from(
                ["", "NA", "n/a", "NaN", "1_000", "0x1", "OVER", "1,5", " 7 ", "+5", ".5", "5.", "٣", "1e999"]
            ),
            st.text(max_size=4),
        ),
        max_size=12,
    ),
    st.sampled_from(".,"),
)
def test_numbers_agree_with_a_cell_by_cell_reading(cells, decimal):
    cells = [cell.replace("\n", "").replace(".", decimal) for cell in cells]
    values, bad = to_floats(cells, decimal)
    assert len(values) == len(cells)
    for at, cell in enumerate(cells):
        text = cell.strip()
        if at in bad:
            assert np.isnan(values[at])
            continue
        if text.lower() in ("", "na", "n/a", "nan"):
            assert np.isnan(values[at])
        else:
            assert set(text) <= set("0123456789+-eE" + decimal)
            assert values[at] == float(text.replace(",", "."))
            assert np.isfinite(values[at])


def test_every_bad_cell_is_found():
    wrong = [
        "1_000",
        "0x1",
        "OVER",
        "1,5",
        "inf",
        "-Infinity",
        "٣",
        "1e999",
        "1 2",
        "--1",
        "True",
        "e5",
        ".",
        "+",
        "1.2.3",
    ]
    _, bad = to_floats(wrong, ".")
    assert bad == list(range(len(wrong)))


def test_several_features_by_name_and_pattern():
    text = "plate,well,Cells_a,note,Nuclei_b,Cells_c\nP1,A1,1,x,2,3\nP1,A2,,y,NA,OVER\nP2,A1,1,z,2,3\n"
    one, two = read(text, features=("Nuclei_b", "Cells_?"), output="Cells_a")
    assert one.numbers == two.numbers == ["Cells_a", "Nuclei_b", "Cells_c"]
    np.testing.assert_array_equal(one.values[one.numbers], [[1, 2, 3], [np.nan] * 3])
    assert [(p.line, p.reason[:31]) for p in one.problems] == [(3, "Cells_c: not a finite number; g")]
    assert two.problems == ()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("plate,well,a", "no column matches 'b\\*' of readout.features"),
        ("plate,well,b1", "no column matches 'a'"),
        ("plate,well,a,b1,b1", "column 'b1' stands there more than once"),
        ("plate,a,b1", "no column 'well'; found 'plate', 'a', 'b1'"),
    ],
)
def test_features_that_are_not_there_are_told(header, message):
    cells = ",".join(["A1"] * (header.count(",") + 1))
    with pytest.raises(RejectedInput, match=message):
        read(f"{header}\n{cells}\n", format="long", features=("a", "b*"), output="a")


def test_names_that_tables_of_wells_need_are_no_features():
    with pytest.raises(RejectedInput, match="a feature cannot be called 'row'"):
        read("plate,well,a,row\nP1,A1,1,1\n", features=("a", "row"), output="a")


def test_perturbations_and_roles_come_along_as_text():
    (readout,) = read("plate,well,value,role,perturbation\nP1,A1,1, sample ,007\nP1,A2,2,,\n")
    assert readout.values[["role", "perturbation"]].to_numpy().tolist() == [["sample", "007"], ["", ""]]
    assert readout.numbers == ["value"]


def test_very_many_problems_are_told_by_the_first_and_their_number():
    lines = "".join(f"P1,A1,bad{i}\n" for i in range(1000))
    (readout,) = read("plate,well,value\n" + lines)
    assert len(readout.problems) == 201
    assert readout.problems[-1].reason.startswith("and 1799 more problems of this plate, the last one on line 1001")


def test_the_last_line_may_be_configured_to_be_open():
    (readout,) = read("plate,well,value\nP1,A1,15", last_line="any")
    np.testing.assert_array_equal(readout.values["value"], [15])
    with pytest.raises(RejectedInput, match=r"readout.last_line: any takes such files"):
        read("plate,well,value\nP1,A1,15")


def test_unknown_forms_are_refused():
    with pytest.raises(
        UserError, match=r"readout.format: .*got excel, expected auto or parquet or anndata or long or grid"
    ):
        read("x", format="excel")


def test_real_plates_arrive_as_published(real_data):
    truth = pd.read_parquet(real_data / "kcviab/kcviab.parquet")
    names = pd.read_csv(real_data / "kcviab/raw/Platelist.txt", sep="\t")
    columns = ReadoutColumns(plate=1, well=2, value=3)
    assert len(names) == 114
    for row in names.itertuples():
        data = (real_data / "kcviab/raw" / row.Filename).read_bytes()
        (readout,) = read_plate_file(data, row.Filename, section(columns=columns), 384)
        mine = truth[(truth["plate"] == row.Plate) & (truth["replicate"] == row.Replicate)].set_index("well")["value"]
        assert readout.problems == ()
        assert len(readout.values) == 384
        np.testing.assert_array_equal(readout.values["value"], mine[readout.values["well"]])
