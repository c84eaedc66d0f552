"""Take in what arrived: parse uploads, judge plates, keep the book, settle which round can be computed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from flows.parts import Intake
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.designs import Design, read_table
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.marks import Mark, read_marks
from tasks.campaigns.plates import Attempt, PlateBook, keep_book
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import DamagedCheckpoint
from tasks.readouts.ingest import PlateReadout, Rejection, resolve_copies
from tasks.readouts.quality import PlateQuality, judge_directions
from tasks.readouts.task import judge_plate, parse_upload, readouts_of


def take_in(
    cp: Checkpointer, ledger: Ledger, config: CampaignConfig, designs: Sequence[Design], round_index: int | None
) -> Intake:
    """Take in the inbox.

    Args:
        cp: Runs the nodes.
        ledger: The campaign's books.
        config: Its configuration.
        designs: Released designs, in order.
        round_index: Round to compute; None for the newest of which a plate has arrived.
    """
    platemaps = {d.round_index: d.platemap for d in designs}
    tables = {number: read_table(cp.load(ref)) for number, ref in platemaps.items()}
    planned = {barcode: number for number, table in tables.items() for barcode in table["barcode"].unique()}
    readouts, parsed, rejections = _parse(cp, ledger, config)
    known = [readout for readout in readouts if readout.barcode in planned]
    rejections += [_unknown(readout) for readout in readouts if readout.barcode not in planned]
    number = round_index
    if number is None:
        number = max((planned[readout.barcode] for readout in known), default=len(designs) - 1)
    current = [readout for readout in known if planned[readout.barcode] <= number]
    judged = {
        f"{r.barcode}.{r.attempt}": judge_plate.submit(
            cp,
            f"{r.barcode}.{r.attempt}",
            r,
            parsed[r.source]["wells"],
            platemaps[planned[r.barcode]],
            config.plates,
            config.quality,
            config.alignment.min_controls,
        )
        for r in current
    }
    outcomes = {key: future.result() for key, future in judged.items()}
    upto = {barcode: at for barcode, at in planned.items() if at <= number}
    marks = read_marks(ledger.storage, range(number + 1))
    return _settle(cp, config, number, upto, tables, outcomes, rejections, marks)


def _parse(
    cp: Checkpointer, ledger: Ledger, config: CampaignConfig
) -> tuple[list[PlateReadout], dict[str, Outputs], list[dict[str, Any]]]:
    """Plates of all uploads, copies resolved, with the parsed uploads by name and what was refused."""
    uploads = {upload.path.removeprefix("inbox/"): upload.ref() for upload in ledger.uploads()}
    futures = {name: parse_upload.submit(cp, name, ref, config.readout.columns) for name, ref in uploads.items()}
    parsed = {name: future.result() for name, future in futures.items()}
    rejections = [item for outputs in parsed.values() for item in cp.load(outputs["rejections"])]
    every = [plate for name, outputs in parsed.items() for plate in readouts_of(cp, name, outputs["wells"])]
    fresh, changed = _without_changed(cp, every, parsed)
    kept, refused = resolve_copies(fresh)
    return kept, parsed, rejections + [rejection.as_row() for rejection in [*changed, *refused]]


def _without_changed(
    cp: Checkpointer, every: Sequence[PlateReadout], parsed: Mapping[str, Outputs]
) -> tuple[list[PlateReadout], list[Rejection]]:
    """Where the content that an earlier run took in is there, leave out its copies and refuse what differs from it."""
    present = {_node(r): r for r in every if _was_taken_in(cp, r, parsed[r.source])}
    kept, changed = [], []
    for readout in every:
        known = present.get(_node(readout))
        if known is None or readout is known:
            kept.append(readout)
        if known is None or readout.same_content(known):
            continue
        reason = f"attempt {readout.attempt} was taken in with another content; a repeat needs the next attempt"
        changed.append(Rejection(readout.source, readout.barcode, None, reason))
    return kept, changed


def _was_taken_in(cp: Checkpointer, readout: PlateReadout, parsed: Outputs) -> bool:
    before = cp.before(_node(readout))
    if before is None or before.inputs["wells"] != parsed["wells"].sha256:
        return False
    try:
        return cp.load(before.outputs["quality"]) is not None
    except DamagedCheckpoint:
        return True  # it is computed again in a moment, from this very content


def _node(readout: PlateReadout) -> str:
    return f"plate/{readout.barcode}.{readout.attempt}"


def _settle(
    cp: Checkpointer,
    config: CampaignConfig,
    number: int,
    planned: Mapping[str, int],
    tables: Mapping[int, pd.DataFrame],
    outcomes: Mapping[str, Outputs],
    rejections: list[dict[str, Any]],
    marks: Mapping[tuple[str, int], Mark],
) -> Intake:
    """The book of plates, and the wells that may be used."""
    rejections = rejections + [item for o in outcomes.values() for item in cp.load(o["rejections"])]
    judged = {key: cp.load(outputs["quality"]) for key, outputs in outcomes.items()}
    said = [PlateQuality.model_validate(quality) for quality in judged.values() if quality is not None]
    qualities = judge_directions(said, config.quality.poscon_reads)
    attempts = [Attempt(q.barcode, q.attempt, q.run, q.passed, tuple(q.reasons)) for q in qualities]
    attempts += [_refused(key) for key, quality in judged.items() if quality is None]
    book = keep_book(planned, attempts, {key: (mark.state, mark.note) for key, mark in marks.items()})
    runs: dict[str, dict[str, Ref]] = {}
    for attempt in book.used.values():
        runs.setdefault(attempt.run, {})[attempt.key] = outcomes[attempt.key]["wells"]
    samples = pd.concat(tables.values()).query("role == 'sample'")
    per_plate = samples.groupby("barcode").size()
    passed, plates = book.passed_share(number)
    return Intake(
        round_index=number,
        book=book,
        runs={run: runs[run] for run in sorted(runs)},
        qualities=[quality.model_dump(mode="json") for quality in qualities],
        rejections=rejections,
        enough=passed > 0 and passed >= math.ceil(config.quality.min_passed * plates - 1e-9),
        wells_used=int(sum(per_plate[attempt.barcode] for attempt in attempts)),
        returned=_returned(samples, book),
    )


def _returned(samples: pd.DataFrame, book: PlateBook) -> tuple[str, ...]:
    """Perturbations all of whose plates were abandoned. Those of failed plates are pending, not back in the pool."""
    gone = samples["barcode"].isin(book.abandoned())
    return tuple(sorted(set(samples.loc[gone, "perturbation"]) - set(samples.loc[~gone, "perturbation"])))


def _refused(key: str) -> Attempt:
    """A plate that arrived but could not be read: failed, until a correct file takes its place or it is repeated."""
    barcode, _, attempt = key.rpartition(".")
    reason = "the upload was refused, see rejected.csv: replace it by a correct file, or repeat the plate"
    return Attempt(barcode, int(attempt), "", False, (reason,), readable=False)


def _unknown(readout: PlateReadout) -> dict[str, Any]:
    reason = f"unknown barcode {readout.barcode!r}; expected a plate of a released design"
    return Rejection(readout.source, readout.barcode, None, reason).as_row()
