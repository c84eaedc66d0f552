"""Nodes of the readouts room: uploads → plates → quality → alignment → labels."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from tasks.campaigns.config import AlignmentSection, CampaignConfig, PlatesSection, QualitySection, ReadoutSection
from tasks.campaigns.designs import read_table
from tasks.campaigns.membership import HIDDEN_ARMS
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage, digest, sha256
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.storage import StorageError
from tasks.checkpoints.task import node_task
from tasks.readouts.alignment import SAMPLE_BASED, AlignmentFit, apply_alignment, fit_alignment
from tasks.readouts.alignment.profiles import ProfileFit, apply_profiles, fit_profiles
from tasks.readouts.cohorts import Cohort
from tasks.readouts.ingest import (
    WELL_COLUMNS,
    PlateHead,
    PlateReadout,
    RejectedInput,
    Rejection,
    feature_columns,
    match_platemap,
    read_plate_file,
)
from tasks.readouts.layouts import exclude
from tasks.readouts.noise_estimate import estimate_noise
from tasks.readouts.quality import (
    ACROSS_PLATES,
    PlateQuality,
    assess_plate,
    judge_directions,
    judge_gaps,
    judge_replicates,
)
from tasks.readouts.replicates import aggregate
from tasks.readouts.two_way import plate_keys

PARSE = Stage("parse", 3, cheap=True)
PLATE = Stage("plate", 3, cheap=True)
TOGETHER = Stage("together", 1, cheap=True)
ALIGN = Stage("align", 8, cheap=True)
LABELS = Stage("labels", 3, cheap=True)

_HEAD = ["barcode", "attempt", "run", "run_written", "content"]
_NO_PLAN = pd.DataFrame(columns=["barcode", "well", "row", "column", "role", "perturbation", "replicate", "slot"])
_READ = {"format", "columns", "decimal", "last_line", "features", "output"}


@node_task("parse upload", "parse {name}")
def parse_upload(cp: Checkpointer, name: str, upload: Ref, readout: ReadoutSection, fmt: int) -> Outputs:
    """One uploaded file: its plates and their numbers, or why it was refused."""

    def compute() -> dict[str, Payload]:
        data = cp.store.storage.read(upload.uri)
        if sha256(data) != upload.sha256:
            raise StorageError(
                f"{upload.uri} changed while it was read. Wait for the upload to end, then run the round again"
            )
        try:
            plates, rejections = read_plate_file(data, name, readout, fmt), Payload("json", [])
        except RejectedInput as error:
            plates, rejections = [], _rejections(error)
        wells = [plate.values.assign(barcode=plate.barcode, attempt=plate.attempt) for plate in plates]
        table = pd.concat(wells, ignore_index=True) if wells else pd.DataFrame({"well": pd.Series(dtype="object")})
        heads = [_head_row(plate.head) for plate in plates]
        return {"wells": Payload("table", table), "plates": Payload("json", heads), "rejections": rejections}

    # The name is a parameter because it may name the run and the plate.
    params = {
        "readout": readout.model_dump(mode="json", include=_READ),
        "plates": {"format": fmt},
        "name": name,
    }
    outputs = ("wells", "plates", "rejections")
    return cp.run(f"parse/{name}", PARSE, compute, outputs=outputs, params=params, inputs={"upload": upload})


def _head_row(head: PlateHead) -> dict[str, Any]:
    problems = [[problem.line, problem.reason] for problem in head.problems]
    return {field: getattr(head, field) for field in _HEAD} | {"columns": list(head.columns), "problems": problems}


def heads_of(cp: Checkpointer, name: str, parsed: Outputs) -> list[PlateHead]:
    """Plates of a parsed upload, without their values."""
    return [
        PlateHead(
            source=name,
            columns=tuple(head["columns"]),
            problems=tuple(Rejection(name, head["barcode"], line, reason) for line, reason in head["problems"]),
            **{field: head[field] for field in _HEAD},
        )
        for head in cp.load(parsed["plates"])
    ]


def load_plate(cp: Checkpointer, head: PlateHead, parsed: Outputs) -> PlateReadout:
    """One plate of a parsed upload, with its values; a plate of which no line could be read has no rows."""
    columns = list(head.columns)
    table = _parsed_plates(cp, parsed["wells"]).get((head.barcode, head.attempt))
    values = pd.DataFrame(columns=columns) if table is None else table[columns].reset_index(drop=True)
    return PlateReadout(head.barcode, head.attempt, head.run, head.source, values, head.run_written, head.problems)


@lru_cache(maxsize=2)
def _parsed_plates(cp: Checkpointer, wells: Ref) -> dict[tuple[str, int], pd.DataFrame]:
    """Tables of a parsed upload by barcode and attempt. Plates of one file are judged one after the other."""
    table = cp.load(wells)
    return dict(iter(table.groupby(["barcode", "attempt"], sort=False))) if len(table) else {}


@lru_cache(maxsize=4)
def _plans(platemap: str) -> dict[str, pd.DataFrame]:
    """Plate maps by barcode."""
    return {str(barcode): plan for barcode, plan in read_table(platemap).groupby("barcode", sort=False)}


def _trouble(cp: Checkpointer, outputs: Outputs) -> tuple[str, str] | None:
    """Why a plate cannot be used, for who looks at its task; None of one that passed by itself."""
    quality = cp.load(outputs["quality"])
    if quality is None:
        return "Plate refused", "; ".join(str(item["reason"]) for item in cp.load(outputs["rejections"])[:3])
    judged = PlateQuality.model_validate(quality)
    return None if judged.passed else ("Plate failed", "; ".join(judged.reasons))


@node_task("judge plate", "plate {head.key}", _trouble)
def judge_plate(
    cp: Checkpointer,
    head: PlateHead,
    parsed: Outputs,
    platemap: Ref,
    library: Ref | None,
    features: Sequence[str] | None,
    exclusions: pd.DataFrame,
    config: CampaignConfig,
) -> Outputs:
    """One plate attempt against its plate map, and its quality; refused plates have no wells and no quality.

    `features` are those that every plate of the campaign must have (`reference_features`). Wells of the plate's
    `exclusions` have no value.
    """
    exclusions = exclusions[exclusions["attempt"].isin([0, head.attempt])]

    def compute() -> dict[str, Payload]:
        plan = _plans(cp.load(platemap)).get(head.barcode, _NO_PLAN)
        try:
            wells = _matched(cp, load_plate(cp, head, parsed), plan, library, features, config)
        except RejectedInput as error:
            nothing = pd.DataFrame({name: pd.Series(dtype="object") for name in WELL_COLUMNS})
            return {
                "wells": Payload("table", nothing),
                "quality": Payload("json", None),
                "rejections": _rejections(error),
            }
        wells = exclude(wells, exclusions, ["value", *feature_columns(wells)])
        verdict = _assessed(wells, plan, config)
        return {
            "wells": Payload("table", wells),
            "quality": Payload("json", verdict.model_dump(mode="json")),
            "rejections": Payload("json", []),
        }

    params = {
        "plate": head.key,
        "content": head.content,
        "run": head.run,
        "plates": {"format": config.plates.format},
        "readout": {"transform": config.readout.transform, "output": config.readout.output},
        "quality": config.quality.model_dump(mode="json", exclude=set(ACROSS_PLATES)),
        "min_controls": config.alignment.min_controls,
        "reagents": config.plates.reagents,
        "features": None if features is None else digest(sorted(features)),
        "exclusions": exclusions[["well", "reason"]].sort_values("well").to_numpy().tolist(),
    }
    inputs = {"wells": parsed["wells"], "plates": parsed["plates"], "platemap": platemap}
    outputs = ("wells", "quality", "rejections")
    return cp.run(f"plate/{head.key}", PLATE, compute, outputs=outputs, params=params, inputs=inputs)


def _matched(
    cp: Checkpointer,
    plate: PlateReadout,
    plan: pd.DataFrame,
    library: Ref | None,
    features: Sequence[str] | None,
    config: CampaignConfig,
) -> pd.DataFrame:
    """Wells of a plate by its plate map; the library is loaded only when somebody has to be told apart."""

    def ids() -> frozenset[str]:
        return frozenset(() if library is None else cp.load(library).obs_names)

    names = None if library is None else ids
    return match_platemap(
        plate, plan, config.readout, features=features, reagents=config.plates.reagents, library=names
    )


def _assessed(wells: pd.DataFrame, plan: pd.DataFrame, config: CampaignConfig) -> PlateQuality:
    return assess_plate(
        wells,
        config.quality,
        min_controls=config.alignment.min_controls,
        fmt=config.plates.format,
        transform=config.readout.transform,
        exclude=_drawn_for_the_audit(plan),
    )


@node_task("judge plates together")
def judge_together(
    cp: Checkpointer, plates: Mapping[str, Outputs], platemaps: Mapping[int, Ref], quality: QualitySection
) -> Outputs:
    """What only all plates together tell: turned controls, failed positive controls, replicates that disagree.

    Args:
        cp: Runs the node.
        plates: Judged plates by key; none that was refused.
        platemaps: Released plate maps by round.
        quality: Thresholds.
    """
    needed = ["barcode", "attempt", "role", "perturbation", "value"]

    def compute() -> dict[str, Payload]:
        audit = frozenset().union(*(_drawn_for_the_audit(read_table(cp.load(ref))) for ref in platemaps.values()))
        said = [PlateQuality.model_validate(cp.load(plates[key]["quality"])) for key in sorted(plates)]
        wells = [cp.load(plates[key]["wells"])[needed] for key in sorted(plates)]
        said = judge_gaps(judge_directions(said, quality.poscon_reads), quality.min_gap_share)
        if wells:
            together = pd.concat(wells, ignore_index=True)
            said = judge_replicates(said, together, quality.min_replicate_correlation, exclude=audit)
        return {"qualities": Payload("json", [verdict.model_dump(mode="json") for verdict in said])}

    params = {"quality": quality.model_dump(mode="json", include=set(ACROSS_PLATES) - {"min_passed"})}
    inputs = {f"{what} {key}": plates[key][what] for key in sorted(plates) for what in ("quality", "wells")}
    inputs |= {f"platemap {number}": ref for number, ref in platemaps.items()}
    return cp.run("plates together", TOGETHER, compute, outputs=("qualities",), params=params, inputs=inputs)


def _drawn_for_the_audit(platemap: pd.DataFrame) -> frozenset[str]:
    """Perturbations drawn at random: as long as they are hidden, their readouts must not steer what is repeated."""
    return frozenset(platemap.loc[platemap["slot"].isin(HIDDEN_ARMS), "perturbation"])


@node_task("align run", "{node}")
def align_run(
    cp: Checkpointer,
    node: str,
    cohort: Cohort,
    standing: Ref,
    alignment: AlignmentSection,
    plates: PlatesSection,
    output: str | None,
) -> Outputs:
    """Plates of one run that arrived together on one scale.

    `aligned` is the table of wells with the aligned value; of profiles `profiles` holds all aligned features, row by
    row the same wells. Hidden audit members are kept from whatever looks at samples.
    """
    looks_at_samples = bool(alignment.anchors) or alignment.method in SAMPLE_BASED

    def compute() -> dict[str, Payload]:
        table = pd.concat([cp.load(cohort.wells[key]) for key in sorted(cohort.wells)], ignore_index=True)
        if output is not None:
            return _align_profiles(cp, cohort, table, alignment, plates, output)
        known = None if cohort.known is None else AlignmentFit.model_validate(cp.load(cohort.known["fit"]))
        hidden: frozenset[str] = frozenset()
        if looks_at_samples:
            members = cp.load(standing)
            hidden = frozenset(members.loc[members["hidden"], "perturbation"])
            table = table.assign(round=table["barcode"].map(cohort.rounds))
        fit = fit_alignment(table, alignment, plates, known=known, exclude=hidden)
        aligned = apply_alignment(table.drop(columns="round", errors="ignore"), fit)
        own = tuple(plate for plate in fit.plates if plate.key in cohort.new)
        return {
            "fit": Payload("json", fit.model_copy(update={"plates": own}).model_dump(mode="json")),
            "aligned": Payload("table", aligned[plate_keys(aligned).isin(cohort.new)].reset_index(drop=True)),
        }

    nominal = {role: control.nominal for role, control in plates.controls.items()}
    params: dict[str, Any] = {"alignment": alignment, "nominal": nominal, "output": output, "new": sorted(cohort.new)}
    inputs = {f"plate {key}": ref for key, ref in cohort.wells.items()}
    inputs |= {f"known {name}": ref for name, ref in (cohort.known.items() if cohort.known else ())}
    if looks_at_samples:
        inputs["membership"], params["rounds"] = standing, dict(cohort.rounds)
    outputs = ("fit", "aligned") if output is None else ("fit", "aligned", "profiles", "arrays", "meta")
    return cp.run(node, ALIGN, compute, outputs=outputs, params=params, inputs=inputs)


def _align_profiles(
    cp: Checkpointer,
    cohort: Cohort,
    table: pd.DataFrame,
    alignment: AlignmentSection,
    plates: PlatesSection,
    output: str,
) -> dict[str, Payload]:
    known = None
    if cohort.known is not None:
        known = ProfileFit.from_tensors(cp.load(cohort.known["arrays"]), cp.load(cohort.known["meta"]))
    fit = fit_profiles(table, alignment, plates, output, known)
    aligned = apply_profiles(table, fit)
    aligned = aligned[plate_keys(aligned).isin(cohort.new)].reset_index(drop=True)
    outcome = fit.as_alignment_fit()
    own = tuple(plate for plate in outcome.plates if plate.key in cohort.new)
    return {
        "fit": Payload("json", outcome.model_copy(update={"plates": own}).model_dump(mode="json")),
        "aligned": Payload("table", aligned.drop(columns=feature_columns(aligned))),
        "profiles": Payload("table", aligned[feature_columns(aligned)]),
        "arrays": Payload("tensors", fit.to_tensors()),
        "meta": Payload("json", fit.meta),
    }


@node_task("labels")
def make_labels(
    cp: Checkpointer, node: str, runs: Mapping[str, Outputs], membership: Ref, readout: ReadoutSection
) -> Outputs:
    """Labels for training and, apart from them, labels of the hidden audit members; each with the means of every level.

    Nothing that is estimated here looks at a hidden member: the noise comes from controls and training wells alone.
    """

    def compute() -> dict[str, Payload]:
        aligned = pd.concat([cp.load(runs[run]["aligned"]) for run in sorted(runs)], ignore_index=True)
        fits = [AlignmentFit.model_validate(cp.load(runs[run]["fit"])) for run in sorted(runs)]
        standing = cp.load(membership)
        hidden = aligned["perturbation"].isin(standing.loc[standing["hidden"], "perturbation"])
        noise = estimate_noise(aligned[~hidden], fits)
        training = aggregate(aligned[~hidden], noise, readout)
        audit = aggregate(aligned[hidden], noise, readout)
        return {
            "training": Payload("table", training.table),
            "incidence": Payload("table", training.incidence),
            "levels": Payload("table", training.levels),
            "noise": Payload("json", noise.model_dump(mode="json")),
            "audit": Payload("table", audit.table),
            "audit_incidence": Payload("table", audit.incidence),
            "audit_levels": Payload("table", audit.levels),
        }

    params = {"kind": readout.kind, "threshold": readout.threshold}
    named = {node.removeprefix("align/"): outputs for node, outputs in runs.items()}
    inputs = {f"run {run}": outputs["aligned"] for run, outputs in named.items()}
    inputs |= {f"fit {run}": outputs["fit"] for run, outputs in named.items()} | {"membership": membership}
    outputs = ("training", "incidence", "levels", "noise", "audit", "audit_incidence", "audit_levels")
    return cp.run(node, LABELS, compute, outputs=outputs, params=params, inputs=inputs)


def _rejections(error: RejectedInput) -> Payload:
    return Payload("json", [rejection.as_row() for rejection in error.rejections])
