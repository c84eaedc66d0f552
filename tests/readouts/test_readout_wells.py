from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import UserError
from tasks.readouts.wells import (
    PLATE_SHAPES,
    expand_wells,
    is_edge,
    normalise_well,
    position_to_well,
    well_to_position,
)

FORMATS = sorted(PLATE_SHAPES)


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_position_has_its_own_name_and_comes_back(fmt):
    rows, columns = PLATE_SHAPES[fmt]
    positions = [(row, column) for row in range(rows) for column in range(columns)]
    names = [position_to_well(*position, fmt) for position in positions]
    assert len(set(names)) == fmt
    assert [well_to_position(name, fmt) for name in names] == positions


@given(st.sampled_from(FORMATS), st.data())
def test_every_spelling_becomes_one_name(fmt, data):
    rows, columns = PLATE_SHAPES[fmt]
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    name = position_to_well(row, column, fmt)
    letters = name.rstrip("0123456789")
    zeros = "0" * data.draw(st.integers(0, 3))
    text = f" {data.draw(st.sampled_from([letters, letters.lower()]))}{zeros}{column + 1}"
    assert normalise_well(text, fmt) == name


def test_names_at_the_corners():
    assert position_to_well(31, 47, 1536) == "AF48"
    assert position_to_well(26, 0, 1536) == "AA01"
    assert position_to_well(15, 23, 384) == "P24"
    assert well_to_position("z48", 1536) == (25, 47)


@pytest.mark.parametrize(
    ("text", "fmt"),
    [
        *((text, 96) for text in ("", "A", "1A", "A0", "A-1", "A1.5", "A001x", "Ä1", "A٣", "I1", "A13")),
        *((text, 384) for text in ("Q1", "A25")),
        *((text, 1536) for text in ("AAA1", "AG1", "AA49")),
    ],
)
def test_what_is_no_well_is_refused_with_the_plates_range(text, fmt):
    last = {96: "H12", 384: "P24", 1536: "AF48"}[fmt]
    with pytest.raises(UserError, match=f"well from A01 to {last}"):
        normalise_well(text, fmt)


def test_unknown_format_and_position_are_refused():
    with pytest.raises(UserError, match="96, 384 or 1536"):
        normalise_well("A1", 24)
    with pytest.raises(UserError, match="row 8, column 0"):
        position_to_well(8, 0, 96)


def test_rectangles_are_spelled_out_row_by_row():
    assert expand_wells(("H12", "a1:B3"), 96) == ["H12", "A01", "A02", "A03", "B01", "B02", "B03"]


@pytest.mark.parametrize(
    ("wells", "message"),
    [
        (("A01:B02", "B2"), "B02 in 'A01:B02' and in 'B2'"),
        (("B02:A01",), "wrong way round"),
        (("A01:",), "not a well"),
        (("A01:B02:C03",), "not a well"),
        (("A01:I01",), "outside the 96-well plate"),
    ],
)
def test_bad_lists_of_wells_are_refused(wells, message):
    with pytest.raises(UserError, match=message):
        expand_wells(wells, 96)


@pytest.mark.parametrize("fmt", FORMATS)
def test_edge_is_the_outermost_ring(fmt):
    rows, columns = PLATE_SHAPES[fmt]
    edge = sum(is_edge(row, column, fmt) for row in range(rows) for column in range(columns))
    assert edge == fmt - (rows - 2) * (columns - 2)
    assert not is_edge(1, 1, fmt)
