"""Simulated campaigns: how often is the certificate wrong?

Real batches (strategies, releases, random arm), real evidence, real decisions; only plates and models are made up.
Every look of every campaign is judged, certified or not before, so that the campaign's whole risk is at stake.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import binomtest

from tasks.batches import PoolView
from tasks.batches.compose import compose, initial_batch
from tasks.campaigns.batch_settings import Slot
from tasks.campaigns.membership import read_membership
from tasks.campaigns.stopping_settings import StoppingSection
from tasks.stopping.decision import decide
from tasks.stopping.evidence import Forecast, Look, Wells, gather_evidence
from tasks.stopping.risk import risk_of_look

N = 300
IDS = [f"c{i:03d}" for i in range(N)]
STOPPING = StoppingSection(gamma=0.8, risk=0.1, max_rounds=4)
SLOTS = (Slot(strategy="top-variance", share=1.0),)


@dataclass(frozen=True)
class Scenario:
    """What the model gets wrong and what the strategy goes for.

    Args:
        errors: Share of the library that the model has wrong, chosen so that the truth is just below γ.
        follow: easy: the strategy takes what the model has right and is confidently wrong elsewhere; hard: what it
            has wrong; blind: neither.
        fresh: Every look has another model, with as many other errors as just miss γ: each look may go wrong anew.
        lost: Share of the measurements that never arrive.
        release: False breaks the audit on purpose: hidden members are kept from the strategy.
    """

    errors: float
    follow: str
    fresh: bool = False
    lost: float = 0.0
    release: bool = True


def view(open_, variance):
    return PoolView(
        coordinates=np.zeros((N, 1)),
        eigenvalues=np.ones(1),
        variance=variance,
        predictions=np.zeros(N),
        members=np.zeros((N, 2)),
        open=open_,
    )


def run_campaign(scenario, seed):
    """Whether any look certified a screen that was below γ, and whether any certified at all."""
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(N) < round(scenario.errors * N)
    arrived = rng.random(N) >= scenario.lost
    designs = [initial_batch(N, IDS, 40, 80, seed)]
    looks: list[tuple[int, float]] = []
    false, certified = False, False
    for round_index in range(STOPPING.max_rounds + 1):
        membership = read_membership(IDS, designs)
        if scenario.fresh:
            # Errors of another model; what has been chosen it knows.
            wrong = np.zeros(N, dtype=bool)
            left = np.flatnonzero(~membership.chosen)
            share = scenario.errors * N / int((~membership.chosen & ~membership.hidden).sum())
            wrong[rng.choice(left, size=min(len(left), round(share * len(left))), replace=False)] = True
        measured = (membership.chosen | membership.hidden) & arrived
        evidence = gather_evidence(membership, measured, ~wrong)
        look = Look(round_index=round_index, audit=evidence, wells=Wells(used=0, full=N))
        left = ~membership.chosen
        said = float(wrong[left].mean()) if left.any() else 0.0  # it knows itself: risk is spent where it is at stake
        counts = evidence.model_dump(exclude={"measured", "errors"})
        risk = risk_of_look(STOPPING, round_index, looks, Forecast(**counts, expected_errors=said))
        decision = decide(look, STOPPING, looks, risk)
        looks.append((round_index, decision.risk_this_look))
        truth = 1 - (wrong & ~measured).mean()
        certified |= decision.certified
        false |= decision.certified and truth < STOPPING.gamma
        open_ = ~membership.chosen
        if not scenario.release:
            open_ &= ~membership.hidden
        sign = {"easy": -1.0, "hard": 1.0, "blind": 0.0}[scenario.follow]
        variance = 2 + sign * wrong + 0.5 * rng.random(N)
        hidden = membership.hidden
        designs.append(compose(view(open_, variance), hidden, SLOTS, 30, 0.1, int(rng.integers(2**31)), IDS))
    return false, certified


def rates(scenario, campaigns):
    outcomes = np.array([run_campaign(scenario, seed) for seed in range(campaigns)])
    return int(outcomes[:, 0].sum()), int(outcomes[:, 1].sum())


SCENARIOS = {
    "confidently wrong": Scenario(0.29, "easy"),
    "errors first": Scenario(0.34, "hard"),
    "another model every look": Scenario(0.205, "blind", fresh=True),
    "lost plates": Scenario(0.26, "easy", lost=0.1),
}


def check(scenario, campaigns):
    false, _ = rates(scenario, campaigns)
    assert binomtest(false, campaigns, STOPPING.risk, alternative="greater").pvalue > 1e-3, f"{false} of {campaigns}"


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_certificate_is_seldom_wrong(name):
    check(SCENARIOS[name], 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_certificate_is_seldom_wrong_in_400_campaigns(name):
    check(SCENARIOS[name], 400)


def test_good_screens_are_certified():
    _, certified = rates(Scenario(0.08, "hard"), 20)
    assert certified >= 18


def test_the_simulation_would_notice_a_broken_audit():
    """Without releases the hidden members keep the easy ones that the strategy took elsewhere, and certify wrongly."""
    false, _ = rates(Scenario(0.29, "easy", release=False), 80)
    assert binomtest(false, 80, STOPPING.risk, alternative="greater").pvalue < 1e-3, f"{false} of 80"
