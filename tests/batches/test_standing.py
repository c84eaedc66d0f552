"""Standing of every perturbation, replayed from released designs."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.batches.compose import compose, initial_batch
from tasks.campaigns.batch_settings import Slot
from tasks.campaigns.membership import read_membership
from tasks.errors import UserError

IDS = [f"c{i:03d}" for i in range(120)]


def rows(**arms):
    records = []
    for key, names in arms.items():
        arm, _, action = key.partition("_")
        records += [{"perturbation": name, "arm": arm, "action": action or "measure"} for name in names]
    return pd.DataFrame(records)


def test_life_of_audit_members():
    designs = [
        rows(audit=["c000", "c001"], initial=["c002"]),
        rows(strategy=["c003"], strategy_release=["c001"], random=["c004"]),
        rows(strategy_release=["c004"], strategy=["c002"]),
    ]
    membership = read_membership(IDS, designs)
    assert np.flatnonzero(membership.chosen).tolist() == [1, 2, 3, 4]
    assert np.flatnonzero(membership.hidden).tolist() == [0]


def test_an_abandoned_member_that_a_strategy_measures_again_is_chosen():
    membership = read_membership(IDS, [rows(audit=["c000"], initial=["c001"]), rows(strategy=["c000"])])
    assert membership.chosen[0]
    assert not membership.hidden[0]


def test_what_is_repeated_keeps_its_place():
    designs = [rows(audit=["c000"], initial=["c001"]), rows(repeat=["c000", "c001"], strategy=["c002"])]
    membership = read_membership(IDS, designs)
    assert np.flatnonzero(membership.chosen).tolist() == [1, 2]
    assert np.flatnonzero(membership.hidden).tolist() == [0]


@pytest.mark.parametrize(
    ("design", "message"),
    [
        (rows(repeat=["c005"]), "c005 is repeated, but in no batch before"),
        (rows(strategy_release=["c005"]), "c005 is released, but not a hidden audit member"),
        (rows(random=["c002"]), "c002 is drawn for the audit, but chosen or hidden before"),
        (rows(random=["c000"]), "c000 is drawn for the audit, but chosen or hidden before"),
        (rows(strategy=["nobody"]), "not in the library; got nobody"),
        (rows(strategy=["c007", "c007"]), "twice in one batch; got c007"),
        (rows(lucky=["c007"]), "unknown arm"),
    ],
)
def test_impossible_designs_are_refused(design, message):
    with pytest.raises(UserError, match=rf"batch of round 1: .*{message}|batch of round 1: {message}"):
        read_membership(IDS, [rows(audit=["c000"], initial=["c002"]), design])


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rounds_of_a_campaign_add_up(make_pool, seed, rounds):
    designs = [initial_batch(120, IDS, audit=12, wells=30, seed=seed)]
    for number in range(rounds):
        membership = read_membership(IDS, designs)
        pool = make_pool(120, 4, seed=seed + number).without(membership.chosen)
        slots = (Slot(strategy="eigenspace-clusters", share=1.0),)
        designs.append(compose(pool, membership.hidden, slots, 12, 0.25, seed + number, IDS))
    final = read_membership(IDS, designs)
    measured = sum(int((design["action"] == "measure").sum()) for design in designs)
    assert not (final.chosen & final.hidden).any()
    assert int((final.chosen | final.hidden).sum()) == measured
