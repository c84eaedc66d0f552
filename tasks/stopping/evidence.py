"""What is known at a look, as counts."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.campaigns.membership import Membership
from tasks.errors import NumericalError

BoolArray = npt.NDArray[np.bool_]


class Counts(BaseModel):
    """Base of all counts: frozen, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AuditEvidence(Counts):
    """Counts of perturbations at one look. Everything not chosen is the population that the audit stands for."""

    library: int = Field(ge=1, description="Perturbations in the library, N.")
    chosen: int = Field(ge=0, description="Ever chosen by the initial design or a strategy; releases included.")
    pending: int = Field(ge=0, description="Chosen, but without a measurement: failed or abandoned plates.")
    audit: int = Field(ge=0, description="Hidden audit members: drawn at random, not chosen.")
    measured: int = Field(ge=0, description="Hidden audit members that have a measurement.")
    errors: int = Field(ge=0, description="Measured hidden members that the model predicts wrongly.")

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if not (self.pending <= self.chosen and self.errors <= self.measured <= self.audit <= self.population):
            raise ValueError("counts must satisfy pending ≤ chosen, errors ≤ measured ≤ audit ≤ library − chosen")
        return self

    @property
    def population(self) -> int:
        """Perturbations not chosen, hidden audit members included."""
        return self.library - self.chosen

    @property
    def unmeasured(self) -> int:
        """Hidden audit members without a measurement; they count as errors."""
        return self.audit - self.measured

    @property
    def open(self) -> int:
        """Perturbations that nobody chose and nobody hides."""
        return self.population - self.audit


class Forecast(Counts):
    """What can be known of a look without any hidden readout. By it the risk is spent."""

    library: int = Field(ge=1, description="Perturbations in the library, N.")
    chosen: int = Field(ge=0, description="Ever chosen by the initial design or a strategy; vetoed ones included.")
    pending: int = Field(ge=0, description="Chosen, but without a training label.")
    audit: int = Field(ge=0, description="Hidden audit members.")
    expected_errors: float = Field(
        ge=0,
        le=1,
        description="Share of what is not chosen that the model expects to have wrong.",
    )


class PickEvidence(Counts):
    """The newest strategic picks, predicted before they were measured. Round 0 has none."""

    strategies: tuple[str, ...] = Field(description="Slots that picked them.")
    picks: int = Field(ge=0, description="Perturbations they picked, releases included.")
    right: int = Field(ge=0, description="Of them measured, and predicted rightly by a model that had not seen them.")

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if self.right > self.picks:
            raise ValueError("right picks cannot be more than picks")
        return self


class ControlEvidence(Counts):
    """Perturbations drawn at random in round 0 and trained on since, predicted by members that did not learn from them.

    No hidden readout is in it.
    """

    round_index: int = Field(ge=0, description="Round of the model.")
    n: int = Field(ge=1, description="Perturbations.")
    right: int = Field(ge=0, description="Of them predicted rightly.")
    error: float = Field(ge=0, description="Root mean squared error [readout unit]; classes: share predicted wrongly.")


class Wells(Counts):
    """Sample wells, replicates included."""

    used: int = Field(ge=0, description="Used so far.")
    full: int = Field(ge=1, description="Of a full screen.")
    next_round: int = Field(default=0, ge=0, description="A further round takes so many at most.")


class Look(Counts):
    """Everything that rules may read."""

    round_index: int = Field(ge=0, description="Round whose readouts are in; 0 is the initial design.")
    audit: AuditEvidence
    wells: Wells
    picks: PickEvidence | None = None
    controls: tuple[ControlEvidence, ...] = Field(default=(), description="One a round, oldest first; gaps allowed.")

    @property
    def control(self) -> ControlEvidence | None:
        """The control of this very round."""
        return self.controls[-1] if self.controls and self.controls[-1].round_index == self.round_index else None


def gather_evidence(membership: Membership, measured: BoolArray, correct: BoolArray) -> AuditEvidence:
    """Count what the audit knows.

    Args:
        membership: Who is chosen and who is hidden, from the released designs.
        measured: (N,) has a label from a passed plate.
        correct: (N,) the current model's prediction agrees with it. That model must not have seen a hidden label.

    Raises:
        NumericalError: If the masks are not of the library's length.
    """
    chosen, hidden = membership.chosen, membership.hidden
    if not chosen.shape == hidden.shape == measured.shape == correct.shape:
        raise NumericalError(f"masks differ in length: {chosen.shape}, {measured.shape}, {correct.shape}")
    return AuditEvidence(
        library=len(chosen),
        chosen=int(chosen.sum()),
        pending=int((chosen & ~measured).sum()),
        audit=int(hidden.sum()),
        measured=int((hidden & measured).sum()),
        errors=int((hidden & measured & ~correct).sum()),
    )
