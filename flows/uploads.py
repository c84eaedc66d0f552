"""What the inbox holds: plates by their heads, copies and changes resolved, and wells that the lab wants left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.ledger import Ledger
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import sha256
from tasks.checkpoints.payloads import encode_json
from tasks.checkpoints.records import NodeRecord
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.storage import StorageError
from tasks.readouts.ingest import PlateHead, Rejection, resolve_copies
from tasks.readouts.layouts import EXCLUSION_COLUMNS, is_exclusion_log, read_exclusions
from tasks.readouts.task import heads_of, parse_upload

_NO_QUALITY = sha256(encode_json(None))


@dataclass(frozen=True)
class Uploads:
    """The inbox after parsing.

    Attributes:
        plates: One head for each plate attempt that may be judged.
        parsed: Parsed uploads by the source that heads name.
        exclusions: Wells to leave out (`EXCLUSION_COLUMNS`).
        rejections: Everything that was refused so far: file, plate, line, reason.
    """

    plates: Sequence[PlateHead]
    parsed: Mapping[str, Outputs]
    exclusions: pd.DataFrame
    rejections: Sequence[Mapping[str, Any]]


def read_uploads(cp: Checkpointer, ledger: Ledger, config: CampaignConfig, barcodes: Sequence[str]) -> Uploads:
    """Parse the inbox.

    Args:
        cp: Runs the nodes.
        ledger: The campaign's books.
        config: Its configuration.
        barcodes: All released plates.

    Raises:
        UserError: A mistake in an exclusion log: the values that it is about would count otherwise.
    """
    listed = [(upload.path.removeprefix("inbox/"), upload) for upload in ledger.uploads()]
    uploads = {name: upload.ref() for name, upload in listed if not upload.problem}
    logs = {name: ref for name, ref in uploads.items() if is_exclusion_log(name)}
    exclusions = _exclusions(cp, logs, barcodes, config.plates.format)
    futures = {
        name: parse_upload.submit(cp, name, ref, config.readout, config.plates.format)
        for name, ref in uploads.items()
        if name not in logs
    }
    parsed = {name: future.result() for name, future in futures.items()}
    rejections = [Rejection(ascii(name), "", None, up.problem).as_row() for name, up in listed if up.problem]
    rejections += [item for outputs in parsed.values() for item in cp.load(outputs["rejections"])]
    every = [head for name, outputs in parsed.items() for head in heads_of(cp, name, outputs)]
    fresh, changed = _without_changed(cp, every, uploads)
    kept, refused = resolve_copies(fresh)
    rejections += [rejection.as_row() for rejection in [*changed, *refused]]
    stored, sources = _taken_over(cp, fresh)
    return Uploads([*kept, *stored], parsed | sources, exclusions, rejections)


def node_of(head: PlateHead) -> str:
    """The node that judges a plate attempt."""
    return f"plate/{head.key}"


def _exclusions(cp: Checkpointer, logs: Mapping[str, Ref], barcodes: Sequence[str], fmt: int) -> pd.DataFrame:
    def read(name: str) -> bytes:
        data = cp.store.storage.read(logs[name].uri)
        if sha256(data) != logs[name].sha256:
            raise StorageError(f"{logs[name].uri} changed while it was read. Run the round again")
        return data

    tables = [read_exclusions(read, name, barcodes, fmt) for name in sorted(logs)]
    together = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(EXCLUSION_COLUMNS))
    return together.drop_duplicates(["barcode", "attempt", "well"], ignore_index=True)


def _without_changed(
    cp: Checkpointer, every: Sequence[PlateHead], uploads: Mapping[str, Ref]
) -> tuple[list[PlateHead], list[Rejection]]:
    """Of each attempt that an earlier run took in, one upload with that content; what differs from it is refused.

    Where the file is still there as it was, it is that content, however it is read now.
    """
    attempts: dict[str, list[PlateHead]] = {}
    for head in sorted(every, key=lambda head: (head.barcode, head.attempt, head.source)):
        attempts.setdefault(node_of(head), []).append(head)
    kept: list[PlateHead] = []
    changed: list[Rejection] = []
    for node, copies in attempts.items():
        before = cp.before(node)
        if before is None or not _was_taken_in(before):
            kept += copies
            continue
        same = [copy for copy in copies if _is_its_file(cp, copy, before, uploads[copy.source].sha256)]
        same += [copy for copy in copies if copy not in same and _says_the_same(copy, before, same)]
        kept += same[:1]
        reason = f"attempt {copies[0].attempt} was taken in with another content, which stands; a repeat needs the next"
        changed += [Rejection(copy.source, copy.barcode, None, reason) for copy in copies if copy not in same]
    return kept, changed


def _was_taken_in(before: NodeRecord) -> bool:
    """Whether a plate was judged. A refused one has no quality, which its reference's digest alone tells."""
    return before.outputs["quality"].sha256 != _NO_QUALITY


def _is_its_file(cp: Checkpointer, head: PlateHead, before: NodeRecord, upload: str) -> bool:
    """Whether a plate comes from the file, unchanged since, from which it was taken in."""
    file = cp.before(f"parse/{head.source}")
    return (
        file is not None and file.inputs["upload"] == upload and file.outputs["wells"].sha256 == before.inputs["wells"]
    )


def _says_the_same(head: PlateHead, before: NodeRecord, same: Sequence[PlateHead]) -> bool:
    """Whether another file says what was taken in. A run that is only the file's name says nothing."""
    if same:
        return head.same_content(same[0])
    agrees = head.content == before.params["content"] and not head.problems
    return agrees and (not head.run_written or head.run == before.params["run"])


def _taken_over(cp: Checkpointer, present: Sequence[PlateHead]) -> tuple[list[PlateHead], dict[str, Outputs]]:
    """Plates that an earlier run took in and whose content left the inbox: they stand, as they were parsed then."""
    there = {node_of(head) for head in present}
    files = {record.outputs["wells"].sha256: record for record in cp.nodes_before("parse/")}
    plates: dict[str, set[str]] = {}
    for plate in cp.nodes_before("plate/"):
        if plate.node not in there and plate.inputs["wells"] in files and _was_taken_in(plate):
            plates.setdefault(plate.inputs["wells"], set()).add(plate.node)
    heads: list[PlateHead] = []
    sources: dict[str, Outputs] = {}
    for wells, nodes in plates.items():
        node = files[wells].node
        node = f"{node} (as taken in)" if node in cp.records else node
        source = node.removeprefix("parse/")
        sources[source] = cp.carry(files[wells], node)
        heads += [head for head in heads_of(cp, source, sources[source]) if node_of(head) in nodes]
    return heads, sources
