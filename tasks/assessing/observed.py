"""What is known when selection is assessed: measured perturbations, and how a campaign learns and chooses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tasks.batches.pool import Kind
from tasks.campaigns.batch_settings import Slot
from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import EnsembleSection
from tasks.errors import UserError

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FEWEST = 60
"""Labels: with fewer the first model of a replay inside them would learn from a dozen."""
_MEMBERS = {"mlp": 4, "mc-dropout": 16, "forest": 25, "gp": 16}


@dataclass(frozen=True, eq=False)
class Observed:
    """Measured perturbations, none of them a hidden audit member.

    Attributes:
        features: (n, d).
        values: (n,) labels [readout unit], or classes 0 and 1.
        variances: (n,) variance of each label [readout unit squared]; zeros where it is not known.
        plates: (n, P) whether a label has a well on a plate; P = 0 where plates are not known.
        drawn: (n,) who was drawn at random from the library: they stand for it, and models are tested on them alone.
            All when left out.

    Raises:
        UserError: Lengths differ.
    """

    features: npt.NDArray[np.floating]
    values: Float64
    variances: Float64
    plates: Bools = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))
    drawn: Bools = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def __post_init__(self) -> None:
        if not self.plates.size:
            object.__setattr__(self, "plates", np.zeros((len(self), 0), dtype=bool))
        if not self.drawn.size:
            object.__setattr__(self, "drawn", np.ones(len(self), dtype=bool))
        lengths = [len(part) for part in (self.features, self.values, self.variances, self.plates, self.drawn)]
        if len(set(lengths)) > 1:
            raise UserError("features, values and variances differ in length", where="assessment", got=lengths)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Way:
    """How a campaign learns and chooses.

    Attributes:
        ensemble: The predictors.
        operators: What is kept of their posterior.
        slots: Strategies and their shares.
        operator: Operator that strategies are to see.
        kind: Kind of the readout.
        repeats: Parts that the labels drawn at random are dealt into; each in turn is what models are tested on.
    """

    ensemble: EnsembleSection
    operators: OperatorsSection
    slots: tuple[Slot, ...]
    operator: str
    kind: Kind
    repeats: int

    @property
    def name(self) -> str:
        """The strategies, as one word where there is one."""
        return " + ".join(slot.strategy for slot in self.slots)

    @property
    def is_random(self) -> bool:
        """Whether there is nothing to compare with random order."""
        return all(slot.strategy == "random" for slot in self.slots)


def light(settings: EnsembleSection) -> EnsembleSection:
    """The same predictors with fewer members and a quarter of the epochs: quicker, and both orders are learnt alike."""
    changed: dict[str, int] = {"members": min(settings.members, _MEMBERS[settings.model])}
    if "epochs" in type(settings).model_fields:
        changed["epochs"] = math.ceil(getattr(settings, "epochs") / 4)  # noqa: B009 - not all settings have them
    return settings.model_copy(update=changed)
