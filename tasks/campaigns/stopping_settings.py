"""When a campaign stops: target, risk, rules and their limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tasks.campaigns.section import Section, Share

Probability = Annotated[float, Field(gt=0.0, lt=1.0)]


class StoppingSection(Section):
    """When the campaign has measured enough."""

    gamma: Probability = Field(default=0.9, description="Target system accuracy γ.")
    risk: Probability = Field(default=0.05, description="Allowed probability δ_risk that the certificate is wrong.")
    rule: str = Field(
        default="audit",
        min_length=1,
        description="Stopping rule, or several joined by `or` (one is enough) or by `and` (all of them): audit, lemma, "
        "budget, plateau, manual; as `audit or budget`. Fixed when the campaign opens.",
    )
    max_rounds: int = Field(default=8, ge=1, description="Rounds after round 0, at most. The risk is split over them.")
    max_wells: int | None = Field(
        default=None, ge=1, description="Rule budget: sample wells, replicates included, that must not be exceeded."
    )
    patience: int = Field(
        default=3, ge=1, description="Rule plateau: rounds without a fall of the error after which it stops."
    )
    least_fall: Share = Field(
        default=0.02, description="Rule plateau: a fall by less than this share of the lowest error before is none."
    )
    stop_because: str | None = Field(
        default=None, min_length=1, description="Rule manual: why to stop. The campaign stops where there is a reason."
    )
