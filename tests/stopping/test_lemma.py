"""The lemma: Chernoff's bounds against exact tails, coverage when confidence is right, and where it fails."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.errors import UserError
from tasks.stopping import lemma
from tasks.stopping.evidence import AuditEvidence, Look, PickEvidence, Wells
from tasks.stopping.lemma import kl_lower, lemma_accuracy

STOPPING = StoppingSection(gamma=0.9)


def look(strategies=("least-confidence",), picks=100, right=98, **changes):
    counts = {"library": 1000, "chosen": 500, "pending": 0, "audit": 50, "measured": 50, "errors": 2}
    return Look(
        round_index=3,
        audit=AuditEvidence(**(counts | changes)),
        wells=Wells(used=550, full=1000),
        picks=PickEvidence(strategies=strategies, picks=picks, right=right),
    )


def divergence(mean, a):
    terms = [p * math.log(p / q) for p, q in ((mean, a), (1 - mean, 1 - a)) if p > 0]
    return math.fsum(terms)


class TestKl:
    @given(st.floats(0.01, 1), st.integers(1, 5000), st.floats(1e-6, 0.5))
    def test_solves_the_equation(self, mean, trials, risk):
        found = kl_lower(mean, trials, risk)
        assert 0 <= found <= mean
        if 1e-200 < found < mean * (1 - 1e-9):
            assert divergence(mean, found) * trials == pytest.approx(-math.log(risk), rel=1e-5)

    @pytest.mark.parametrize("trials", [5, 40, 300])
    @pytest.mark.parametrize("risk", [0.2, 0.01])
    def test_covers_by_the_exact_binomial_tail(self, trials, risk):
        """Whatever the probability p, the bound from the observed count seldom exceeds it."""
        bounds = np.array([kl_lower(right / trials, trials, risk) for right in range(trials + 1)])
        for p in np.linspace(0.01, 0.99, 33):
            wrong = binom.pmf(np.arange(trials + 1), trials, p)[bounds > p].sum()
            assert wrong <= risk

    @pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
    def test_the_share_that_comes_true_seldom_falls_below(self, p):
        for n in (10, 200):
            floor = kl_lower(p, n, 0.05)
            assert binom.cdf(math.ceil(floor * n) - 1, n, p) <= 0.05

    def test_all_right_in_a_small_batch_cannot_certify_much(self):
        assert kl_lower(1.0, 10, 0.05) == pytest.approx(0.05 ** (1 / 10))
        assert kl_lower(1.0, 10, 0.05) == pytest.approx(0.741, abs=1e-3)

    def test_no_risk_no_bound(self):
        assert kl_lower(0.9, 10, 0.0) == 0.0

    @pytest.mark.parametrize("given_", [(1.1, 5, 0.1), (0.5, 0, 0.1), (0.5, 5, -0.1), (math.nan, 5, 0.1)])
    def test_impossible_numbers(self, given_):
        with pytest.raises(UserError, match="impossible numbers"):
            kl_lower(*given_)


def wrong_rate(tail, campaigns=400, pool=1000, batch=100, risk=0.1):
    """How often one look's bound exceeds the truth; `tail`: share of the pool that is confidently wrong."""
    rng = np.random.default_rng(5)
    exceeded = 0
    for _ in range(campaigns):
        said = np.sort(rng.uniform(0.6, 1.0, pool))
        right = rng.random(pool) < np.where(rng.random(pool) < tail * (said > 0.8) * 2, 0.0, said)
        bound = lemma_accuracy(pool, batch, pool - batch, batch, int(right[:batch].sum()), risk)
        exceeded += bound > (batch + right[batch:].sum()) / pool
    return exceeded / campaigns


class TestLemma:
    def test_holds_when_confidence_is_right_and_fails_on_a_confidently_wrong_tail(self):
        assert wrong_rate(tail=0.0) <= 0.1
        assert wrong_rate(tail=0.5) > 0.5

    def test_holds_where_all_are_equally_likely_right(self):
        """The hardest calibrated case: the picks are no worse than the rest."""
        rng = np.random.default_rng(1)
        exceeded = 0
        for _ in range(2000):
            right = rng.random(500) < 0.9
            bound = lemma_accuracy(500, 50, 450, 50, int(right[:50].sum()), 0.1)
            exceeded += bound > (50 + right[50:].sum()) / 500
        assert exceeded / 2000 <= 0.1

    def test_what_is_measured_is_right(self):
        assert lemma_accuracy(100, 100, 0, 10, 0, 0.05) == 1.0
        assert lemma_accuracy(100, 40, 60, 0, 0, 0.05) == 0.4

    def test_hidden_and_unmeasured_ones_are_not_what_the_picks_stand_for(self):
        few = lemma.find(look(measured=40), STOPPING, 0.01).bound
        assert few == pytest.approx(lemma.find(look(), STOPPING, 0.01).bound - 10 / 1000)

    @pytest.mark.parametrize(
        ("strategies", "words"),
        [(("top-variance",), "of top-variance"), (("least-confidence", "random"), "of least-confidence, random")],
    )
    def test_other_picks_leave_what_is_measured(self, strategies, words):
        found = lemma.find(look(strategies), STOPPING, 0.01)
        assert found.bound == 0.55
        assert words in found.reason
        assert "alone" in lemma.would_change(look(strategies), STOPPING, 0.01) or "all of" in lemma.would_change(
            look(strategies), STOPPING, 0.01
        )

    def test_round_0_has_no_picks(self):
        found = lemma.find(look().model_copy(update={"picks": None}), STOPPING, 0.01)
        assert "no strategy has picked anything" in found.reason

    @pytest.mark.parametrize("name", lemma.ORDERED)
    def test_both_acquisition_functions(self, name):
        found = lemma.find(look((name,)), STOPPING, 0.01)
        assert found.bound > 0.55
        assert "conditional on calibration" in found.reason

    @pytest.mark.parametrize("right", [100, 95, 60])
    def test_the_count_on_the_other_side(self, right):
        sentence = lemma.would_change(look(right=right, chosen=800), STOPPING, 0.01)
        named = int(sentence.split()[0])
        stops = [lemma.find(look(right=count, chosen=800), STOPPING, 0.01).stop for count in range(101)]
        first = stops.index(True)
        assert named == (first - 1 if right >= first else first)
