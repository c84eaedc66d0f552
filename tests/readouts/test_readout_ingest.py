from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.campaigns.config import ReadoutColumns
from tasks.readouts.ingest import (
    WELL_COLUMNS,
    RejectedInput,
    match_platemap,
    match_plates,
    read_plate_file,
    resolve_copies,
)
from tasks.readouts.wells import PLATE_SHAPES, position_to_well

COLUMNS = ReadoutColumns()


def _platemap(*barcodes: str) -> pd.DataFrame:
    """96 wells: A01 negcon, A02 poscon, A03-A05 samples, the rest empty."""
    rows, columns = PLATE_SHAPES[96]
    table = pd.DataFrame(
        [
            (barcode, position_to_well(r, c, 96), r, c, "empty", "", 0)
            for barcode in barcodes
            for r in range(rows)
            for c in range(columns)
        ],
        columns=["barcode", "well", "row", "column", "role", "perturbation", "replicate"],
    )
    table.loc[table["well"] == "A01", "role"] = "negcon"
    table.loc[table["well"] == "A02", "role"] = "poscon"
    for well, name in (("A03", "x"), ("A04", "y"), ("A05", "z")):
        table.loc[table["well"] == well, ["role", "perturbation", "replicate"]] = ["sample", name, 1]
    return table


MAP = _platemap("P1", "P2")
GOOD = "plate,well,value\nP1,A1,1.5\nP1,a02,2\nP1,A003,3e1\nP1,A4,\nP1,B1,NA\n"


def _read(text: str, name: str = "day1.csv"):
    return read_plate_file(text.encode(), name, COLUMNS)


def _match_one(text: str) -> pd.DataFrame:
    (readout,) = _read(text)
    return match_platemap(readout, MAP, 96)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiter_mark_and_line_ends_do_not_matter(mark, bom, end):
    data = bom + GOOD.replace(",", mark).replace("\n", end).encode()
    (readout,) = read_plate_file(data, "day1.csv", COLUMNS)
    pd.testing.assert_frame_equal(match_platemap(readout, MAP, 96), _match_one(GOOD))


def test_wells_of_a_plate_are_complete_and_in_order():
    wells = _match_one(GOOD)
    assert list(wells.columns) == WELL_COLUMNS
    assert list(wells["well"]) == ["A01", "A02", "A03", "A04", "A05"]
    np.testing.assert_array_equal(wells["value"], [1.5, 2.0, 30.0, np.nan, np.nan])
    assert set(wells["run"]) == {"day1"}
    assert set(wells["attempt"]) == {1}


def test_quoted_cells_blank_lines_further_columns_and_other_names():
    text = '"Barcode";"Pos";"note";"OD";"batch";"try"\n\nP1;"A1";"a; b";0.5;week 7;2\n'
    names = ReadoutColumns(plate="Barcode", well="Pos", value="OD", run="batch", attempt="try")
    (readout,) = read_plate_file(text.encode(), "a.csv", names)
    assert (readout.barcode, readout.attempt, readout.run) == ("P1", 2, "week 7")
    assert list(readout.values["line"]) == [3]


def test_several_plates_and_attempts_of_one_file():
    text = "plate,well,value,attempt\nP2,A1,1,1\nP1,A1,2,2\nP1,A1,3,1\nP2,A2,4,1\n"
    assert [(r.barcode, r.attempt, len(r.values)) for r in _read(text)] == [("P1", 1, 1), ("P1", 2, 1), ("P2", 1, 2)]


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=5, max_size=5), st.permutations(range(5)))
def test_values_arrive_bit_for_bit_in_any_order_of_lines(values, order):
    lines = [f"P1,A{i + 1},{value!r}" for i, value in enumerate(values)]
    wells = _match_one("plate,well,value\n" + "\n".join(lines[i] for i in order))
    np.testing.assert_array_equal(wells["value"], values)


@pytest.mark.parametrize(
    "value", ["1_000", "'1,5'", "inf", "-Infinity", "1e999", "0x10", "٣", "OVER", "True", "1 2", "--1"]
)
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(RejectedInput, match=r"day1\.csv, plate P1, line 2: not a finite number"):
        _match_one(f"plate\twell\tvalue\nP1\tA1\t{value}\n")


def test_all_problems_of_a_plate_are_reported_together_with_their_lines():
    text = "plate,well,value\nP1,A1,1\nP1,A01,2\nP1,Z9,3\nP1,H12,4\nP1,A2,bad\nP1,A13,worse\n"
    with pytest.raises(RejectedInput) as caught:
        _match_one(text)
    found = [(rejection.line, rejection.reason) for rejection in caught.value.rejections]
    assert [line for line, _ in found] == [3, 4, 5, 6, 7, 7]
    expected = ["named twice, got A01 here and on line 2", "outside", "4 in H12", "'bad'", "outside", "'worse'"]
    for (_, reason), words in zip(found, expected, strict=True):
        assert words in reason
    assert "and 1 more" in str(caught.value)


def test_unknown_barcode_is_refused():
    with pytest.raises(RejectedInput, match="unknown barcode, got 'P9'"):
        _match_one("plate,well,value\nP9,A1,1\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'plate', 'well', 'value'; found an empty file"),
        ("Plate,well,signal\nP1,A1,1\n", "no column 'plate', 'value'; found 'Plate', 'well', 'signal'"),
        ("plate,well,value\n", "no data line"),
        ("plate,well,value,value\nP1,A1,1,1\n", "'value' stands there more than once"),
        ("plate,well,value\nP1,A1\n", "line 2: 2 cells, expected 3"),
        ("plate,well,value\nP1,A1,1,5\n", "line 2: 4 cells, expected 3"),
        ("plate,well,value,attempt\nP1,A1,1,0\n", "attempt is '0'"),
        ("plate,well,value,attempt\nP1,A1,1,1.0\n", "attempt is '1.0'"),
        ("plate,well,value,run\nP1,A1,1,\n", "empty cell in column 'run'"),
        ("plate,well,value\n,A1,1\n", "empty cell in column 'plate'"),
        ("plate,well,value,run\nP1,A1,1,a\nP1,A2,1,b\n", "line 3: run 'b', expected 'a' as on line 2"),
        ('plate,well,value\nP1,"A1,1\n', "cannot be split"),
        ('"plate,well,value"\n"P1,A01,1"\n', "found 'plate,well,value' (comma-separated); is the whole line quoted?"),
        ('\n"plate;well;value"\n"P1;A01;1"\n', "line 2: no column 'plate', 'well', 'value'"),
        ('plate,"well,value"\nP1,"A01,1"\n', "no column 'well', 'value'; found 'plate', 'well,value'"),
        ("plate,well,value\u2028x\nP1,A1,1\n", "no column 'value'"),
        ('"plate,well,value\nP1,A1,1\n', "cannot be split"),
    ],
)
def test_unreadable_files_say_what_is_wrong_and_where(text, message):
    with pytest.raises(RejectedInput) as caught:
        _read(text)
    assert message in str(caught.value)
    assert "file day1.csv refused" in str(caught.value)
    assert all(rejection.source == "day1.csv" for rejection in caught.value.rejections)


def test_other_encodings_are_refused():
    with pytest.raises(RejectedInput, match="not UTF-8 at byte 2"):
        read_plate_file("plätz".encode("latin-1"), "a.csv", COLUMNS)


def test_a_refused_plate_does_not_stop_the_others():
    readouts = _read("plate,well,value\nP1,A1,oops\nP2,A1,5\nP9,A1,1\n")
    matched = match_plates(readouts[::-1], MAP, 96)
    assert set(matched.wells["barcode"]) == {"P2"}
    assert len(matched.wells) == 5
    assert [(r.plate, r.line) for r in matched.rejections] == [("P1", 2), ("P9", None)]
    (alone,) = (r for r in readouts if r.barcode == "P2")
    pd.testing.assert_frame_equal(matched.wells, match_platemap(alone, MAP, 96))


def test_nothing_accepted_still_gives_a_table():
    matched = match_plates(_read("plate,well,value\nP9,A1,1\n"), MAP, 96)
    assert list(matched.wells.columns) == WELL_COLUMNS
    assert matched.wells.empty


def test_the_same_content_twice_counts_once_and_contradictions_are_refused():
    text = "plate,well,value,run\nP1,A1,1,r\nP1,A2,2,r\n"
    shuffled = "plate,well,value,run\nP1,A2,2,r\nP1,A1,1,r\n"
    other = "plate,well,value,run\nP1,A1,1,r\nP1,A2,3,r\nP2,A1,1,r\n"
    kept, rejections = resolve_copies(_read(shuffled, "b.csv") + _read(text, "a.csv"))
    assert [readout.source for readout in kept] == ["a.csv"]
    assert rejections == ()
    for files in ((text, other), (other, text)):
        kept, rejections = resolve_copies([r for i, file in enumerate(files) for r in _read(file, f"{i}.csv")])
        assert [readout.barcode for readout in kept] == ["P2"]
        assert [rejection.source for rejection in rejections] == ["0.csv", "1.csv"]
        assert "attempt 1 differs between 0.csv, 1.csv" in rejections[0].reason


def test_a_copy_under_another_name_is_the_same_unless_its_runs_are_written_and_differ():
    (mine,), (copy,) = _read(GOOD, "day1.csv"), _read(GOOD, "copy of day1.csv")
    assert (mine.run, mine.run_written) == ("day1", False)
    kept, rejections = resolve_copies([mine, copy])
    assert [readout.source for readout in kept] == ["copy of day1.csv"]
    assert rejections == ()
    (written,), (other,) = (_read(f"plate,well,value,run\nP1,A1,1,{run}\n") for run in "ab")
    assert written.run_written
    assert not written.same_content(other)
    (unwritten,) = _read("plate,well,value\nP1,A1,1\n", "a.csv")
    assert not written.same_content(unwritten)
