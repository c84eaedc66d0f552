"""What audits of several sizes would cost and buy, told before a campaign opens. Writes nothing."""

from flows.campaign import checked_config
from flows.results import Result
from tasks.batches.compose import arm_size
from tasks.batches.layout import perturbations_per_round
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.library import read_library
from tasks.stopping.planning import AuditOption, Campaign, Expected, plan_audits


class AuditPlan(Result):
    """Answer of `open --plan-audit`. Wells are sample wells, replicates included."""

    perturbations: int
    gamma: float
    risk: float
    rounds: int
    options: list[AuditOption]


def plan_audit(config_path: str) -> AuditPlan:
    """Audits of several sizes for this library, these plates and this γ.

    Args:
        config_path: The campaign's YAML file.

    Raises:
        UserError: On a mistake in the file or the library.
    """
    config = checked_config(config_path)
    plates, size = config.plates, read_library(config.library).n_obs
    batch = perturbations_per_round(plates, plates.per_round)
    campaign = Campaign(
        library=size,
        initial=min(size, perturbations_per_round(plates, plates.initial)),
        batch=batch,
        arm=arm_size(config.batch.random_arm, batch),
        replicates=plates.replicates,
    )
    options = plan_audits(campaign, config.stopping, round(config.batch.audit * size), config.campaign.seed)
    return AuditPlan(
        campaign=config.campaign.name,
        location=Ledger.of(config).storage.url,
        perturbations=size,
        gamma=config.stopping.gamma,
        risk=config.stopping.risk,
        rounds=config.stopping.max_rounds,
        options=options,
    )


def plan_lines(plan: AuditPlan) -> list[str]:
    """The plan as a table for a terminal."""
    lines = [
        f"{plan.perturbations:,} perturbations, γ = {plan.gamma:g}, risk {plan.risk:g}, {plan.rounds} rounds at most. "
        "Nothing was written.",
        "",
        "   audit          wells   tightest γ      model that learns            model that does not",
        "                          now     last    certified  extra (rounds)    certified  extra (rounds)",
    ]
    for option in plan.options:
        mark = "→" if option.configured else " "
        lines.append(
            f" {mark} {option.audit:>6,} {option.share:>6.1%} {option.wells:>7,}  {_down(option.tightest)}  "
            f"{_down(option.tightest_last)}  {_told(option.expected['learning'])}  {_told(option.expected['steady'])}"
        )
    return [
        *lines,
        "",
        "→ the size configured (batch.audit). Tightest γ: what round 0 and the last round can certify with no error.",
        "Certified: simulated campaigns that reach γ within the rounds. Extra: wells and rounds beyond an oracle that",
        "sees the true accuracy and has the same audit. Both models are made up: their true accuracy passes γ when",
        "about half of what can be measured is measured.",
    ]


def _told(expected: Expected) -> str:
    if expected.extra_wells is None:
        return f"{expected.certified:>9.0%}  {'–':>14}   "
    return f"{expected.certified:>9.0%}  {expected.extra_wells:>7,.0f} {f'({expected.extra_rounds:.1f})':>6}   "


def _down(share: float) -> str:
    return f"{int(share * 1000) / 1000:.3f} "
