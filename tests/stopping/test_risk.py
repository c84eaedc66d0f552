"""How the risk is spent: never more than there is, never by what the audit says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.errors import UserError
from tasks.stopping.evidence import AuditEvidence
from tasks.stopping.risk import FAR_SHARE, NEAR_SHARE, risk_by_forecast, risk_of_look

STOPPING = StoppingSection(gamma=0.9, risk=0.05, max_rounds=8)


def evidence(**changes):
    values = {"library": 1000, "chosen": 300, "pending": 0, "audit": 100, "measured": 100, "errors": 5}
    return AuditEvidence(**(values | changes))


class TestEqualShares:
    def test_rounds_without_reruns_spend_equal_shares(self):
        looks = []
        for round_index in range(9):
            looks.append((round_index, risk_of_look(STOPPING, round_index, looks)))
        assert [risk for _, risk in looks] == pytest.approx([0.05 / 10] * 9)

    @given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 10), st.floats(0.001, 0.5))
    def test_never_spends_more_than_allowed(self, rounds, max_rounds, risk):
        stopping = StoppingSection(risk=risk, max_rounds=max_rounds)
        looks = []
        for round_index in sorted(rounds):
            share = risk_of_look(stopping, round_index, looks)
            assert share > 0
            looks.append((round_index, share))
        assert sum(share for _, share in looks) <= risk * (1 + 1e-12)

    def test_a_rerun_spends_only_what_is_left(self):
        first = risk_of_look(STOPPING, 4, [])
        rerun = risk_of_look(STOPPING, 4, [(4, first)])
        assert rerun < first
        assert rerun == pytest.approx((0.05 - first) / 6)

    def test_negative_risk(self):
        with pytest.raises(UserError, match="negative risk"):
            risk_of_look(STOPPING, 1, [(0, -0.1)])


class TestForecast:
    def test_near_the_target_a_third_of_what_is_left_is_spent(self):
        assert risk_by_forecast(STOPPING, 2, [(1, 0.01)], evidence(), 0.05) == pytest.approx(0.04 * NEAR_SHARE)

    def test_far_from_it_a_quarter_of_an_equal_share(self):
        found = risk_by_forecast(STOPPING, 2, [(1, 0.01)], evidence(), 0.6)
        assert found == pytest.approx(risk_of_look(STOPPING, 2, [(1, 0.01)]) * FAR_SHARE)

    def test_the_last_round_may_spend_its_equal_share(self):
        assert risk_by_forecast(STOPPING, 8, [], evidence(), 0.01) == pytest.approx(risk_of_look(STOPPING, 8, []))

    @given(st.integers(0, 100), st.integers(0, 100), st.floats(0, 1))
    def test_it_is_blind_to_what_the_audit_says(self, measured, errors, expected):
        seen = evidence(measured=max(measured, errors), errors=errors)
        blind = evidence(measured=0, errors=0)
        assert risk_by_forecast(STOPPING, 3, [(0, 0.004)], seen, expected) == risk_by_forecast(
            STOPPING, 3, [(0, 0.004)], blind, expected
        )

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 40))
    def test_never_spends_more_than_allowed(self, forecasts, max_rounds):
        stopping = StoppingSection(risk=0.05, max_rounds=max_rounds)
        looks = []
        for number, expected in enumerate(forecasts):
            looks.append((number, risk_by_forecast(stopping, number, looks, evidence(), expected)))
        assert sum(share for _, share in looks) <= 0.05 * (1 + 1e-12)

    @pytest.mark.parametrize("expected", [-0.1, 1.1, np.nan])
    def test_no_probability(self, expected):
        with pytest.raises(UserError, match="no probability"):
            risk_by_forecast(STOPPING, 1, [], evidence(), expected)
