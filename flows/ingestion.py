"""Take in what arrived: parse uploads, judge plates, keep the book, settle which round can be computed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from flows.parts import Intake
from flows.uploads import Uploads, read_uploads
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.designs import Design, read_table
from tasks.campaigns.ids import looks, spelled
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.marks import Mark, read_marks
from tasks.campaigns.plates import Attempt, PlateBook, keep_book
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.refs import Ref
from tasks.readouts.ingest import PlateHead, Rejection, reference_features
from tasks.readouts.quality import PlateQuality
from tasks.readouts.task import judge_plate, judge_together


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
    uploads = read_uploads(cp, ledger, config, list(planned))
    known = [head for head in uploads.plates if head.barcode in planned]
    number = round_index
    if number is None:
        number = max((planned[head.barcode] for head in known), default=len(designs) - 1)
    # Later designs may be there already when a round is computed again; what it says must not depend on them.
    upto = {barcode: at for barcode, at in planned.items() if at <= number}
    outcomes = _judge(cp, ledger, config, [head for head in known if head.barcode in upto], uploads, platemaps, upto)
    rejections = [
        *uploads.rejections,
        *(_unknown(head, planned) for head in uploads.plates if head.barcode not in planned),
    ]
    platemaps = {at: ref for at, ref in platemaps.items() if at <= number}
    tables = {at: table for at, table in tables.items() if at <= number}
    marks = read_marks(ledger.storage, range(number + 1))
    intake = _settle(cp, config, number, upto, tables, platemaps, outcomes, rejections, marks)
    return replace(intake, excluded=int(uploads.exclusions["barcode"].isin(upto).sum()))


def _judge(
    cp: Checkpointer,
    ledger: Ledger,
    config: CampaignConfig,
    heads: Sequence[PlateHead],
    uploads: Uploads,
    platemaps: Mapping[int, Ref],
    planned: Mapping[str, int],
) -> dict[str, Outputs]:
    """What became of every plate that arrived, by plate key."""
    features, library = reference_features(heads, planned), ledger.library()
    judged = {
        head.key: judge_plate.submit(
            cp,
            head,
            uploads.parsed[head.source],
            platemaps[planned[head.barcode]],
            library,
            features,
            uploads.exclusions[uploads.exclusions["barcode"] == head.barcode],
            config,
        )
        for head in heads
    }
    return {key: future.result() for key, future in judged.items()}


def _settle(
    cp: Checkpointer,
    config: CampaignConfig,
    number: int,
    planned: Mapping[str, int],
    tables: Mapping[int, pd.DataFrame],
    platemaps: Mapping[int, Ref],
    outcomes: Mapping[str, Outputs],
    rejections: Sequence[Mapping[str, Any]],
    marks: Mapping[tuple[str, int], Mark],
) -> Intake:
    """The book of plates, and the wells that may be used."""
    rejections = [*rejections] + [item for o in outcomes.values() for item in cp.load(o["rejections"])]
    judged = {key: outputs for key, outputs in outcomes.items() if cp.load(outputs["quality"]) is not None}
    together = judge_together.submit(cp, judged, platemaps, config.quality).result()
    qualities = [PlateQuality.model_validate(quality) for quality in cp.load(together["qualities"])]
    attempts = [Attempt(q.barcode, q.attempt, q.run, q.passed, tuple(q.reasons)) for q in qualities]
    attempts += [_refused(key) for key in outcomes if key not in judged]
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
        wells={key: outputs["wells"] for key, outputs in judged.items()},
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


def _unknown(head: PlateHead, planned: Mapping[str, int]) -> dict[str, Any]:
    reason = f"unknown barcode {head.barcode!r}; expected a plate of a released design"
    alike = next((barcode for barcode in planned if looks(barcode) == looks(head.barcode)), None)
    if alike is not None:
        reason += f". It looks like {alike!r}, but is written {spelled(head.barcode)}"
    return Rejection(head.source, head.barcode, None, reason).as_row()
