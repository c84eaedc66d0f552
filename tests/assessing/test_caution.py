"""How much of a batch is drawn at random: one bounded formula."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.assessing.caution import random_share
from tasks.batches.slots import with_random
from tasks.campaigns.batch_settings import Adaptive, Slot
from tasks.ensembles.estimates import Estimate

WORSE, BETTER, UNSURE = Estimate(0.1, 0.05, 0.2), Estimate(-0.1, -0.2, -0.05), Estimate(0.0, -0.1, 0.1)
SETTINGS = Adaptive(most=0.5, step=0.2)


@pytest.mark.parametrize(
    ("difference", "before", "after"),
    [
        (WORSE, 0.0, 0.2),
        (WORSE, 0.4, 0.5),
        (BETTER, 0.4, 0.2),
        (BETTER, 0.1, 0.0),
        (UNSURE, 0.3, 0.3),
        (Estimate(None, why="few labels"), 0.3, 0.3),
    ],
)
def test_it_moves_by_a_step_and_only_where_the_interval_excludes_zero(difference, before, after):
    share, why = random_share(difference, before, SETTINGS)
    assert share == pytest.approx(after)
    assert f"{after:.0%}" in why


@given(st.lists(st.sampled_from([WORSE, BETTER, UNSURE]), max_size=12))
def test_it_never_leaves_its_bounds(course):
    share = 0.0
    for difference in course:
        share, _ = random_share(difference, share, SETTINGS)
        assert 0 <= share <= SETTINGS.most


def test_it_can_be_turned_off_and_lemma_turns_it_off():
    assert random_share(WORSE, 0.3, Adaptive(most=0.0))[0] == 0.0
    share, why = random_share(WORSE, 0.3, SETTINGS, "stopping rule lemma")
    assert share == 0.0
    assert "lemma" in why


@given(st.floats(0.0, 1.0), st.floats(0.05, 0.95))
def test_slots_keep_their_proportions_and_sum_to_one(share, first):
    slots = (Slot(strategy="eigenmodes", share=first), Slot(strategy="k-centre", share=1 - first))
    found = {slot.strategy: slot.share for slot in with_random(slots, share)}
    assert sum(found.values()) == pytest.approx(1.0)
    assert found.get("random", 0.0) == pytest.approx(share)
    if share < 0.99:
        assert found["eigenmodes"] / found["k-centre"] == pytest.approx(first / (1 - first))


def test_a_random_slot_that_is_there_already_grows():
    slots = (Slot(strategy="random", share=0.5), Slot(strategy="k-centre", share=0.5))
    found = {slot.strategy: slot.share for slot in with_random(slots, 0.2)}
    assert found == pytest.approx({"random": 0.6, "k-centre": 0.4})
