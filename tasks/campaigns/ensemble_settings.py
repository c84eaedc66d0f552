"""The settings of the predictors: one class a model, and the presets that papers have used."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from tasks.campaigns.section import Preset

# What the papers' networks have in common, and this project's defaults do differently.
_PLAIN: dict[str, Any] = {
    "activation": "relu",
    "learning_rate": 1e-3,
    "layer_rates": False,
    "schedule": "constant",
    "clip": None,
    "ranks": False,
}

Widths = tuple[Annotated[int, Field(ge=1, le=8192)], ...]


class NetworkSettings(Preset):
    """Sizes and training of a perceptron."""

    hidden: Widths = Field(default=(128, 128), min_length=1, description="Width of each hidden layer.")
    residual: bool = Field(default=False, description="Add its input to a hidden layer of the same width (ResMLP).")
    activation: Literal["silu", "relu", "mish"] = Field(default="silu", description="Between the layers.")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.0, description="Share of a hidden layer's activations that a training step leaves out."
    )
    epochs: int = Field(default=64, ge=1, description="Passes over the labels.")
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Stop a member after so many epochs without a better held-out loss. None: run all epochs. Either "
        "way the weights of the best epoch are kept.",
    )
    batch_size: int | None = Field(
        default=None,
        ge=2,
        description="Labels a gradient step. None: the power of two nearest to 1.6·√labels, 16–1024.",
    )
    learning_rate: float = Field(default=0.03, gt=0, description="Peak learning rate of AdamW.")
    layer_rates: bool = Field(
        default=True, description="Divide a layer's learning rate by the root of its fan-in, so widths need no tuning."
    )
    schedule: Literal["cos-log", "cosine", "constant"] = Field(
        default="cos-log", description="Course of the learning rate; cos-log: four cycles, each twice as long."
    )
    weight_decay: float = Field(default=0.1, ge=0, description="Decoupled weight decay.")
    gradient_clip: float | None = Field(default=None, gt=0, description="Largest norm of a member's gradient.")
    clip: float | None = Field(
        default=3.0, gt=0, description="Scaled features are softly clipped at this: z/√(1 + (z/c)²)."
    )
    ranks: bool = Field(
        default=True, description="Give each feature's normal score (its rank among the labels) beside its value."
    )
    bootstrap: bool = Field(
        default=False, description="A member draws its labels with replacement from those that are not held out."
    )
    holdout: Literal["auto", "plates", "labels"] = Field(
        default="auto",
        description="What a member stops on: whole plates, or labels at random. auto: plates where there are five or "
        "more.",
    )
    holdout_share: Annotated[float, Field(gt=0.0, le=0.5)] = Field(
        default=0.1, description="Share of the labels or plates a member is stopped on. Members take turns."
    )
    precision: Literal["float32", "mixed"] = Field(
        default="float32", description="mixed: products in bfloat16, weights and sums in float32 (for GPUs)."
    )


class MlpSettings(NetworkSettings):
    """An ensemble of perceptrons."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        # Neporozhnii et al. 2025, table 1 (MNIST) and section B: ResMLP 2 × 512, AdamW without decay.
        "inference-set-design": _PLAIN
        | {
            "hidden": (512, 512),
            "residual": True,
            "dropout": 0.1,
            "epochs": 1000,
            "patience": 50,
            "batch_size": 1024,
            "weight_decay": 0.0,
            "gradient_clip": 1.0,
        }
    }

    model: Literal["mlp"] = Field(default="mlp", description="Model of a member.")
    members: int = Field(default=16, ge=2, le=512, description="Members of the ensemble.")
    noise_head: bool = Field(
        default=False, description="Continuous readouts: the network also learns how noisy a readout is, by features."
    )

    def groups(self, size: int) -> list[range]:
        """Members that are trained together."""
        return _steps(self.members, size)


class DropoutSettings(NetworkSettings):
    """One perceptron seen through dropout masks, each shared by all perturbations."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        # Mehrjou et al. 2022 as released: one hidden layer of 16, Adam 1e-3 with decay 1e-4, patience 13, 100 masks.
        # Not mirrored: decay is part of Adam's gradient there, decoupled here; it stops on the training loss there, on
        # held-out labels here; readouts are not standardised there; and a search over 4, 8 and 16 units may precede.
        "genedisco-bnn": _PLAIN
        | {
            "members": 100,
            "hidden": (16,),
            "dropout": 0.5,
            "epochs": 100,
            "patience": 13,
            "batch_size": 64,
            "weight_decay": 1e-4,
        },
        # Nagpal & Knowles 2020 as released: 50 units, rate 0.15, 50 masks, 300 epochs in batches of 128. Not mirrored:
        # the convolutions before that layer, and their output left out at the same rate; rmsprop (here AdamW); a decay
        # of 0.025/labels, part of the loss (here decoupled, and constant); the last epoch's weights (here the best's).
        "deimos": _PLAIN
        | {
            "members": 50,
            "hidden": (50,),
            "dropout": 0.15,
            "epochs": 300,
            "batch_size": 128,
            "weight_decay": 1e-4,
        },
    }

    model: Literal["mc-dropout"] = Field(description="Model.")
    members: int = Field(default=50, ge=2, le=512, description="Dropout masks.")
    dropout: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.1, description="Share of a hidden layer's activations that a mask leaves out."
    )

    def groups(self, size: int) -> list[range]:
        """All masks, whatever the size: they belong to one network."""
        return [range(self.members)]


_FEWEST_TREES = 25  # a piece of work: one is grown too quickly to be worth a checkpoint


class ForestSettings(Preset):
    """A random forest; its trees are the members."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        # Mehrjou et al. 2022 as released. Not mirrored, on purpose: trees drawn anew, with replacement, for every 256
        # perturbations. A search over depths of 1 to 3 and 10 to 200 trees may precede there.
        "genedisco-forest": {"members": 100, "max_depth": None, "min_leaf": 1, "max_features": 1.0}
    }

    model: Literal["forest"] = Field(description="Model.")
    members: int = Field(default=100, ge=2, le=2048, description="Trees.")
    max_depth: int | None = Field(
        default=None, ge=1, description="Largest depth of a tree. None: until leaves are pure."
    )
    min_leaf: int = Field(default=1, ge=1, description="Fewest labels in a leaf.")
    max_features: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0, description="Share of the features that a split may choose from."
    )

    def groups(self, size: int) -> list[range]:
        """Trees that are grown together, `size` of them, or 25 if that is more."""
        return _steps(self.members, max(size, _FEWEST_TREES))


class GaussianProcessSettings(Preset):
    """A Gaussian process, for small libraries; draws from its posterior are the members."""

    model: Literal["gp"] = Field(description="Model.")
    members: int = Field(default=64, ge=2, le=512, description="Functions drawn from the posterior.")
    kernel: Literal["matern-5/2", "rbf"] = Field(
        default="matern-5/2", description="Covariance function, with a length scale for each feature."
    )
    basis: int = Field(
        default=2048, ge=16, le=65536, description="Random Fourier features of a drawn function's prior."
    )
    max_labels: int = Field(
        default=3000, ge=10, le=20000, description="More labels than this are refused: cost grows with their cube."
    )

    def groups(self, size: int) -> list[range]:
        """All draws, whatever the size: they belong to one process."""
        return [range(self.members)]


def _steps(members: int, size: int) -> list[range]:
    return [range(start, min(start + size, members)) for start in range(0, members, size)]


#: Models whose members are steps: no gradient.
STEPPED = ("forest",)
MODEL_NAMES = ("mlp", "mc-dropout", "forest", "gp")


def _model(given: Any) -> Any:
    return given.get("model", "mlp") if isinstance(given, dict) else getattr(given, "model", None)


EnsembleSection = Annotated[
    Annotated[MlpSettings, Tag("mlp")]
    | Annotated[DropoutSettings, Tag("mc-dropout")]
    | Annotated[ForestSettings, Tag("forest")]
    | Annotated[GaussianProcessSettings, Tag("gp")],
    Discriminator(
        _model,
        custom_error_type="unknown_model",
        custom_error_message="unknown model",
    ),
]
