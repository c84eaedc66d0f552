"""What changed between two screens: each list against its definition, and which step is to blame."""

import numpy as np
import pandas as pd
import pytest
from published import lock, record, screen

from tasks.errors import UserError
from tasks.publishing.diff import Side, compare_locks, compare_screens

PLATES = ["barcode", "attempt", "state", "reason"]


def side(number, made=None, locked=None, plates=()):
    table = pd.DataFrame(plates, columns=PLATES)
    return Side(number, number - 1, 1, screen() if made is None else made, locked or lock(), table)


def names(changes):
    return [change.perturbation for change in changes]


def test_nothing_changed_is_nothing():
    diff = compare_screens(side(1), side(2))
    assert (diff.before, diff.after) == ({"screen": 1, "round": 0, "run": 1}, {"screen": 2, "round": 1, "run": 1})
    rest = diff.model_dump(exclude={"before", "after"})
    assert [name for name, found in rest.items() if found] == []


def altered(source="measured", **cells):
    """The screen with other cells: column = {perturbation: value}."""
    made = screen().copy()
    for column, given in cells.items():
        for name, value in given.items():
            made.obs.loc[name, column] = value
    return made


def test_values_are_held_against_their_errors_the_tolerance_and_their_sign():
    before = screen()
    value = before.obs["value"]
    # measured rows have standard error 0.2, predicted ones 0.5: together 0.283 and 0.707
    steps = {"CPD-005": 0.28, "CPD-006": 0.29, "CPD-020": 0.70, "CPD-021": 0.71, "CPD-007": -3.0}
    after = altered(value={name: value[name] + step for name, step in steps.items()})
    diff = compare_screens(side(1, before), side(2, after))
    assert names(diff.beyond_errors) == ["CPD-007", "CPD-006", "CPD-021"]
    assert [change.standard_errors for change in diff.beyond_errors] == pytest.approx(
        [3 / 0.2 / 2**0.5, 0.29 / 0.2 / 2**0.5, 0.71 / 0.5 / 2**0.5]
    )
    assert names(diff.beyond_tolerance) == ["CPD-007", "CPD-021", "CPD-020"]
    crossed = [name for name in before.obs_names if np.sign(value[name]) != np.sign(after.obs["value"][name])]
    assert names(diff.crossed) == crossed
    assert "CPD-007" in crossed or value["CPD-007"] < 0
    reasons = {change.perturbation: change.why for change in diff.beyond_errors}
    assert reasons["CPD-007"] == "the same wells, aligned otherwise"
    assert reasons["CPD-021"] == "predicted by another model"


def test_who_was_measured_is_told_both_ways_and_explains_the_value():
    before, after = screen(), screen(rows=40, seed=0)
    later = after.copy()
    later.obs.loc["CPD-030", ["source", "value", "round", "n", "plates"]] = ["measured", 9.0, 2, 1, "P7"]
    later.obs.loc["CPD-005", ["n", "plates", "value"]] = [3, "P1;P2;P7", -9.0]
    there, back = (
        compare_screens(*pair) for pair in ((side(1, before), side(2, later)), (side(2, later), side(1, before)))
    )
    assert there.newly_measured == back.no_longer_measured == ["CPD-030"]
    assert there.no_longer_measured == back.newly_measured == []
    assert there.measured_again == back.measured_again == ["CPD-005"]
    assert {change.perturbation: change.why for change in there.beyond_errors} == {
        "CPD-030": "measured in round 2",
        "CPD-005": "measured from other wells",
    }
    assert {change.why for change in back.beyond_errors} == {
        "its measurement is not used any more",
        "measured from other wells",
    }


def test_classes_are_compared_as_classes():
    before = screen("binary")
    after = before.copy()
    rows = before.obs.index[-2:]
    after.obs.loc[rows, "value"] = 1.0 - before.obs.loc[rows, "value"]
    diff = compare_screens(side(1, before), side(2, after))
    assert names(diff.crossed) == list(rows)
    assert diff.beyond_tolerance == []


def test_a_difference_without_any_error_has_no_number():
    before = screen("binary", variance=0.0)
    after = before.copy()
    after.obs.loc["CPD-000", "value"] = 1 - before.obs.loc["CPD-000", "value"]
    (change,) = compare_screens(side(1, before), side(2, after)).beyond_errors
    assert change.standard_errors is None


def test_flags_certificate_plates_and_versions():
    before = screen()
    after = screen(certificate={"bound": 0.95, "estimate": None})
    after.obs.loc["CPD-039", "flags"] = "vetoed"
    old = [("P1", 1, "failed", "zprime"), ("P2", 1, "passed", "fine")]
    new = [("P1", 1, "waived", "waived: known (zprime)"), ("P2", 1, "passed", "fine"), ("P3", 1, "passed", "fine")]
    diff = compare_screens(side(1, before, plates=old), side(2, after, lock(numpy="2.1"), plates=new))
    assert [change.model_dump() for change in diff.plates] == [
        {"name": "P1.1", "before": "failed: zprime", "after": "waived: waived: known (zprime)"},
        {"name": "P3.1", "before": None, "after": "passed: fine"},
    ]
    assert [(c.name, c.before, c.after) for c in diff.certificate] == [
        ("bound", 0.91277, 0.95),
        ("estimate", 0.953, None),
    ]
    assert [(c.name, c.before, c.after) for c in diff.versions] == [("numpy", "2.0", "2.1")]
    assert [(c.name, c.after) for c in diff.flags if c.after == "vetoed"] == [("CPD-039", "vetoed")]
    older = before.copy()
    del older.obs["flags"], older.var["tolerance"]
    assert {c.before for c in compare_screens(side(1, older), side(2, after)).flags} == {""}


def test_screens_of_two_libraries_are_refused():
    with pytest.raises(UserError, match="not of one library"):
        compare_screens(side(1), side(2, screen(rows=41)))


def test_a_lock_names_every_step_that_differs_and_those_that_led_to_it_first():
    plate, labels, fit = (
        record("plate", "1", "1"),
        record("labels", "2", "2", inputs={"plate": "1" * 64}),
        record("fit", "3", "3", inputs={"labels": "2" * 64}, params={"members": 4}),
    )
    before = lock(plate, labels, fit, record("old", "9", "9"))
    after = lock(
        record("plate", "4", "4", version=2),
        record("labels", "5", "5", inputs={"plate": "4" * 64}),
        record("fit", "6", "6", inputs={"labels": "5" * 64}, params={"members": 8}),
        record("copy", "7", "3"),
    )
    found = [(change.node, change.reason, change.root) for change in compare_locks(before, after)]
    assert found == [
        ("plate", "stage version 1 → 2", True),
        ("copy", "is new", False),
        ("fit", "members 4 → 8; input labels changed", False),
        ("labels", "input plate changed", False),
        ("old", "is gone", False),
    ]
    assert compare_locks(before, before) == []


def test_the_same_step_with_another_output_is_named():
    (change,) = compare_locks(lock(record("fit", "1", "1")), lock(record("fit", "1", "2")))
    assert (change.reason, change.root) == ("the same inputs gave another output", True)
