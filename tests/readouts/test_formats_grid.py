from __future__ import annotations

import numpy as np
import pytest

from tasks.campaigns.config import ReadoutSection
from tasks.readouts.ingest import RejectedInput, read_plate_file
from tasks.readouts.wells import PLATE_SHAPES, plate_wells, row_letters


def block(values, mark=",", letters=False, numbers=False, corner="", closed=False, pad=False):
    """Values as lines of text, as readers write them."""
    rows, columns = values.shape
    lines = []
    if numbers:
        heads = [f"{i + 1:02d}" if pad else str(i + 1) for i in range(columns)]
        lines.append(mark.join(([corner] if letters or corner else []) + heads))
    for row in range(rows):
        cells = ["" if np.isnan(v) else repr(float(v)) for v in values[row]]
        lines.append(mark.join(([row_letters(row)] if letters else []) + cells))
    return "".join(line + (mark if closed else "") + "\n" for line in lines)


def made(fmt, seed=0):
    return np.random.default_rng(seed).normal(1e4, 1e3, PLATE_SHAPES[fmt]).round(2)


def read(text, name="P7.csv", fmt=96, **changes):
    return read_plate_file(text.encode(), name, ReadoutSection(tolerance=1.0, **changes), fmt)


@pytest.mark.parametrize("fmt", sorted(PLATE_SHAPES))
@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize(
    "style",
    [
        {},
        {"letters": True},
        {"numbers": True},
        {"letters": True, "numbers": True},
        {"letters": True, "numbers": True, "closed": True, "pad": True},
        {"letters": True, "numbers": True, "corner": "<>"},
        {"closed": True},
    ],
    ids=str,
)
def test_a_grid_reads_as_it_stands_in_every_style(fmt, mark, style):
    values = made(fmt)
    values[1, 3] = np.nan
    text = block(values, mark, **style)
    for title, barcode in (
        ("", "P7"),
        ("P1\n", "P1"),
        (f"Plate: P1{mark}{mark}\n\n", "P1"),
        (f"Barcode{mark}P1\n", "P1"),
    ):
        (readout,) = read(title + text, fmt=fmt)
        assert (readout.barcode, readout.problems) == (barcode, ())
        assert tuple(readout.values["well"]) == plate_wells(fmt)
        np.testing.assert_array_equal(readout.values["value"], values.ravel())
    assert readout.values["line"].iloc[0] == (3 if style.get("numbers") else 2)


def test_a_grid_with_decimal_commas():
    values = made(96)
    text = block(values, ";", letters=True, numbers=True).replace(".", ",")
    (readout,) = read(text, decimal=",")
    np.testing.assert_array_equal(readout.values["value"], values.ravel())
    (readout,) = read(text)
    assert len(readout.problems) == 96
    assert readout.problems[0].reason.startswith("A01: not a finite number; got '")
    assert readout.problems[0].reason.endswith("is readout.decimal ','?")


def test_several_plates_apart_or_one_right_below_the_other():
    first, second = made(96, 1), made(96, 2)
    for gap in ("", "\n", ",,,\n\n"):
        text = f"Plate: P1\nRun: R05\nAttempt: 2\n{block(first)}{gap}P2\n{block(second, letters=True, numbers=True)}"
        one, two = read(text)
        assert (one.barcode, one.attempt, one.run, one.run_written) == ("P1", 2, "R05", True)
        assert (two.barcode, two.attempt, two.run, two.run_written) == ("P2", 1, "P7", False)
        np.testing.assert_array_equal(one.values["value"], first.ravel())
        np.testing.assert_array_equal(two.values["value"], second.ravel())


def test_the_corner_of_the_column_numbers_is_a_title():
    first, second = made(96, 1), made(96, 2)
    text = block(first, letters=True, numbers=True, corner="P1") + block(
        second, letters=True, numbers=True, corner="P2"
    )
    one, two = read(text)
    assert (one.barcode, two.barcode) == ("P1", "P2")
    np.testing.assert_array_equal(two.values["value"], second.ravel())


def test_several_features_a_well():
    grids = {
        (b, f): made(96, i) for i, (b, f) in enumerate((b, f) for b in ("P1", "P2") for f in ("DAPI", "GFP", "skip"))
    }
    text = "\n".join(f"{b};{f}\n{block(values, ';')}" for (b, f), values in grids.items())
    one, two = read(text, features=("DAPI", "G*"), output="GFP")
    assert one.numbers == two.numbers == ["DAPI", "GFP"]
    for readout in (one, two):
        for feature in readout.numbers:
            np.testing.assert_array_equal(readout.values[feature], grids[readout.barcode, feature].ravel())
    stem = "".join(f"Feature: {f}\n{block(grids['P1', f])}" for f in ("GFP", "DAPI"))
    (readout,) = read(stem, features=("DAPI", "GFP"), output="GFP")
    assert (readout.barcode, readout.numbers) == ("P7", ["GFP", "DAPI"])
    np.testing.assert_array_equal(readout.values["DAPI"], grids["P1", "DAPI"].ravel())


def test_a_plate_without_its_output_is_refused_alone():
    text = "".join(f"{title}\n{block(made(96))}" for title in ("P1,a", "P1,b", "P2,b"))
    one, two = read(text, features=("a", "b"), output="a")
    assert one.problems == ()
    assert [problem.reason for problem in two.problems] == ["no grid of 'a' (readout.output) for this plate"]


@pytest.mark.parametrize(
    ("fmt", "expected"),
    [(384, "16 × 24 cells (plates.format 384)"), (1536, "32 × 48 cells (plates.format 1536)")],
)
@pytest.mark.parametrize("style", [{}, {"letters": True, "numbers": True, "closed": True}])
def test_a_grid_of_another_plate_format_says_both_sizes(fmt, expected, style):
    (readout,) = read(block(made(96), **style), fmt=fmt)
    (problem,) = readout.problems
    assert problem.reason.startswith(f"grid of 8 × 12 cells, expected {expected}")


def without(text, line):
    lines = text.splitlines(keepends=True)
    return "".join(lines[:line] + lines[line + 1 :])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda text: without(text, 3), "grid of 7 × 12 cells, expected 8 × 12 cells"),
        (lambda text: text + text.splitlines(keepends=True)[-1], "grid of 9 × 12 cells"),
        (lambda text: text.replace("\nC,", "\nC,,"), "13 cells, expected 12 in each row"),
        (lambda text: text.replace("\nC,", "\nB,"), "row letters of the grid are not A to H, each once"),
        (lambda text: text.replace("\nC,", "\nQ,"), "row letters of the grid are not A to H"),
        (lambda text: text.replace("\nC,", "\n,"), "13 cells, expected 12"),
    ],
)
def test_a_grid_that_lost_its_shape_is_refused_alone(harm, message):
    bad, good = block(made(96), letters=True), made(96, 5)
    one, two = read(f"P1\n{harm(bad)}P2\n{block(good)}")
    assert any(message in problem.reason for problem in one.problems)
    assert two.problems == ()
    np.testing.assert_array_equal(two.values["value"], good.ravel())


def test_rows_with_letters_may_stand_in_any_order():
    values = made(96)
    lines = block(values, letters=True).splitlines(keepends=True)
    (readout,) = read("".join(lines[::-1]))
    np.testing.assert_array_equal(readout.values["value"], values.ravel())


def test_a_row_without_any_value_is_never_taken_for_a_gap_that_shifts_the_rest():
    values = made(96)
    for row in (0, 3, 7):
        gone = values.copy()
        gone[row] = np.nan
        (labelled,) = read(block(gone, letters=True))
        np.testing.assert_array_equal(labelled.values["value"], gone.ravel())
        text = block(gone) + ",,,,,,,,,,,\n"
        try:
            (readout,) = read(text)
        except RejectedInput:
            continue
        assert "Write NA into wells without a value" in readout.problems[0].reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (block(made(96)) + "\n" + block(made(96)), "line 10: 2 grids, expected the barcode of its plate above each"),
        ("P1\n" + block(made(96)) + "\n" + block(made(96)), "line 11: grid without a barcode above it"),
        ("P1\nP2\n" + block(made(96)), "line 2: title with a second barcode, got 'P2' after 'P1'"),
        (
            "User: me\n" + block(made(96)),
            "line 1: line not understood, got 'User: me', expected Plate, Barcode, Feature",
        ),
        ("P1\n" + block(made(96)) + "P2\n", "line 10: a title without a grid below it: P2"),
        ("Plate:\n" + block(made(96)), "line 1: barcode in the title is '', expected a name"),
        ("P1\nAttempt: two\n" + block(made(96)), "attempt in the title is 'two', expected a whole number from 1"),
        ("P1,DAPI\n" + block(made(96)), "grid of feature 'DAPI', but readout.features is not set"),
    ],
)
def test_what_is_not_understood_refuses_the_file_with_its_line(text, message):
    with pytest.raises(RejectedInput, match=message):
        read(text)


def test_a_second_grid_of_a_plate_and_a_grid_without_a_feature_are_told():
    (readout,) = read(f"P1\n{block(made(96))}P1\n{block(made(96))}")
    assert [(p.line, p.reason) for p in readout.problems] == [(10, "a second grid of this plate, expected one")]
    with pytest.raises(RejectedInput, match="grid that does not say its feature, expected a title such as 'P1;DAPI'"):
        read("P1\n" + block(made(96)), features=("a",), output="a")


def test_cells_that_are_no_numbers_name_their_well():
    text = block(made(96), letters=True).replace("\nC,", "\nC,OVER", 1)
    (readout,) = read(text)
    (problem,) = readout.problems
    assert problem.line == 3
    assert problem.reason.startswith("C01: not a finite number; got 'OVER")
