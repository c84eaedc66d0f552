from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.campaigns.config import ReadoutColumns, ReadoutSection
from tasks.readouts.formats import PlateReadout
from tasks.readouts.ingest import (
    WELL_COLUMNS,
    RejectedInput,
    feature_columns,
    match_platemap,
    match_plates,
    read_plate_file,
    reference_features,
    resolve_copies,
)
from tasks.readouts.wells import PLATE_SHAPES, position_to_well

SECTION = ReadoutSection(tolerance=1.0)


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
    return read_plate_file(text.encode(), name, SECTION, 96)


def _match_one(text: str) -> pd.DataFrame:
    (readout,) = _read(text)
    return match_platemap(readout, MAP, SECTION)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiter_mark_and_line_ends_do_not_matter(mark, bom, end):
    data = bom + GOOD.replace(",", mark).replace("\n", end).encode()
    (readout,) = read_plate_file(data, "day1.csv", SECTION, 96)
    pd.testing.assert_frame_equal(match_platemap(readout, MAP, SECTION), _match_one(GOOD))


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
    (readout,) = read_plate_file(text.encode(), "a.csv", ReadoutSection(tolerance=1.0, columns=names), 96)
    assert (readout.barcode, readout.attempt, readout.run) == ("P1", 2, "week 7")
    assert list(readout.values["line"]) == [3]


def test_several_plates_and_attempts_of_one_file():
    text = "plate,well,value,attempt\nP2,A1,1,1\nP1,A1,2,2\nP1,A1,3,1\nP2,A2,4,1\n"
    assert [(r.barcode, r.attempt, len(r.values)) for r in _read(text)] == [("P1", 1, 1), ("P1", 2, 1), ("P2", 1, 2)]


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=5, max_size=5), st.permutations(range(5)))
def test_values_arrive_bit_for_bit_in_any_order_of_lines(values, order):
    lines = [f"P1,A{i + 1},{value!r}" for i, value in enumerate(values)]
    wells = _match_one("plate,well,value\n" + "\n".join(lines[i] for i in order) + "\n")
    np.testing.assert_array_equal(wells["value"], values)


@pytest.mark.parametrize(
    "value", ["1_000", "'1,5'", "inf", "-Infinity", "1e999", "0x10", "٣", "OVER", "True", "1 2", "--1"]
)
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(RejectedInput, match=r"day1\.csv, plate P1, line 2: not a finite number; got"):
        _match_one(f"plate\twell\tvalue\nP1\tA1\t{value}\n")


def test_all_problems_of_a_plate_are_reported_together_with_their_lines():
    text = "plate,well,value\nP1,A1,1\nP1,A01,2\nP1,Z9,3\nP1,H12,4\nP1,A2,bad\nP1,A13,worse\n"
    with pytest.raises(RejectedInput) as caught:
        _match_one(text)
    found = [(rejection.line, rejection.reason) for rejection in caught.value.rejections]
    assert [line for line, _ in found] == [3, 4, 5, 6, 7, 7]
    expected = ["named twice, got A01 here and on line 2", "outside", "4 in H12", "'bad'", "'worse'", "outside"]
    for (_, reason), words in zip(found, expected, strict=True):
        assert words in reason
    assert "and 1 more" in str(caught.value)


def test_unknown_barcode_is_refused():
    with pytest.raises(RejectedInput, match="unknown barcode, got 'P9'"):
        _match_one("plate,well,value\nP9,A1,1\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file"),
        (" \n\t\n", "empty file"),
        (",,,\n", "empty file"),
        ("plate,Well,value\nP1,A1,1\n", "line 1: no column 'well'; found 'plate', 'Well', 'value'"),
        ("Plate,well,value\nP1,A1,1\n", "line 1: no column 'plate'; found 'Plate', 'well', 'value'"),
        ("plate,well,signal\nP1,A1,1\n", "no column 'value'; found 'plate', 'well', 'signal' (comma-separated)"),
        ("plate,well,value\n", "no data line"),
        ("plate,well,value,value\nP1,A1,1,1\n", "'value' stands there more than once"),
        ("plate,well,value\nP1,A1\n", "line 2: 2 cells, expected 3"),
        ("plate,well,value\nP1,A1,1,5\n", "line 2: 4 cells, expected 3"),
        ("plate,well,value,attempt\nP1,A1,1,0\n", "attempt is '0'"),
        ("plate,well,value,attempt\nP1,A1,1,1.0\n", "attempt is '1.0'"),
        ("plate,well,value\n,A1,1\n", "empty cell in column 'plate'"),
        ('plate,well,value\nP1,"A1,1\n', "line 2: cannot be split into cells: unexpected end of data"),
        ('plate,well,note,value\nP1,A1,"a,1\nP1,A2,b",2\nP1,A3,c,1\n', "line 2: a quoted cell runs over lines 2 to 3"),
        ('plate,well,value\nP1,"A1"x,1\n', "line 2: cannot be split into cells"),
        ('"plate,well,value"\n"P1,A01,1"\n', "found 'plate,well,value'; is the whole line quoted?"),
        ('\n"plate;well;value"\n"P1;A01;1"\n', "line 2: neither a header that names 'plate', 'well', 'value'"),
        ('plate,"well,value"\nP1,"A01,1"\n', "neither a header that names"),
        ("plate,well,value\u2028x\nP1,A1,1\n", "no column 'value'"),
        ("dear lab\nplease ignore\n", "nor a grid of 8 × 12 cells (plates.format 96); found 'dear lab'"),
        ("plate,well,value\nP1,A1,1", "line 2: the last line has no line end: the upload was cut off?"),
        ("plate,well,value\nP1,A1,1\0\n", "line 2: NUL byte in the text"),
        ("plate,well,value\nP1,A1,1\x1b\n", "line 2: control character U+001B"),
        ("PK\x03\x04 xl/workbook", "a zip file or an Excel workbook, expected text: export it as CSV"),
    ],
)
def test_unreadable_files_say_what_is_wrong_and_where(text, message):
    with pytest.raises(RejectedInput) as caught:
        _read(text)
    assert message in str(caught.value)
    assert "file day1.csv refused" in str(caught.value)
    assert all(rejection.source == "day1.csv" for rejection in caught.value.rejections)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-16", "looks like UTF-16, expected UTF-8: save it as CSV UTF-8"),
        ("utf-16-le", "looks like UTF-16"),
        ("utf-16-be", "looks like UTF-16"),
        ("utf-32", "looks like UTF-16"),
        (
            "latin-1",
            r"line 2: not UTF-8 at byte 19 \(0xe4\), .*; looks like Latin-1 or Windows-1252: save it as CSV UTF-8",
        ),
    ],
)
def test_other_encodings_are_named_with_what_to_do(encoding, message):
    data = "plate,well,value\nPlätze,A1,1\n".encode(encoding)
    with pytest.raises(RejectedInput, match=message):
        read_plate_file(data, "a.csv", SECTION, 96)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("P1,A1,1,\n", "line 2: empty cell in column 'run', expected the name of a run"),
        ("P1,A1,1,a\nP1,A2,1,b\n", "line 3: run 'b', expected 'a' as on line 2 of the same plate attempt"),
    ],
)
def test_a_plate_without_one_run_is_refused_alone(lines, message):
    matched = match_plates(_read("plate,well,value,run\n" + lines + "P2,A1,1,a\n"), MAP, SECTION)
    assert set(matched.wells["barcode"]) == {"P2"}
    assert [str(rejection) for rejection in matched.rejections] == [f"day1.csv, plate P1, {message}"]


def test_a_refused_plate_does_not_stop_the_others():
    readouts = _read("plate,well,value\nP1,A1,oops\nP2,A1,5\nP9,A1,1\n")
    matched = match_plates(readouts[::-1], MAP, SECTION)
    assert set(matched.wells["barcode"]) == {"P2"}
    assert len(matched.wells) == 5
    assert [(r.plate, r.line) for r in matched.rejections] == [("P1", 2), ("P9", None)]
    (alone,) = (r for r in readouts if r.barcode == "P2")
    pd.testing.assert_frame_equal(matched.wells, match_platemap(alone, MAP, SECTION))


def test_nothing_accepted_still_gives_a_table():
    matched = match_plates(_read("plate,well,value\nP9,A1,1\n"), MAP, SECTION)
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
    assert not written.head.same_content(other.head)
    (unwritten,) = _read("plate,well,value\nP1,A1,1\n", "a.csv")
    assert not written.head.same_content(unwritten.head)


def test_a_copy_with_problems_stands_aside_for_one_without():
    sound, broken = _read(GOOD, "b.csv"), _read("plate,well,value\nP1,A1,OVER\n", "a.csv")
    for files in (sound + broken, broken + sound):
        kept, rejections = resolve_copies(files)
        assert [readout.source for readout in kept] == ["b.csv"]
        assert [(rejection.source, rejection.line) for rejection in rejections] == [("a.csv", 2)]
    kept, rejections = resolve_copies(_read("plate,well,value\nP1,A1,OVER\n", "c.csv") + broken)
    assert [readout.source for readout in kept] == ["a.csv"]
    assert [rejection.source for rejection in rejections] == ["c.csv"]


def test_numbers_count_and_not_how_they_are_written():
    (one,), (other,) = _read("plate,well,value\nP1,A1,1\nP1,A2,\n"), _read("plate,well,value\nP1,a01,1.0\nP1,A2,NA\n")
    assert one.head.same_content(other.head)
    (another,) = _read("plate,well,value\nP1,A1,1.0000001\nP1,A2,\n")
    assert not one.head.same_content(another.head)


def test_an_instrument_that_reads_whole_plates_may_report_empty_wells():
    rows = [f"P1,{well},{10 + i}" for i, well in enumerate(MAP.loc[MAP["barcode"] == "P1", "well"])]
    whole = _match_one("plate,well,value\n" + "\n".join(rows) + "\n")
    np.testing.assert_array_equal(whole["value"], [10, 11, 12, 13, 14])
    with pytest.raises(RejectedInput, match="line 7: got value 15 in A06, which the plate map says is empty"):
        _match_one("plate,well,value\n" + "\n".join(rows[:20]) + "\n")


def test_roles_and_perturbations_of_the_file_must_agree_with_the_plate_map():
    text = "plate,well,value,role,perturbation\n"
    good = "P1,A1,1,negcon,DMSO\nP1,A2,1,poscon,\nP1,A3,1,,x\nP1,A4,1,sample,\nP1,A5,1,sample,z\n"
    (readout,) = _read(text + good)
    reagents = {"negcon": "DMSO"}
    wells = match_platemap(readout, MAP, SECTION, reagents=reagents)
    assert list(wells.columns) == WELL_COLUMNS
    bad = "P1,A1,1,poscon,DMSO\nP1,A2,1,poscon,DMSO\nP1,A3,1,sample,y\nP1,A4,1,sample,w\nP1,A5,1,sample,z\n"
    (readout,) = _read(text + bad)
    with pytest.raises(RejectedInput) as caught:
        match_platemap(readout, MAP, SECTION, reagents=reagents, library=lambda: ["x", "y", "z"])
    unknown = "which neither a plate map nor the library knows, "
    assert [(r.line, r.reason.removesuffix(" as in the plate map")) for r in caught.value.rejections] == [
        (2, "role 'poscon' in A01, expected 'negcon'"),
        (3, f"perturbation 'DMSO' in A02, {unknown}expected none in a well of role poscon"),
        (4, "perturbation 'y' in A03, expected 'x'"),
        (5, f"perturbation 'w' in A04, {unknown}expected 'y'"),
    ]


@pytest.mark.parametrize(("transform", "log"), [("log2", np.log2), ("log10", np.log10)])
def test_logarithms_are_taken_and_refuse_what_is_not_positive(transform, log):
    section = ReadoutSection(tolerance=1.0, transform=transform)
    (readout,) = _read(GOOD)
    np.testing.assert_array_equal(match_platemap(readout, MAP, section)["value"], log([1.5, 2, 30, np.nan, np.nan]))
    (readout,) = _read("plate,well,value\nP1,A1,0\nP1,A2,5\nP1,A3,-1\n")
    with pytest.raises(RejectedInput) as caught:
        match_platemap(readout, MAP, section)
    assert [(r.line, r.reason) for r in caught.value.rejections] == [
        (2, f"A01 is 0, expected a positive number (readout.transform {transform})"),
        (4, f"A03 is -1, expected a positive number (readout.transform {transform})"),
    ]


def _profile(barcode: str, names: str, source: str = "a.csv") -> PlateReadout:
    values = ",".join(str(i) for i in range(1, names.count(",") + 2))
    data = f"plate,well,{names}\n{barcode},A1,{values}\n{barcode},A2,{values}\n"
    (readout,) = read_plate_file(data.encode(), source, PROFILES, 96)
    return readout


PROFILES = ReadoutSection(tolerance=1.0, features=("f*",), output="f1")


def test_features_stand_beside_the_output():
    wells = match_platemap(_profile("P1", "f2,f1,other"), MAP, PROFILES)
    assert list(wells.columns) == [*WELL_COLUMNS, "f1", "f2"]
    assert feature_columns(wells) == ["f1", "f2"]
    assert feature_columns(wells.assign(aligned=0.0, reagent="")) == ["f1", "f2"]
    np.testing.assert_array_equal(wells.loc[:1, ["value", "f1", "f2"]], [[2, 2, 1]] * 2)
    assert wells.loc[2:, ["value", "f1", "f2"]].isna().all(axis=None)


def test_another_feature_set_is_refused_and_names_what_differs():
    with pytest.raises(RejectedInput, match=r"lacks 'f3' and has also 'f2'; expected the same 2 features"):
        match_platemap(_profile("P1", "f1,f2"), MAP, PROFILES, features=("f3", "f1"))
    assert len(match_platemap(_profile("P1", "f2,f1"), MAP, PROFILES, features=("f1", "f2")))


def test_the_features_of_a_campaign_are_those_of_most_plates_of_its_first_round():
    rounds = {"P1": 0, "P2": 0, "P3": 0, "P4": 1}
    many = [_profile(barcode, "f1,f2,f3") for barcode in ("P4",)]
    two, one = [_profile(barcode, "f1,f2") for barcode in ("P2", "P3")], [_profile("P1", "f1")]
    assert reference_features(many + one + two, rounds) == ("f1", "f2")
    assert reference_features(many + two[:1] + one, rounds) == ("f1",)
    assert reference_features(many, rounds) == ("f1", "f2", "f3")
    assert reference_features([], rounds) is None
