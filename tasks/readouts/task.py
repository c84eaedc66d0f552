"""Nodes of the readouts room: uploads → plates → quality → alignment → labels."""

from collections.abc import Mapping

import pandas as pd

from tasks.campaigns.config import AlignmentSection, PlatesSection, QualitySection, ReadoutColumns, ReadoutSection
from tasks.campaigns.designs import read_table
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage, sha256
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.storage import StorageError
from tasks.checkpoints.task import node_task
from tasks.readouts.alignment import AlignmentFit, apply_alignment, fit_alignment
from tasks.readouts.ingest import WELL_COLUMNS, PlateReadout, RejectedInput, match_platemap, read_plate_file
from tasks.readouts.noise import estimate_noise
from tasks.readouts.quality import assess_plate
from tasks.readouts.replicates import aggregate

PARSE = Stage("parse", 1, cheap=True)
PLATE = Stage("plate", 1, cheap=True)
ALIGN = Stage("align", 1, cheap=True)
LABELS = Stage("labels", 1, cheap=True)

_PARSED = ["barcode", "attempt", "run", "run_written", "well", "value", "line"]


@node_task("parse upload", "parse {name}")
def parse_upload(cp: Checkpointer, name: str, upload: Ref, columns: ReadoutColumns) -> Outputs:
    """One uploaded file as it stands: its wells, or why it was refused."""

    def compute() -> dict[str, Payload]:
        data = cp.store.storage.read(upload.uri)
        if sha256(data) != upload.sha256:
            raise StorageError(
                f"{upload.uri} changed while it was read. Wait for the upload to end, then run the round again"
            )
        try:
            plates = read_plate_file(data, name, columns)
        except RejectedInput as error:
            return {"wells": _wells([], _PARSED), "rejections": _rejections(error)}
        tables = [_as_table(plate) for plate in plates]
        return {"wells": _wells(tables, _PARSED), "rejections": Payload("json", [])}

    # The name is a parameter because it names the run of a file without a run column.
    params = {"columns": columns, "name": name}
    return cp.run(
        f"parse/{name}", PARSE, compute, outputs=("wells", "rejections"), params=params, inputs={"upload": upload}
    )


def readouts_of(cp: Checkpointer, name: str, parsed: Ref) -> list[PlateReadout]:
    """Plates of a parsed upload."""
    return [
        PlateReadout(
            str(barcode),
            int(attempt),
            str(run),
            name,
            table[["well", "value", "line"]].reset_index(drop=True),
            run_written=bool(written),
        )
        for (barcode, attempt, run, written), table in cp.load(parsed).groupby(_PARSED[:4], sort=True)
    ]


@node_task("judge plate", "plate {key}")
def judge_plate(
    cp: Checkpointer,
    key: str,
    readout: PlateReadout,
    parsed: Ref,
    platemap: Ref,
    plates: PlatesSection,
    quality: QualitySection,
    min_controls: int,
) -> Outputs:
    """One plate attempt against its plate map, and its quality; refused plates have no wells and no quality."""

    def compute() -> dict[str, Payload]:
        try:
            wells = match_platemap(readout, read_table(cp.load(platemap)), plates.format)
        except RejectedInput as error:
            return {
                "wells": _wells([], WELL_COLUMNS),
                "quality": Payload("json", None),
                "rejections": _rejections(error),
            }
        verdict = assess_plate(wells, quality, min_controls=min_controls)
        return {
            "wells": Payload("table", wells),
            "quality": Payload("json", verdict.model_dump(mode="json")),
            "rejections": Payload("json", []),
        }

    params = {
        "plate": key,
        "format": plates.format,
        "quality": quality.model_dump(mode="json", exclude={"min_passed", "poscon_reads"}),
        "min_controls": min_controls,
    }
    return cp.run(
        f"plate/{key}",
        PLATE,
        compute,
        outputs=("wells", "quality", "rejections"),
        params=params,
        inputs={"wells": parsed, "platemap": platemap},
    )


@node_task("align run", "align {run}")
def align_run(
    cp: Checkpointer, run: str, wells: Mapping[str, Ref], alignment: AlignmentSection, plates: PlatesSection
) -> Outputs:
    """The passed plates of one run on one scale, fitted on control wells only."""

    def compute() -> dict[str, Payload]:
        table = pd.concat([cp.load(wells[key]) for key in sorted(wells)], ignore_index=True)
        fit = fit_alignment(table, alignment, plates)
        return {
            "fit": Payload("json", fit.model_dump(mode="json")),
            "aligned": Payload("table", apply_alignment(table, fit)),
        }

    nominal = {
        role: None if control is None else control.nominal
        for role, control in (("negcon", plates.negcon), ("poscon", plates.poscon))
    }
    params = {"alignment": alignment, "nominal": nominal}
    inputs = {f"plate {key}": ref for key, ref in wells.items()}
    return cp.run(f"align/{run}", ALIGN, compute, outputs=("fit", "aligned"), params=params, inputs=inputs)


@node_task("labels")
def make_labels(
    cp: Checkpointer, node: str, runs: Mapping[str, Outputs], membership: Ref, readout: ReadoutSection
) -> Outputs:
    """Labels for training and, apart from them, labels of the hidden audit members.

    Nothing that is estimated here looks at a hidden member: the noise comes from controls and training wells alone.
    """

    def compute() -> dict[str, Payload]:
        aligned = pd.concat([cp.load(runs[run]["aligned"]) for run in sorted(runs)], ignore_index=True)
        fits = [AlignmentFit.model_validate(cp.load(runs[run]["fit"])) for run in sorted(runs)]
        standing = cp.load(membership)
        hidden = aligned["perturbation"].isin(standing.loc[standing["hidden"], "perturbation"])
        noise = estimate_noise(aligned[~hidden], fits)
        training, incidence = aggregate(aligned[~hidden], noise, readout)
        audit, audit_incidence = aggregate(aligned[hidden], noise, readout)
        return {
            "training": Payload("table", training),
            "incidence": Payload("table", incidence),
            "noise": Payload("json", noise.model_dump(mode="json")),
            "audit": Payload("table", audit),
            "audit_incidence": Payload("table", audit_incidence),
        }

    params = {"kind": readout.kind, "threshold": readout.threshold}
    inputs = {f"run {run}": outputs["aligned"] for run, outputs in runs.items()}
    inputs |= {f"fit {run}": outputs["fit"] for run, outputs in runs.items()} | {"membership": membership}
    outputs = ("training", "incidence", "noise", "audit", "audit_incidence")
    return cp.run(node, LABELS, compute, outputs=outputs, params=params, inputs=inputs)


def _as_table(plate: PlateReadout) -> pd.DataFrame:
    return plate.values.assign(
        barcode=plate.barcode, attempt=plate.attempt, run=plate.run, run_written=plate.run_written
    )[_PARSED]


def _wells(tables: list[pd.DataFrame], columns: list[str]) -> Payload:
    if not tables:
        return Payload("table", pd.DataFrame({name: pd.Series(dtype="object") for name in columns}))
    return Payload("table", pd.concat(tables, ignore_index=True))


def _rejections(error: RejectedInput) -> Payload:
    return Payload("json", [rejection.as_row() for rejection in error.rejections])
