"""The notebook on stopping: its bound holds in its campaign, and peeking does what it says."""

import numpy as np
import pytest
from notebook_cells import run_small
from scipy.stats import binomtest


@pytest.fixture(scope="module")
def stopping():
    return run_small("when_to_stop.ipynb")


def false_certificates(stopping, habit):
    """How many campaigns end with one, and of how many."""
    return int(stopping["false_stop"][habit].any(axis=1).sum()), stopping["CAMPAIGNS"]


def test_campaign_stops_at_the_first_bound_that_reaches_the_target(stopping):
    decisions, truths = stopping["decisions"], stopping["truths"]
    gamma = stopping["stopping"].gamma
    assert [each.bound >= gamma for each in decisions] == [False] * (len(decisions) - 1) + [True]
    assert len(decisions) > 3
    assert all(each.bound <= truth for each, truth in zip(decisions, truths, strict=True))
    assert decisions[-1].certified


def test_risk_of_all_looks_is_within_that_of_the_campaign(stopping):
    risks = [each.risk_this_look for each in stopping["decisions"]]
    assert sum(risks) == pytest.approx(stopping["decisions"][-1].risk_spent)
    assert sum(risks) <= stopping["stopping"].risk
    assert sum(stopping["habits"]["spending"]) <= stopping["stopping"].risk


def test_peeking_gives_more_false_certificates_than_allowed_and_spending_does_not(stopping):
    risk = stopping["stopping"].risk
    assert binomtest(*false_certificates(stopping, "peeking"), risk, alternative="greater").pvalue < 1e-6
    for habit in ("spending", "one look"):
        count, campaigns = false_certificates(stopping, habit)
        assert binomtest(count, campaigns, risk, alternative="greater").pvalue > 0.01, habit
    assert 3 * false_certificates(stopping, "spending")[0] < false_certificates(stopping, "peeking")[0]


def test_simulated_campaigns_are_at_stake(stopping):
    """Any look may be false: single looks at the full risk are wrong about as often as allowed."""
    single = stopping["false_stop"]["peeking"].mean(axis=0)
    assert (single > 0).all()
    assert single.mean() == pytest.approx(stopping["stopping"].risk, abs=0.03)


def test_figures_show_these_numbers(stopping):
    drawn = {trace.name: np.asarray(trace.y) for trace in stopping["campaign"].data}
    np.testing.assert_array_equal(drawn["certified bound"], [each.bound for each in stopping["decisions"]])
    assert drawn["risk spent"][-1] == pytest.approx(stopping["decisions"][-1].risk_spent)
    ends = {trace.name: trace.y[-1] for trace in stopping["peeked"].data}
    for habit, last in ends.items():
        count, campaigns = false_certificates(stopping, habit)
        assert last == pytest.approx(count / campaigns)


def test_larger_audits_and_larger_risks_give_higher_bounds(stopping):
    lines = [np.asarray(trace.y) for trace in stopping["size"].data]
    for large_risk, small_risk in zip(lines[::2], lines[1::2], strict=True):
        assert (large_risk > small_risk).all()
        assert large_risk[-1] > large_risk[0]
