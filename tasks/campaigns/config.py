"""The configuration of a campaign: one YAML file, one model, checked when it is read."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.campaigns.batch_settings import BatchSection
from tasks.campaigns.compute_settings import ComputeSection
from tasks.campaigns.ensemble_settings import EnsembleSection, MlpSettings
from tasks.campaigns.section import Section, Share
from tasks.campaigns.stopping_settings import Probability, StoppingSection


class CampaignSection(Section):
    """Who the campaign is and where it lives."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        description="Name of the campaign: letters, digits, - and _. Folder name and prefix of every barcode.",
    )
    storage: str = Field(
        default="campaigns",
        min_length=1,
        description="Where all is kept: a folder (relative to this file) or any fsspec URL, as s3://bucket/prefix.",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed from which every random choice is derived.")


class LibrarySection(Section):
    """The finite set of perturbations that the campaign is about."""

    uri: str = Field(
        min_length=1,
        description="AnnData (.h5ad, .zarr) or table (.csv, .tsv, .parquet), relative to this file or an fsspec URL.",
    )
    id: str = Field(default="perturbation", description="Tables only: the column with the unique perturbation id.")
    reagents: str | None = Field(
        default=None,
        description="Annotation with the reagents of each perturbation (guides of a gene), joined by ;. Replicate k "
        "gets reagent k. None: the perturbation itself is dispensed.",
    )
    features: str = Field(
        default="X",
        description="AnnData: X or a key of obsm. Tables: a prefix of the columns, or X for all numeric ones.",
    )


Column = Annotated[str, Field(min_length=1)] | Annotated[int, Field(ge=1)]


class ReadoutColumns(Section):
    """Columns of a long-form plate file: names, or, in files without a header, positions counted from 1."""

    plate: Column = Field(
        default="plate", description="Column with the plate's barcode; may be absent (the file's name is the barcode)."
    )
    well: Column = Field(default="well", description="Column with the well (A1, A01, AF48).")
    value: Column = Field(default="value", description="Column with the readout, in the instrument's unit.")
    run: Column = Field(default="run", description="Column with the run; may be absent (each file is then one run).")
    attempt: Column = Field(default="attempt", description="Column with the plate's attempt; may be absent (1).")
    perturbation: Column = Field(
        default="perturbation",
        description="Column with the perturbation; may be absent. Where given it must agree with the plate map.",
    )
    role: Column = Field(
        default="role",
        description="Column with the role of the well; may be absent. Where given it must agree with the plate map.",
    )

    @model_validator(mode="after")
    def _one_way_of_naming(self) -> Self:
        default = {name: field.default for name, field in type(self).model_fields.items()}
        given = [column for name, column in self if name in ("well", "value") or column != default[name]]
        if any(isinstance(column, int) for column in given) and any(isinstance(column, str) for column in given):
            raise ValueError("give every column by its name, or every column by its position (1, 2, …), not both")
        if len(set(given)) < len(given):
            raise ValueError("two columns have the same " + ("position" if self.positional else "name"))
        return self

    @property
    def positional(self) -> bool:
        """Whether the files have no header and columns are given by position."""
        return isinstance(self.well, int)


class ReadoutSection(Section):
    """What a well reports, and when a prediction of it counts as correct."""

    kind: Literal["continuous", "binary"] = Field(
        default="continuous", description="continuous: the aligned value. binary: aligned value above the threshold."
    )
    unit: str = Field(default="", description="Unit of the aligned value, for reports.")
    tolerance: float | None = Field(
        default=None,
        gt=0,
        description="Continuous: a prediction within this of the measurement is correct [readout unit].",
    )
    threshold: float | None = Field(
        default=None, description="Binary: aligned value above which the class is 1 [readout unit]."
    )
    format: str = Field(
        default="auto",
        description="Form of the plate files: auto, long (a line a well), grid (8×12, 16×24, 32×48), parquet, anndata.",
    )
    columns: ReadoutColumns = Field(default_factory=ReadoutColumns, description="Columns of the plate files.")
    decimal: Literal[".", ","] = Field(default=".", description="Decimal mark of text files.")
    last_line: Literal["complete", "any"] = Field(
        default="complete",
        description="complete: a text file must end with a line end, else its upload was cut off. any: it need not.",
    )
    transform: Literal["none", "log2", "log10"] = Field(
        default="none",
        description="Applied to every value when it is read; a log refuses values that are not positive.",
    )
    features: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Several features a well: their columns, * and ? allowed. None: only the value column.",
    )
    output: str | None = Field(
        default=None, description="Several features a well: the one that quality control, labels and model are about."
    )

    @model_validator(mode="after")
    def _features_have_an_output(self) -> Self:
        if (self.features is None) != (self.output is None):
            raise ValueError("features and output go together: output is the feature that is modelled")
        if self.features is not None and self.columns.positional:
            raise ValueError("features need a header: they are found by name, columns are given by position")
        return self

    @model_validator(mode="after")
    def _kind_has_its_number(self) -> Self:
        if self.kind == "continuous" and self.tolerance is None:
            raise ValueError("tolerance is needed for a continuous readout")
        if self.kind == "binary" and self.threshold is None:
            raise ValueError("threshold is needed for a binary readout")
        return self


class ControlWells(Section):
    """Where one kind of control stands on every plate."""

    wells: tuple[str, ...] = Field(min_length=1, description="Wells (A01) or rectangles (A01:H01).")
    nominal: float | None = Field(
        default=None, description="Known value of this control [readout unit]; two-point needs it."
    )
    reagent: str = Field(default="", description="What is dispensed there, for the worklist.")


class PlatesSection(Section):
    """The plates: format, controls, how many."""

    format: Literal[96, 384, 1536] = Field(default=384, description="Wells of a plate.")
    negcon: ControlWells = Field(description="Negative control wells.")
    poscon: ControlWells | None = Field(default=None, description="Positive control wells.")
    edge: Literal["use", "empty"] = Field(default="use", description="empty: no sample in the outermost wells.")
    replicates: int = Field(default=1, ge=1, le=8, description="Wells a perturbation gets, each on another plate.")
    transfer_nl: float = Field(
        default=25.0, gt=0, multiple_of=2.5, description="Volume dispensed into each used well, for the worklists [nL]."
    )
    initial: int = Field(default=4, ge=1, description="Plates of round 0.")
    per_round: int = Field(default=4, ge=1, description="Plates of every later round.")

    @property
    def controls(self) -> dict[str, ControlWells]:
        """The controls that there are, by role."""
        given = {"negcon": self.negcon, "poscon": self.poscon}
        return {role: control for role, control in given.items() if control is not None}

    @property
    def reagents(self) -> dict[str, str]:
        """What is dispensed as each control, by role, where it is named."""
        return {role: control.reagent for role, control in self.controls.items() if control.reagent}

    @model_validator(mode="after")
    def _replicates_fit(self) -> Self:
        for name in ("initial", "per_round"):
            if getattr(self, name) < self.replicates:
                raise ValueError(f"{name} must be at least replicates: each replicate stands on another plate")
        return self


class QualitySection(Section):
    """Thresholds of plate quality control. A plate passes when every metric that can be computed does."""

    min_zprime: float | None = Field(default=0.3, le=1, description="Smallest robust Z′ of negcon and poscon.")
    min_ssmd: float | None = Field(default=3.0, ge=0, description="Smallest |SSMD| of negcon and poscon (robust).")
    max_negcon_cv: float | None = Field(
        default=None, gt=0, description="Largest robust coefficient of variation of negcon."
    )
    poscon_reads: Literal["higher", "lower"] | None = Field(
        default=None,
        description="Whether poscon reads higher or lower than negcon in the instrument's unit. A plate the other way "
        "round fails. Not given: what most plates say.",
    )
    max_row_effect: Share | None = Field(
        default=None, description="Largest share of the variation among samples that rows explain."
    )
    max_column_effect: Share | None = Field(default=None, description="The same for columns.")
    min_replicate_correlation: float | None = Field(
        default=None, ge=-1, le=1, description="Smallest rank correlation of a plate's samples with their replicates."
    )
    min_gap_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Smallest gap between poscon and negcon, as share of the median gap of the run: below it the "
        "positive control failed. Works with one control of each kind a plate; 0.5 is a sound choice for two-point.",
    )
    interval: Probability = Field(default=0.95, description="Level of the bootstrap interval of Z′ and SSMD.")
    max_missing: Share = Field(default=0.05, description="Largest share of used wells without a value.")
    min_passed: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.75, description="A round goes on when at least this share of its plates has passed."
    )


class AlignmentSection(Section):
    """How plates are brought onto one scale. Fitted on control wells only."""

    method: str = Field(
        default="negcon",
        description="negcon: centre and scale on negcon. two-point: negcon and poscon to their nominal values. Several "
        "features: negcon, tvn, coral. One-off screens only, because they use the samples: plate-median, b-score.",
    )
    anchors: tuple[Literal["bridges", "samples"], ...] = Field(
        default=(),
        description="What anchors a plate's offset beside its controls. bridges: perturbations that stand on several "
        "plates. samples: sample medians, compared within one run and round only; needs samples that were allotted to "
        "the plates at random, as the designs of a campaign are.",
    )
    on_too_few: Literal["error", "run"] = Field(
        default="error",
        description="Too few controls, or no spread among them, on a plate: an error, or the run's own level is taken.",
    )
    shrinkage: bool = Field(
        default=True, description="Shrink a plate's offset and scale to its run's, by control noise and count."
    )
    min_controls: int = Field(default=2, ge=1, description="Fewer wells than this of a needed control is an error.")
    scale: Literal["plate", "common"] = Field(
        default="common",
        description="Several features alone: one scale for all runs, that of the first, or each plate's own. common "
        "keeps the noise of the scales out and suits readouts whose gain does not change.",
    )
    regularisation: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="tvn, coral: share of the identity in the correlation of the controls. None: Ledoit-Wolf.",
    )


class OperatorsSection(Section):
    """How Ω is estimated."""

    within: Literal["none", "last-layer"] = Field(
        default="last-layer", description="Add each member's own posterior (last-layer Laplace) to Σ_F."
    )
    sketch: int = Field(default=128, ge=1, le=512, description="Columns to which the last-layer factor is sketched.")
    gradients: int = Field(
        default=128,
        ge=0,
        le=512,
        description="Columns to which gradients by the weights are sketched, for batch.operator gradients. 0: none.",
    )
    features: int = Field(default=32, ge=1, le=64, description="Leading ensemble features p of Δ and the calibration.")
    cobias: Literal["quadratic", "direct"] = Field(
        default="quadratic",
        description="Estimator of Δ. quadratic: regresses products of residuals. direct: residuals, and squares.",
    )
    ridge: float = Field(
        default=1.0,
        gt=0,
        description="Ridge λ of Δ, relative to the mean (direct) or mean squared (quadratic) eigenvalue of the Gram "
        "matrix.",
    )
    decay: Share = Field(
        default=0.5,
        description="Weight of the residuals of a round beside those of the round after it, in Δ. 0: the newest alone.",
    )
    remaining: bool = Field(
        default=False, description="Operator difference: weigh the drop of the error by the error that remains."
    )


class CampaignConfig(Section):
    """The whole configuration of a campaign."""

    campaign: CampaignSection
    library: LibrarySection
    readout: ReadoutSection
    plates: PlatesSection
    quality: QualitySection = Field(default_factory=QualitySection)
    alignment: AlignmentSection = Field(default_factory=AlignmentSection)
    ensemble: EnsembleSection = Field(
        default_factory=MlpSettings, description="The predictors; `model` says which settings there are."
    )
    operators: OperatorsSection = Field(default_factory=OperatorsSection)
    batch: BatchSection = Field(default_factory=BatchSection)
    stopping: StoppingSection = Field(default_factory=StoppingSection)
    compute: ComputeSection = Field(default_factory=ComputeSection)
    approval: Literal["off", "required"] = Field(
        default="off", description="required: a proposed batch waits for `hybridscreen release`."
    )

    @model_validator(mode="before")
    @classmethod
    def _classes_have_their_own_strategy(cls, given: Any) -> Any:
        """What is best for values is not for classes: see make inference-set and make regression."""
        readout, batch = (given.get(name, {}) if isinstance(given, dict) else None for name in ("readout", "batch"))
        if not (isinstance(readout, dict) and isinstance(batch, dict)) or "slots" in batch:
            return given
        if readout.get("kind") != "binary":
            return given
        return {**given, "batch": {**batch, "slots": [{"strategy": "least-confidence", "share": 1.0}]}}

    @model_validator(mode="after")
    def _profiles_have_their_own_alignment(self) -> Self:
        several = self.readout.output is not None
        if several and self.alignment.anchors:
            raise ValueError("alignment.anchors tie plates by one number a well; leave them out with several features")
        if not several and self.alignment.regularisation is not None:
            raise ValueError("alignment.regularisation is for several features (readout.features, readout.output)")
        return self

    @model_validator(mode="after")
    def _two_point_has_its_points(self) -> Self:
        if self.alignment.method != "two-point":  # other methods know themselves what they need
            return self
        if self.plates.poscon is None:
            raise ValueError("alignment.method two-point needs plates.poscon")
        low, high = self.plates.negcon.nominal, self.plates.poscon.nominal
        if low is None or high is None or low == high:
            raise ValueError(
                "alignment.method two-point needs two different values plates.negcon.nominal and "
                f"plates.poscon.nominal, not {low} and {high}"
            )
        return self
