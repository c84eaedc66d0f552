"""What audits cost and buy before a campaign opens."""

import numpy as np
import pytest

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.errors import UserError
from tasks.stopping.audit import audit_bound
from tasks.stopping.evidence import Forecast
from tasks.stopping.planning import Campaign, plan_audits
from tasks.stopping.risk import most_risk, risk_of_look

STOPPING = StoppingSection(gamma=0.9, risk=0.05, max_rounds=8)
CAMPAIGN = Campaign(library=1000, initial=200, batch=90, arm=9, replicates=2)


@pytest.fixture(scope="module")
def options():
    return plan_audits(CAMPAIGN, STOPPING, 70, seed=1)


def test_sizes_are_in_order_with_the_configured_one_among_them(options):
    sizes = [option.audit for option in options]
    assert sizes == sorted(set(sizes))
    assert [option.audit for option in options if option.configured] == [70]
    assert max(sizes) < CAMPAIGN.initial
    assert all(option.wells == 2 * option.audit for option in options)
    assert all(option.share == option.audit / 1000 for option in options)


def test_the_tightest_gamma_is_the_bound_without_an_error(options):
    for option in options:
        population = 1000 - (200 - option.audit)
        most = audit_bound(population, option.audit, 0, most_risk(STOPPING, 0, []))
        assert option.tightest == (1000 - most) / 1000


def test_a_larger_audit_buys_more(options):
    for name in ("tightest", "tightest_last"):
        found = [getattr(option, name) for option in options]
        assert found == sorted(found)
    for curve in ("steady", "learning"):
        extra = [option.expected[curve].extra_rounds for option in options]
        certified = [option.expected[curve].certified for option in options]
        assert extra[-1] < extra[0]
        assert certified[-1] >= certified[0]
        assert all(0 <= share <= 1 for share in certified)


def test_a_round_more_costs_its_wells(options):
    for option in options:
        for expected in option.expected.values():
            assert expected.extra_wells == pytest.approx(expected.extra_rounds * 180)


def test_the_same_seed_gives_the_same_plan(options):
    assert plan_audits(CAMPAIGN, STOPPING, 70, seed=1) == options


def test_out_of_reach_is_said():
    """Two audit members cannot certify 99.9% of a thousand in one round."""
    few = Campaign(library=1000, initial=20, batch=10, arm=1, replicates=1)
    found = plan_audits(few, StoppingSection(gamma=0.999, max_rounds=1), 2)[0]
    assert found.expected["steady"].certified == 0
    assert found.expected["steady"].extra_rounds is None


def test_agrees_with_campaigns_played_perturbation_by_perturbation():
    """One error rate throughout, as in the curve `steady`; strategies that pick at random among those not chosen."""
    option = next(o for o in plan_audits(CAMPAIGN, STOPPING, 70, seed=1) if o.configured)
    rng = np.random.default_rng(0)
    last = 1000 - (200 - 70)
    for _ in range(8):
        last -= round(81 / (1 - 100 / last))
    share = max(0.5, (1 + last / 1000) / 2)
    certified = 0
    for _ in range(60):
        wrong = rng.random(1000) < 0.1 / share
        order = rng.permutation(1000)
        chosen, hidden = np.zeros(1000, bool), np.zeros(1000, bool)
        hidden[order[:70]], chosen[order[70:200]] = True, True
        spent = []
        for t in range(9):
            errors = int((wrong & hidden).sum())
            forecast = Forecast(
                library=1000,
                chosen=int(chosen.sum()),
                pending=0,
                audit=int(hidden.sum()),
                expected_errors=0.1 / share,
            )
            risk = risk_of_look(STOPPING, t, spent, forecast)
            spent.append((t, risk))
            most = audit_bound(int((~chosen).sum()), int(hidden.sum()), errors, risk)
            if 1 - (most - errors) / 1000 >= 0.9:
                certified += 1
                break
            left = rng.permutation(np.flatnonzero(~chosen))
            picks = left[: int(np.searchsorted(np.cumsum(~hidden[left]), 81)) + 1]
            chosen[picks] = True
            hidden &= ~chosen
            hidden[rng.choice(np.flatnonzero(~chosen & ~hidden), 9, replace=False)] = True
    assert certified / 60 == pytest.approx(option.expected["steady"].certified, abs=0.2)


def test_no_room():
    with pytest.raises(UserError, match="no audit leaves anything to train on"):
        plan_audits(Campaign(library=1000, initial=1, batch=10, arm=1, replicates=1), STOPPING, 80)
