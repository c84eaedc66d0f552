"""Answers to a proposed batch: what may be said of it, and that what was said stays."""

from datetime import UTC, datetime

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.campaigns.answers import Answer, make_answer, read_answers, vetoes_of, write_answer
from tasks.checkpoints.storage import Storage
from tasks.errors import UserError

NOW = datetime(2026, 1, 2, tzinfo=UTC)
BATCH = pd.DataFrame({"perturbation": ["A", "B", "C"], "action": ["measure", "measure", "release"]})


def answer(decision, vetoed=(), note="", earlier=()):
    return make_answer(BATCH, (1, 2), decision, vetoed, note, NOW, earlier)


def test_what_is_released_from_the_audit_takes_no_well_and_cannot_be_vetoed():
    with pytest.raises(UserError, match="does not measure it; got 'C', expected as A, B"):
        answer("veto", ["A", "C"], "toxic")


def test_a_vetoed_perturbation_bars_any_later_batch_that_holds_it():
    before = Answer(0, 1, "veto", ("B",), "toxic", NOW.isoformat())
    with pytest.raises(UserError, match="it holds vetoed perturbations; got B"):
        answer("approve", earlier=[before])
    assert answer("veto", ["A"], "toxic", [before]).vetoed == ("A",)


def test_a_rejection_is_about_its_own_run():
    rejected = Answer(1, 1, "reject", (), "too many", NOW.isoformat())
    assert answer("approve", earlier=[rejected]).note == ""
    with pytest.raises(UserError, match="it was rejected; got 'too many'"):
        answer("approve", earlier=[Answer(1, 2, "reject", (), "too many", NOW.isoformat())])


@given(st.lists(st.sampled_from("AB"), min_size=1), st.text(min_size=1, max_size=20).filter(str.strip))
def test_answers_read_back_as_they_were_written(tmp_path_factory, vetoed, note):
    storage = Storage(str(tmp_path_factory.mktemp("answers")))
    first = answer("veto", vetoed, note)
    assert write_answer(storage, first)
    assert read_answers(storage, range(3)) == [first]
    assert vetoes_of([first]) == sorted(set(vetoed))
    assert not write_answer(storage, answer("veto", vetoed[::-1], f"{note} and more"))
    assert read_answers(storage, [1]) == [first], "the first note stands"
    assert read_answers(storage, [0, 2]) == []
