"""How the risk is spent: never more than there is, never by what the audit says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.errors import UserError
from tasks.stopping.evidence import Forecast
from tasks.stopping.risk import FAR_SHARE, NEAR_SHARE, equal_share, risk_of_look

STOPPING = StoppingSection(gamma=0.9, risk=0.05, max_rounds=8)


def forecast(expected_errors):
    return Forecast(library=1000, chosen=300, pending=0, audit=100, expected_errors=expected_errors)


class TestEqualShares:
    def test_rounds_without_reruns_spend_equal_shares(self):
        looks = []
        for round_index in range(9):
            looks.append((round_index, equal_share(STOPPING, round_index, looks)))
        assert [risk for _, risk in looks] == pytest.approx([0.05 / 10] * 9)

    @given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 10), st.floats(0.001, 0.5))
    def test_never_spends_more_than_allowed(self, rounds, max_rounds, risk):
        stopping = StoppingSection(risk=risk, max_rounds=max_rounds)
        looks = []
        for round_index in sorted(rounds):
            share = equal_share(stopping, round_index, looks)
            assert share > 0
            looks.append((round_index, share))
        assert sum(share for _, share in looks) <= risk * (1 + 1e-12)

    def test_a_rerun_spends_only_what_is_left(self):
        first = equal_share(STOPPING, 4, [])
        rerun = equal_share(STOPPING, 4, [(4, first)])
        assert rerun < first
        assert rerun == pytest.approx((0.05 - first) / 6)

    def test_negative_risk(self):
        with pytest.raises(UserError, match="negative risk"):
            equal_share(STOPPING, 1, [(0, -0.1)])


class TestForecast:
    def test_near_the_target_a_third_of_what_is_left_is_spent(self):
        assert risk_of_look(STOPPING, 2, [(1, 0.01)], forecast(0.05)) == pytest.approx(0.04 * NEAR_SHARE)

    def test_far_from_it_a_quarter_of_an_equal_share(self):
        found = risk_of_look(STOPPING, 2, [(1, 0.01)], forecast(0.6))
        assert found == pytest.approx(equal_share(STOPPING, 2, [(1, 0.01)]) * FAR_SHARE)

    def test_the_last_round_may_spend_its_equal_share(self):
        for expected in (0.01, 0.6):  # near γ or far: nothing is kept for later
            found = risk_of_look(STOPPING, 8, [], forecast(expected))
            assert found == pytest.approx(equal_share(STOPPING, 8, [])) == pytest.approx(0.05 / 2)

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 40))
    def test_never_spends_more_than_allowed(self, forecasts, max_rounds):
        stopping = StoppingSection(risk=0.05, max_rounds=max_rounds)
        looks = []
        for number, expected in enumerate(forecasts):
            looks.append((number, risk_of_look(stopping, number, looks, forecast(expected))))
        assert sum(share for _, share in looks) <= 0.05 * (1 + 1e-12)
