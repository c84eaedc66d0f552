from datetime import UTC, datetime

import pytest

from tasks.campaigns.lifecycle import PlateState
from tasks.campaigns.marks import make_mark, read_marks, write_mark
from tasks.campaigns.plates import Attempt, keep_book, marked
from tasks.checkpoints.storage import Storage
from tasks.errors import UserError

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
PLANNED = {"P1": 0, "P2": 0, "P3": 0}
FAILED = Attempt("P1", 1, "R", False, ("Z′ 0.1 is below 0.3",))
PASSED = Attempt("P2", 1, "R", True)
UNREAD = Attempt("P1", 1, "", False, ("the upload was refused",), readable=False)


def book(*attempts, **marks):
    """Marks as P1_1="waived"."""
    given = {}
    for key, state in marks.items():
        barcode, _, attempt = key.partition("_")
        given[barcode, int(attempt)] = (PlateState(state), "seen by eye")
    return keep_book(PLANNED, attempts, given)


def state(book, barcode, attempt=1):
    return next(r.state.value for r in book.records if (r.barcode, r.attempt) == (barcode, attempt))


def decide(records, barcode, to, note="seen by eye"):
    return make_mark(records, barcode, PlateState(to), note, NOW)


def test_a_waived_plate_is_used_and_says_why():
    kept = book(FAILED, PASSED, P1_1="waived")
    assert state(kept, "P1") == "waived"
    assert kept.used["P1"] is FAILED
    assert kept.passed_share(0) == (2, 3)
    assert kept.repeats().empty
    record = next(r for r in kept.records if r.barcode == "P1")
    assert record.reason == "waived: seen by eye (Z′ 0.1 is below 0.3)"


def test_an_abandoned_plate_counts_no_more_and_is_not_repeated():
    kept = book(FAILED, PASSED, P1_1="abandoned", P3_1="abandoned")
    assert kept.abandoned() == {"P1", "P3"}
    assert kept.passed_share(0) == (1, 1)
    assert kept.repeats().empty
    assert [(r.barcode, r.state.value) for r in kept.without(0)] == [("P1", "abandoned"), ("P3", "abandoned")]


def test_a_repeat_that_passes_outweighs_every_mark():
    repeat = Attempt("P1", 2, "S", True)
    for mark in ("waived", "abandoned"):
        kept = book(FAILED, repeat, P1_1=mark)
        assert kept.used["P1"] is repeat
        assert kept.abandoned() == frozenset()


def test_a_waived_attempt_stays_in_use_when_its_repeat_fails():
    kept = book(FAILED, Attempt("P1", 2, "S", False, ("again",)), P1_1="waived")
    assert kept.used["P1"] is FAILED
    assert kept.repeats().empty


def test_a_mark_has_no_effect_where_the_drawn_life_leads_elsewhere():
    assert state(book(PASSED, P2_1="waived"), "P2") == "passed"
    assert state(book(P3_1="waived"), "P3") == "planned"
    assert state(book(UNREAD, P1_1="waived"), "P1") == "failed"


@pytest.mark.parametrize(
    ("barcode", "to", "note", "said"),
    [
        ("P1", "waived", "  ", "a note is needed"),
        ("P9", "waived", "x", "no such plate"),
        ("P2", "waived", "x", "only a failed plate can be waived"),
        ("P2", "abandoned", "x", "only a failed plate can be abandoned"),
        ("P3", "waived", "x", "only a failed plate can be waived"),
    ],
)
def test_what_cannot_be_decided_is_refused(barcode, to, note, said):
    with pytest.raises(UserError, match=said):
        decide(book(FAILED, PASSED).records, barcode, to, note)


def test_a_refused_upload_cannot_be_waived():
    with pytest.raises(UserError, match="nothing to waive"):
        decide(book(UNREAD).records, "P1", "waived")
    assert decide(book(UNREAD).records, "P1", "abandoned").attempt == 1


def test_a_mark_is_about_the_newest_attempt():
    twice = book(FAILED, Attempt("P1", 2, "S", False, ("again",)))
    assert decide(twice.records, "P1", "waived").attempt == 2


def test_marks_are_written_once_and_abandoned_outweighs_waived(tmp_path):
    storage = Storage(str(tmp_path))
    first = decide(book(FAILED).records, "P1", "waived", "edge wells   dried")
    assert write_mark(storage, first)
    assert not write_mark(storage, decide(book(FAILED).records, "P1", "waived", "another note"))
    assert read_marks(storage, [0]) == {("P1", 1): first}
    assert first.note == "edge wells dried"
    assert first.at == "2026-03-01T12:30:00+00:00"
    waived = book(FAILED, P1_1="waived")
    assert write_mark(storage, decide(waived.records, "P1", "abandoned"))
    assert read_marks(storage, range(3))["P1", 1].state is PlateState.ABANDONED
    assert read_marks(storage, [1]) == {}


def test_every_drawn_transition_of_a_mark_can_be_reached():
    for record in book(FAILED, PASSED).records:
        for target in (PlateState.WAIVED, PlateState.ABANDONED):
            after = marked(record, (target, "x")).state
            assert after is (target if target in record.state.next_states else record.state)
