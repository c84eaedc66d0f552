"""What the alignment of profiles leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from tasks.readouts.alignment.model import AlignmentFit
from tasks.readouts.alignment.profiles.settling import RunLevels
from tasks.readouts.alignment.profiles.spread import Mixing, Spread

Array = npt.NDArray[np.float64]


class ProfileSettings(BaseModel):
    """The part of the configuration that every plate of a campaign must share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    scale: Literal["plate", "common"]
    shrinkage: bool
    regularisation: float | None


@dataclass(frozen=True, eq=False)
class RunState:
    """What later plates of the run, and later runs, meet unchanged; (d,) each.

    Attributes:
        unit: The common scale of all runs [instrument units].
        origin: Values near the run's controls, where mixing features starts from [instrument units].
        noise: Variance of a control well within its plate: relative to the run's spread, or mixed.
        centre: Levels of the plates' centres: in instrument units, or mixed.
        log_scale: Levels of the logs of the plates' scales.
    """

    unit: Array
    origin: Array
    noise: Array
    centre: RunLevels
    log_scale: RunLevels


@dataclass(frozen=True, eq=False)
class ProfileFit:
    """The alignment of d features on the P plates of one run: aligned = mixing((x − centre)/scale).

    Attributes:
        settings: Method and what belongs to it.
        features: Names of the d features, in the order of the arrays.
        output: The feature that labels and model are about.
        outcome: The output's alignment with its error variances; its plates are the P plates, in order.
        centre: Raw profile that becomes 0, (P, d) [instrument units].
        scale: Raw units per scaled unit, (P, d) [instrument units].
        run_state: What is kept for plates and runs to come.
        mixing: Map of the run from scaled to aligned profiles; None: features are not mixed.
    """

    settings: ProfileSettings
    features: tuple[str, ...]
    output: str
    outcome: AlignmentFit
    centre: Array
    scale: Array
    run_state: RunState
    mixing: Mixing | None

    @property
    def run(self) -> str:
        """The plates that were processed together."""
        return self.outcome.run

    def as_alignment_fit(self) -> AlignmentFit:
        """The output feature as one-feature alignment: errors for the noise model, shares kept for the report.

        Where features are mixed, offset and scale are the output's own before mixing, the offset's variance is that of
        the mixed output, and the variance of the scale leaves out the scales of the other features.
        """
        return self.outcome

    @property
    def meta(self) -> dict[str, Any]:
        """All but the arrays, as JSON."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "features": list(self.features),
            "output": self.output,
            "outcome": self.outcome.model_dump(mode="json"),
            "floors": {name: spread.floor for name, spread in self._spreads().items()},
        }

    def to_tensors(self) -> dict[str, Array]:
        """The arrays under names of their own."""
        state = self.run_state
        tensors = {
            "centre": self.centre,
            "scale": self.scale,
            "run.unit": state.unit,
            "run.origin": state.origin,
            "run.noise": state.noise,
            "run.centre": state.centre.rows,
            "run.log_scale": state.log_scale.rows,
        }
        for name, spread in self._spreads().items():
            tensors |= {f"{name}.sd": spread.sd, f"{name}.values": spread.values}
            tensors[f"{name}.directions"] = spread.directions
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array], meta: Mapping[str, Any]) -> Self:
        """The fit as it was stored; the inverse of `to_tensors` and `meta`."""
        spreads = {
            name: Spread(tensors[f"{name}.sd"], tensors[f"{name}.values"], tensors[f"{name}.directions"], floor)
            for name, floor in meta["floors"].items()
        }
        mixing = Mixing(spreads["source"], spreads.get("target")) if "source" in spreads else None
        return cls(
            settings=ProfileSettings.model_validate(meta["settings"]),
            features=tuple(meta["features"]),
            output=meta["output"],
            outcome=AlignmentFit.model_validate(meta["outcome"]),
            centre=tensors["centre"],
            scale=tensors["scale"],
            run_state=RunState(
                unit=tensors["run.unit"],
                origin=tensors["run.origin"],
                noise=tensors["run.noise"],
                centre=RunLevels(*tensors["run.centre"]),
                log_scale=RunLevels(*tensors["run.log_scale"]),
            ),
            mixing=mixing,
        )

    def _spreads(self) -> dict[str, Spread]:
        if self.mixing is None:
            return {}
        named = {"source": self.mixing.source, "target": self.mixing.target}
        return {name: spread for name, spread in named.items() if spread is not None}
