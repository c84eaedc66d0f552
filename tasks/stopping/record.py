"""The decision record: what a look at the evidence said, as it is published. Its schema is frozen (README)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.stopping.evidence import ControlEvidence

SCHEMA_VERSION: Literal[2] = 2


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RuleRecord(_Record):
    """What one rule found, whether it decides or not."""

    decides: bool = Field(description="The configuration asks this rule.")
    stop: bool = Field(description="What this rule alone would do.")
    bound: float | None = Field(description="Lower bound of the system accuracy; none from a rule that bounds nothing.")
    risk: float | None = Field(description="Risk at which the bound holds.")
    reason: str = Field(description="What it found, in a sentence.")
    assumption: str = Field(description="What it rests on.")
    would_change: str = Field(description="What would change its answer, in a sentence.")


class Decision(_Record):
    """One look at the evidence, and what follows from it."""

    schema_version: Literal[2] = Field(default=SCHEMA_VERSION, description="Version of this schema.")
    stop: bool = Field(description="No further batch is needed, or none is possible.")
    certified: bool = Field(description="The bound reaches γ.")
    reason: str = Field(description="Why, in a sentence.")
    rule: str = Field(description="Stopping rule or rules, as configured.")
    certificate: str = Field(description="Rule whose bound this is.")
    bound: float = Field(description="Lower bound of the system accuracy at the risk of this look.")
    estimate: float | None = Field(description="Plain estimate of the system accuracy; none without an audit readout.")
    gamma: float = Field(description="Target system accuracy γ.")
    risk: float = Field(description="Allowed probability that the certificate is wrong, over the whole campaign.")
    risk_spent: float = Field(description="Risk spent so far, this look included.")
    risk_left: float = Field(description="Risk left for later looks.")
    risk_this_look: float = Field(description="Risk spent on this look.")
    look: int = Field(description="Number of this look, from 1.")
    round_index: int = Field(description="Round whose readouts the look includes.")
    assumption: str = Field(description="What the bound rests on.")
    rules: dict[str, RuleRecord] = Field(description="What every rule found, by its name.")
    control: ControlEvidence | None = Field(description="Error on the random control; none where it could not be told.")
    wells_used: int = Field(description="Sample wells used so far.")
    wells_full_screen: int = Field(description="Sample wells of the full screen.")
    wells_saved: int = Field(description="Sample wells not used.")
    wells_random: int | None = Field(
        description="Wells that measuring in random order would have needed for the same estimate of the accuracy."
    )
    wells_random_low: int | None = Field(description="Lower end of its 90% interval, by the chance of the control.")
    wells_random_high: int | None = Field(description="Upper end.")
    wells_saved_random: int | None = Field(description="Of these not used; negative where random order needs fewer.")
    wells_random_note: str = Field(description="How that was estimated, or why it was not.")
    would_change: str = Field(description="What would change the answer, in a sentence or two.")
