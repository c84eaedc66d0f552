"""Publish a round: claim the run, publish the screen, write decision, report and proposal, release the design."""

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from flows.announcing import announce
from flows.evidence import FILE
from flows.parts import Findings, Intake, Round
from flows.release import release_proposal
from flows.results import RoundResult
from flows.showing import show_batch, show_plates, show_report
from tasks.batches.task import design_files
from tasks.campaigns.answers import read_answers
from tasks.campaigns.designs import round_folder, table_text
from tasks.campaigns.ledger import Run
from tasks.campaigns.screens import claim_screen
from tasks.checkpoints.checkpointer import Outputs
from tasks.checkpoints.manifest import package_versions
from tasks.checkpoints.payloads import encode_json
from tasks.checkpoints.records import RoundLock
from tasks.checkpoints.refs import Ref
from tasks.publishing.assemble import intake_facts, report_tables
from tasks.publishing.calibration_data import calibration_file
from tasks.publishing.formats import CARD, CSV, H5AD, PARQUET, ZARR, complete_provenance, screen_files
from tasks.publishing.quality_data import quality_page_data
from tasks.publishing.quality_page import render_quality_page
from tasks.publishing.report import render_report
from tasks.publishing.report_data import ReportData
from tasks.readouts.alignment import alignment_warning


def publish_waiting(this: Round, intake: Intake, standing: Ref) -> RoundResult:
    """Record that too few plates have passed, with the list of plates to repeat."""
    passed, planned = intake.book.passed_share(this.number)
    share = this.config.quality.min_passed
    gone = len(intake.book.without(this.number)) - (planned - passed)
    message = f"waits: {passed} of {planned} plates have passed, {share:.0%} are needed"
    message += f"; {gone} abandoned" if gone else ""
    if this.cp.plan:
        return _result(this, intake, None, "planned", message)
    run = this.ledger.claim_run(_lock(this))
    if run.summary is None:
        run = this.ledger.finish_run(
            run,
            _plate_files(this, intake, {}, standing),
            {"round": this.number, "run": run.number, "status": "waiting"},
        )
    show_plates(this, intake, f"**Round {this.number} {message}**")
    return _result(this, intake, run, "waiting", message)


def publish_round(this: Round, intake: Intake, found: Findings) -> RoundResult:
    """Publish the round, unless nothing is new since its newest run."""
    if this.cp.plan:
        changes = sum(event.status != "cached" for event in this.cp.events)
        message = f"{changes} of {len(this.cp.events)} steps would be computed"
        return _result(this, intake, None, "planned", message)
    decision = this.cp.load(found.decided["decision"])
    run = this.ledger.claim_run(_lock(this))
    fresh, known = False, f"nothing new since run {run.number:02d}"
    if run.summary is None:
        run, fresh = _write(this, intake, found, run, decision)
        known = f"another process published run {run.number:02d} first"
    summary = run.summary or {}
    if fresh:
        told = {name: summary[name] for name in ("round", "run", "screen", "stop", "bound")}
        announce("screen.published", this.config.campaign.name, **told)
    released = _release(this, run, found.batch)
    show_plates(this, intake, f"**{decision['reason']}**\n\n{decision['assumption']}")
    show_report(this, run, summary["screen"])
    if found.batch is not None:
        show_batch(this, run, this.cp.load(found.batch["batch"]), this.cp.load(found.batch["platemap"]))
    message = decision["reason"] if fresh else f"{known}. {decision['reason']}"
    return _result(this, intake, run, "decided" if fresh else "unchanged", message, decision, released)


def _write(this: Round, intake: Intake, found: Findings, run: Run, decision: Mapping[str, Any]) -> tuple[Run, bool]:
    """All files first; the screen's manifest publishes screen and run in one step. Says whether this run did it."""
    screen = complete_provenance(this.cp.load(found.screen["screen"]), run.number, run.lock)
    contents = screen_files(screen)
    folder = claim_screen(this.ledger.storage, run.round_index, run.number, contents)
    files = _plate_files(this, intake, found.aligned, found.standing)
    assessment = this.cp.load(found.assessed["assessment"])
    files |= {"decision.json": encode_json(dict(decision)).decode(), FILE: encode_json(assessment).decode()}
    batch, platemap = (
        (None, None) if found.batch is None else (this.cp.load(found.batch[n]) for n in ("batch", "platemap"))
    )
    if batch is not None and platemap is not None:
        texts = design_files(batch, platemap, this.config.plates)
        files |= {f"proposal/{name}": text for name, text in texts.items()}
    tables = report_tables(
        this.cp,
        [other for other in this.ledger.looks() if other.folder != run.folder],
        {**decision, "round": this.number, "run": run.number, "evidence": found.evidence},
        found.standing,
        found.omega,
        found.model.fitted,
        found.forward,
        found.decided,
        batch,
        screen.obs,
        this.config.readout.kind,
    )
    files |= {"calibration.json": calibration_file(tables["calibration"])}
    links = _links(sorted(files), folder)
    files["report.html"] = render_report(
        ReportData(
            campaign=this.config.campaign.name,
            round_index=this.number,
            run_index=run.number,
            unit=this.config.readout.unit,
            kind=this.config.readout.kind,
            tolerance=this.config.readout.tolerance,
            decision=decision,
            quality=intake.qualities,
            plate_states=intake.book.table(),
            screen=screen.obs,
            recomputed=pd.DataFrame(
                [event.model_dump(include={"node", "status", "reason"}) for event in this.cp.events]
            ),
            batch=batch,
            platemap=platemap,
            answers=read_answers(this.ledger.storage, range(this.number + 1)),
            links=links,
            assessment=assessment,
            intake=_intake_facts(this, intake, found),
            **tables,
        )
    )
    kept = ("stop", "certified", "bound", "estimate", "gamma", "look", "wells_used", "risk_this_look")
    summary = {name: decision[name] for name in kept}
    summary |= {"round": this.number, "run": run.number, "status": "decided", "screen": folder}
    summary |= {"evidence": found.evidence}
    return this.ledger.publish_run(run, folder, contents, files, summary)


def _intake_facts(this: Round, intake: Intake, found: Findings) -> dict[str, Any]:
    method = this.config.alignment.method
    warning, refused = alignment_warning(method), len(intake.rejections)
    return intake_facts(this.cp, found.labels["noise"], method, warning, refused, intake.excluded)


def _links(files: list[str], screen: str) -> dict[str, str]:
    """What the report links to, relative to it: files of the run, and of the screen in its folder."""
    links = {name: name for name in files} | {"round.lock.json": "round.lock.json"}
    links |= {"quality page": links.pop("quality.html")}
    links |= {f"hybrid screen ({name})": f"../../../../{screen}/{name}" for name in (CSV, ZARR, H5AD, PARQUET)}
    return links | {"card of the screen": f"../../../../{screen}/{CARD}"}


def _release(this: Round, run: Run, batch: Outputs | None) -> str | None:
    """Release the run's proposal as the next design where no approval is asked for; its folder, if it is new."""
    if batch is None or this.config.approval == "required":
        return None
    design, newly = release_proposal(this.ledger, run)
    return f"{round_folder(design.round_index)}/design" if newly else None


def _lock(this: Round) -> RoundLock:
    """The lock of this run. Copies and uploads without a judged plate are no part of it: they are nothing new."""
    records = this.cp.records
    used = {sha for record in records.values() for sha in record.inputs.values()}
    parsed = [name for name, record in records.items() if record.stage == "parse"]
    kept: dict[str, str] = {}
    for name in sorted(parsed, key=lambda name: (this.cp.before(name) is None, name)):
        kept.setdefault(records[name].outputs["wells"].sha256, name)
    left_out = set(parsed) - {name for sha, name in kept.items() if sha in used}
    nodes = {name: records[name] for name in sorted(records.keys() - left_out)}
    return RoundLock(campaign=this.config.campaign.name, round=this.number, nodes=nodes, versions=package_versions())


def _plate_files(this: Round, intake: Intake, aligned: Mapping[str, Outputs], standing: Ref) -> dict[str, str]:
    rejections = pd.DataFrame(intake.rejections, columns=["file", "plate", "line", "reason"]).astype({"line": "Int64"})
    return {
        "plates.csv": table_text(intake.book.table()),
        "repeats.csv": table_text(intake.book.repeats()),
        "rejected.csv": table_text(rejections),
        "quality.json": encode_json(list(intake.qualities)).decode(),
        "quality.html": render_quality_page(
            quality_page_data(
                this.cp, this.config, this.number, intake.book, intake.qualities, intake.wells, aligned, standing
            )
        ),
    }


def _result(
    this: Round,
    intake: Intake,
    run: Run | None,
    status: Literal["decided", "unchanged", "waiting", "planned"],
    message: str,
    decision: Mapping[str, Any] | None = None,
    released: str | None = None,
) -> RoundResult:
    passed, planned = intake.book.passed_share(this.number)
    storage = this.ledger.storage
    summary = {} if run is None or run.summary is None else run.summary
    waiting = decision is not None and not decision["stop"] and len(this.ledger.designs()) == this.number + 1
    screen = summary.get("screen")
    return RoundResult(
        campaign=this.config.campaign.name,
        location=storage.url,
        round=this.number,
        run=None if run is None else run.number,
        status=status,
        message=message,
        events=this.cp.events,
        plates_passed=passed,
        plates_planned=planned,
        repeats=intake.book.repeats()["barcode"].tolist(),
        without=[
            {"barcode": record.barcode, "state": record.state.value, "reason": record.reason}
            for record in intake.book.without(this.number)
        ],
        rejections=[dict(rejection) for rejection in intake.rejections],
        excluded=intake.excluded,
        warnings=[warning] if (warning := alignment_warning(this.config.alignment.method)) else [],
        decision=None if decision is None else dict(decision),
        screen=None if screen is None else storage.locate(screen),
        report=None if run is None or screen is None else storage.locate(f"{run.folder}/report.html"),
        repeat_list=None if run is None else storage.locate(f"{run.folder}/repeats.csv"),
        proposal=None if not waiting or run is None else storage.locate(f"{run.folder}/proposal"),
        released=None if released is None else storage.locate(released),
    )
