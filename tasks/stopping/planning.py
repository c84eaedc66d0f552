"""Before a campaign opens: what audits of several sizes cost and buy, by simulation on counts."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.errors import UserError
from tasks.stopping.audit_rule import audit_accuracy
from tasks.stopping.evidence import AuditEvidence, Forecast
from tasks.stopping.risk import most_risk, risk_of_look
from tasks.stopping.rule import largest

SHARES = (0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.16, 0.24)
CAMPAIGNS = 400
#: How the error rate of what is not chosen goes with the share that is not chosen: to this power.
CURVES: dict[Literal["steady", "learning"], float] = {"steady": 0.0, "learning": 2.0}


class Campaign(NamedTuple):
    """Sizes of a campaign, in perturbations.

    Attributes:
        library: N.
        initial: Round 0 measures so many, the audit included.
        batch: A later round.
        arm: Of them drawn at random.
        replicates: Wells of a perturbation.
    """

    library: int
    initial: int
    batch: int
    arm: int
    replicates: int


class Expected(BaseModel):
    """What an audit's stop costs beyond an oracle that sees the true accuracy and has the same audit wells."""

    model_config = ConfigDict(frozen=True)

    certified: float = Field(description="Share of simulated campaigns that are certified within the rounds.")
    extra_rounds: float | None = Field(description="Mean rounds after the oracle's, of those certified; none if none.")
    extra_wells: float | None = Field(description="The same in sample wells.")


class AuditOption(BaseModel):
    """An audit of one size."""

    model_config = ConfigDict(frozen=True)

    audit: int = Field(description="Perturbations drawn when the campaign opens.")
    share: float = Field(description="Of the library.")
    wells: int = Field(description="Sample wells that it takes.")
    configured: bool = Field(description="This is the size in the configuration.")
    tightest: float = Field(description="Largest γ that round 0 could certify, if not one audit member were wrong.")
    tightest_last: float = Field(description="The same of the last round, with the random arms of all rounds.")
    expected: dict[Literal["steady", "learning"], Expected] = Field(description="By learning curve.")


class Counts(NamedTuple):
    """Expected sizes at a look."""

    population: int
    audit: int


def plan_audits(campaign: Campaign, stopping: StoppingSection, configured: int, seed: int = 0) -> list[AuditOption]:
    """Audits of several sizes, the configured one among them, smallest first.

    The accuracy before it is measured is unknown, so two learning curves stand for what may come. In both the true
    accuracy passes γ when half of what the campaign can measure is measured, or half of the library if that is less.
    steady: what is not chosen is wrong at one rate throughout. learning: the rate falls with the square of what is not
    chosen. Sizes of population and audit are expected ones; the audit's errors are drawn, `CAMPAIGNS` times. The risk
    is spent as by a model that knows its own rate.

    Args:
        campaign: Sizes.
        stopping: γ, risk, rounds.
        configured: Audit size of the configuration, in perturbations.
        seed: Of the draws.

    Raises:
        UserError: If no audit leaves room to train on in round 0.
    """
    sizes = sorted({round(share * campaign.library) for share in SHARES} | {configured})
    fits = [size for size in sizes if 0 < size < min(campaign.initial, campaign.library)]
    if not fits:
        raise UserError(
            "no audit leaves anything to train on in round 0",
            where="plates.initial",
            got=f"{campaign.initial} perturbations in round 0, a library of {campaign.library}",
        )
    return [_option(campaign, stopping, size, size == configured, seed) for size in fits]


def _option(campaign: Campaign, stopping: StoppingSection, audit: int, configured: bool, seed: int) -> AuditOption:
    looks = [_counts(campaign, audit, t) for t in range(stopping.max_rounds + 1)]
    hopeless = _risks(campaign, stopping, looks, [counts.population for counts in looks])
    rng = np.random.default_rng(seed)
    return AuditOption(
        audit=audit,
        share=audit / campaign.library,
        wells=audit * campaign.replicates,
        configured=configured,
        tightest=_bound(campaign.library, looks[0], 0, most_risk(stopping, 0, [])),
        tightest_last=_bound(campaign.library, looks[-1], 0, hopeless[-1]),
        expected={name: _expected(campaign, stopping, looks, power, rng) for name, power in CURVES.items()},
    )


def _risks(campaign: Campaign, stopping: StoppingSection, looks: list[Counts], wrong: list[int]) -> list[float]:
    """Risk of each look of a campaign without repeated runs whose model knows how many of the rest it has wrong."""
    spent: list[tuple[int, float]] = []
    for number, (counts, errors) in enumerate(zip(looks, wrong, strict=True)):
        forecast = Forecast(
            library=campaign.library,
            chosen=campaign.library - counts.population,
            pending=0,
            audit=counts.audit,
            expected_errors=errors / max(counts.population, 1),
        )
        spent.append((number, risk_of_look(stopping, number, spent, forecast)))
    return [risk for _, risk in spent]


def _counts(campaign: Campaign, audit: int, rounds: int) -> Counts:
    """Population and audit after so many rounds. Strategies release audit members in proportion."""
    population, hidden = float(campaign.library - (campaign.initial - audit)), float(audit)
    for _ in range(rounds):
        wells = min(campaign.batch - campaign.arm, population - hidden)
        picked = wells / (1 - hidden / population) if population > hidden else 0.0
        hidden -= hidden / population * picked if population else 0.0
        population -= picked
        hidden += min(campaign.arm, population - hidden)
    return Counts(round(population), min(round(hidden), round(population)))


def _bound(library: int, counts: Counts, errors: int, risk: float) -> float:
    return audit_accuracy(_evidence(library, counts, errors), risk).accuracy


def _evidence(library: int, counts: Counts, errors: int) -> AuditEvidence:
    """All of it measured."""
    chosen = library - counts.population
    return AuditEvidence(
        library=library, chosen=chosen, pending=0, audit=counts.audit, measured=counts.audit, errors=errors
    )


def _allowed(library: int, counts: Counts, gamma: float, risk: float) -> int:
    """Most errors of the audit that still certify γ, -1 if none do."""
    return largest(-1, counts.audit + 1, lambda errors: _bound(library, counts, errors, risk) >= gamma)


def _expected(
    campaign: Campaign, stopping: StoppingSection, looks: list[Counts], power: float, rng: np.random.Generator
) -> Expected:
    """Simulated stops, beside the first look at which the true accuracy reaches γ."""
    library, gamma = campaign.library, stopping.gamma
    left = [counts.population / library for counts in looks]
    share = max(0.5, (1 + left[-1]) / 2) if left[-1] > 0 else 0.5
    # Errors among all that is not chosen are rate·left^(power+1)·N: (1 − γ)·N of them when `share` is left.
    wrong = [
        min(counts.population, round((1 - gamma) * library * (x / share) ** (power + 1)))
        for counts, x in zip(looks, left, strict=True)
    ]
    known = [count * (1 - c.audit / max(c.population, 1)) for count, c in zip(wrong, looks, strict=True)]
    oracle = next((t for t, count in enumerate(known) if count <= (1 - gamma) * library), None)
    risks = _risks(campaign, stopping, looks, wrong)
    allowed = [_allowed(library, counts, gamma, risk) for counts, risk in zip(looks, risks, strict=True)]
    drawn = [rng.hypergeometric(k, c.population - k, c.audit, CAMPAIGNS) for k, c in zip(wrong, looks, strict=True)]
    # An audit that was lucky once stays so, because it is nearly the same audit: the k-th luckiest at every look.
    stops = np.sort(np.stack(drawn), axis=1) <= np.array(allowed)[:, None]
    certified = stops.any(axis=0)
    if oracle is None or not certified.any():
        return Expected(certified=float(certified.mean()), extra_rounds=None, extra_wells=None)
    extra = float(np.maximum(stops.argmax(axis=0)[certified] - oracle, 0).mean())
    return Expected(
        certified=float(certified.mean()), extra_rounds=extra, extra_wells=extra * campaign.batch * campaign.replicates
    )
