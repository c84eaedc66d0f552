"""What is replayed: finished screens, strategies, seeds, and how the campaigns are run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.campaigns.batch_settings import Hits, Slot
from tasks.campaigns.compute_settings import ComputeSection
from tasks.campaigns.config import LibrarySection, OperatorsSection
from tasks.campaigns.ensemble_settings import EnsembleSection, MlpSettings
from tasks.campaigns.section import Preset, Section, Share

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Operator = Literal["members", "reducible", "calibrated", "gradients", "difference"]

#: Every campaign of a replay is compared with this one.
CONTROL = "random"


class ReplaySection(Section):
    """Which replay it is and where it lives."""

    name: Name = Field(description="Name of the replay: letters, digits, . - and _; a folder of this name holds it.")
    storage: str = Field(
        default="replays",
        min_length=1,
        description="Where all is kept: a folder (relative to this file) or any fsspec URL, as s3://bucket/prefix.",
    )
    seeds: int = Field(
        default=5, ge=2, le=1000, description="Campaigns of each strategy on each screen, each on a split of its own."
    )
    first_seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of the first of them; the others follow.")


class NoiseSection(Section):
    """Noise that is added to what a screen says, to see what that does to strategies [sds of its values]."""

    level: float = Field(default=0.5, ge=0, description="Standard deviation of a well where the value is average.")
    slope: float = Field(
        default=0.0,
        ge=0,
        description="Type II: the noise of a well grows by exp(slope·z), z the value in sds, at most 3.",
    )
    plate: float = Field(
        default=0.0, ge=0, description="Type III: standard deviation of what the wells of a plate share."
    )
    wells: int = Field(default=64, ge=2, description="Samples of a plate.")
    replicates: int = Field(default=2, ge=1, le=8, description="Wells of a perturbation, each on another plate.")
    controls: int = Field(default=16, ge=2, description="Wells of a plate for each of its two controls.")
    failures: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of plates that fail and are given up: a perturbation that no other plate showed may be "
        "chosen again.",
    )


class ScreenSection(LibrarySection):
    """A finished screen: features and what was measured."""

    name: Name = Field(description="Name of the screen in tables.")
    value: tuple[str, ...] = Field(
        min_length=1, description="Annotation with the readout; of several (replicates) the mean is the label."
    )
    truth: tuple[str, ...] = Field(
        default=(), description="Annotation that predictions are judged by (its mean); by default the readout's own."
    )
    noise: NoiseSection | None = Field(
        default=None, description="Noise to add. None: the protocol's, else labels are as the screen has them."
    )


class ReadoutSettings(Section):
    """What a readout is, and when a prediction counts as correct."""

    kind: Literal["continuous", "binary"] = Field(
        default="continuous", description="continuous: the value. binary: value above the threshold."
    )
    threshold: float | Literal["median"] = Field(
        default="median", description="Binary: value above which the class is 1."
    )
    tolerance: float = Field(
        default=0.5, gt=0, description="Continuous: a prediction within so many sds of the truth is correct."
    )
    hits: Share = Field(
        default=0.05,
        description="Continuous: share of the pool with the most extreme truth that counts as hits. Of classes all of "
        "class 1 are hits.",
    )
    tail: Literal["high", "low", "both"] = Field(
        default="both", description="Which values are extreme; with classes low means that class 0 is a hit."
    )


class ProtocolSection(Preset):
    """How a campaign is run; `preset` is one that others have used."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        # Holzmüller et al. 2023: 256 labels, then 16 batches of 256.
        "regression": {"test": 0.2, "initial": 256, "batch": 256, "rounds": 16},
        # Mehrjou et al. 2021: 20% test, the first batch as large as the others; 16 to 512 of them.
        "genedisco": {"test": 0.2, "initial": 256, "batch": 256, "rounds": 8},
        # Neporozhnii et al. 2025 for MNIST: all that is not measured is the test.
        "inference-set": {"test": 0.0, "initial": 1000, "batch": 1000, "rounds": 40},
        # A round is four full plates of 384 wells, two of each set of samples; one plate of twenty fails.
        "plates": {
            "test": 0.2,
            "initial": 640,
            "batch": 640,
            "rounds": 8,
            "noise": {"level": 0.5, "plate": 0.5, "wells": 320, "controls": 32, "replicates": 2, "failures": 0.05},
        },
    }

    test: Annotated[float, Field(ge=0.0, le=0.9)] = Field(
        default=0.2, description="Share of the screen that no strategy may choose; models are judged on it."
    )
    pool: int | None = Field(default=None, ge=100, description="Most perturbations to choose from, drawn by the seed.")
    initial: int = Field(default=256, ge=10, description="Labels drawn at random before the first choice.")
    batch: int = Field(default=256, ge=1, description="Perturbations a round.")
    rounds: int = Field(default=8, ge=1, le=500, description="Batches that are chosen.")
    noise: NoiseSection | None = Field(
        default=None, description="Noise to add to every screen that says nothing of its own. None: none."
    )


class ArmSection(Section):
    """One way to choose batches. Everything else is the same for all."""

    name: Name = Field(description="Name of the arm in tables.")
    slots: tuple[Slot, ...] = Field(min_length=1, description="Strategies and their shares (sum 1).")
    operator: Operator = Field(default="reducible", description="Operator whose eigenspace strategies see.")
    hits: Hits | None = Field(default=None, description="Wells that look for hits.")
    operators: OperatorsSection | None = Field(
        default=None, description="How Ω is estimated, if not as for the others."
    )


class ReplayConfig(Section):
    """The whole configuration of a replay."""

    replay: ReplaySection
    screens: tuple[ScreenSection, ...] = Field(min_length=1, description="Finished screens.")
    arms: tuple[ArmSection, ...] = Field(
        min_length=1, description=f"What is compared; `{CONTROL}` is always played too."
    )
    readout: ReadoutSettings = Field(default_factory=ReadoutSettings)
    protocol: ProtocolSection = Field(default_factory=ProtocolSection)
    ensemble: EnsembleSection = Field(default_factory=MlpSettings, description="The predictors.")
    operators: OperatorsSection = Field(default_factory=OperatorsSection)
    compute: ComputeSection = Field(default_factory=ComputeSection)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for what, named in (("screens", self.screens), ("arms", self.arms)):
            double = _twice(each.name for each in named)
            if double is not None:
                raise ValueError(f"two {what} are named {double}")
        return self

    @property
    def played(self) -> tuple[ArmSection, ...]:
        """The arms with the control, which comes first."""
        control = ArmSection(name=CONTROL, slots=(Slot(strategy="random", share=1.0),))
        return (control, *(arm for arm in self.arms if arm.name != CONTROL))

    def noise_of(self, screen: ScreenSection) -> NoiseSection | None:
        """The noise that is added to a screen."""
        return screen.noise or self.protocol.noise

    @property
    def seeds(self) -> range:
        """Seed of every campaign."""
        return range(self.replay.first_seed, self.replay.first_seed + self.replay.seeds)


def _twice(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)
