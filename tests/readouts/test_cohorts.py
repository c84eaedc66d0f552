from hypothesis import given
from hypothesis import strategies as st

from tasks.readouts.cohorts import split_cohorts

PLATES = st.dictionaries(st.sampled_from([f"P{i}.1" for i in range(8)]), st.sampled_from(["a", "b"]), min_size=1)


def test_plates_that_come_later_are_a_cohort_of_their_own():
    first = {"P1.1": "a", "P2.1": "b"}
    assert split_cohorts(first, []) == [{"P1.1", "P2.1"}]
    assert split_cohorts({**first, "P3.1": "c"}, [first]) == [{"P1.1", "P2.1"}, {"P3.1"}]
    assert split_cohorts({**first, "P3.1": "c", "P4.1": "d"}, [first, {"P3.1": "c"}])[2] == {"P4.1"}


def test_a_changed_or_missing_plate_aligns_its_cohort_and_all_after_it_anew():
    first, second = {"P1.1": "a", "P2.1": "b"}, {"P3.1": "c"}
    assert split_cohorts({"P1.1": "a", "P2.1": "other", "P3.1": "c"}, [first, second]) == [{"P1.1", "P2.1", "P3.1"}]
    assert split_cohorts({"P1.1": "a", "P2.1": "b"}, [first, second]) == [{"P1.1", "P2.1"}]


@given(now=PLATES, before=st.lists(PLATES, max_size=3))
def test_every_plate_is_in_exactly_one_cohort_and_asking_again_changes_nothing(now, before):
    cohorts = split_cohorts(now, before)
    assert sorted(key for cohort in cohorts for key in cohort) == sorted(now)
    assert all(cohorts)
    assert split_cohorts(now, [{key: now[key] for key in cohort} for cohort in cohorts]) == cohorts
