import pytest

from tasks.campaigns.lifecycle import PlateState
from tasks.campaigns.plates import Attempt, keep_book


def attempt(barcode, number, passed):
    return Attempt(barcode, number, f"run{number}", passed, () if passed else ("Z′ 0.1 is below 0.3",))


PLANNED = {"P1": 0, "P2": 0, "Q1": 1}


def states(book):
    return {(record.barcode, record.attempt): record.state.value for record in book.records}


def test_a_plate_that_has_not_come_is_planned():
    book = keep_book(PLANNED, [attempt("P1", 1, True)])
    assert states(book) == {("P1", 1): "passed", ("P2", 1): "planned", ("Q1", 1): "planned"}
    assert book.passed_share(0) == (1, 2)
    assert book.repeats().empty


def test_a_failed_plate_is_to_be_repeated_and_its_repeat_replaces_it():
    failed = keep_book(PLANNED, [attempt("P1", 1, False)])
    assert failed.repeats()[["barcode", "attempt"]].values.tolist() == [["P1", 2]]
    assert "P1" not in failed.used
    repeated = keep_book(PLANNED, [attempt("P1", 2, True), attempt("P1", 1, False)])
    assert states(repeated)[("P1", 1)] == "repeated"
    assert repeated.used["P1"].attempt == 2
    assert repeated.repeats().empty


def test_a_second_failure_asks_for_a_third_attempt():
    book = keep_book(PLANNED, [attempt("P1", 1, False), attempt("P1", 2, False)])
    assert book.repeats()[["barcode", "attempt"]].values.tolist() == [["P1", 3]]
    assert states(book)[("P1", 1)] == "repeated"
    assert states(book)[("P1", 2)] == "failed"


def test_a_needless_repeat_that_fails_does_not_lose_the_plate():
    book = keep_book(PLANNED, [attempt("P1", 1, True), attempt("P1", 2, False)])
    assert book.used["P1"].attempt == 1
    assert book.repeats().empty


@pytest.mark.parametrize("state", list(PlateState))
def test_a_state_only_leads_where_the_drawing_says(state):
    assert state not in state.next_states
    assert all(isinstance(other, PlateState) for other in state.next_states)
    ends = {PlateState.PASSED, PlateState.REPEATED, PlateState.ABANDONED}
    assert (not state.next_states) == (state in ends)


def test_only_passed_and_waived_plates_are_used():
    assert {state for state in PlateState if state.is_used} == {PlateState.PASSED, PlateState.WAIVED}
