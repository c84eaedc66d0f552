"""Released designs: what the lab was told to measure. Written once, never changed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import pandas as pd
from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from tasks.campaigns.spreadsheets import escape_formulas, escaped_names, unescape_formulas
from tasks.checkpoints.keys import sha256
from tasks.checkpoints.payloads import encode_json
from tasks.checkpoints.record_files import read_record
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import DamagedCheckpoint
from tasks.errors import UserError

PLATEMAP, BATCH = "platemap.csv", "batch.csv"
OPENING = "open"
_COLUMNS: dict[str, type] = {
    **dict.fromkeys(["barcode", "well", "role", "perturbation", "reagent", "slot", "action", "arm", "reason"], str),
    **dict.fromkeys(["row", "column", "replicate", "rank", "mode"], int),
    "score": float,
}
_NEEDED = {PLATEMAP: ("barcode", "well", "role", "perturbation"), BATCH: ("perturbation", "arm")}


class DesignClaim(BaseModel):
    """`design.json`: what was released, and the digest of each of its files."""

    model_config = ConfigDict(frozen=True)

    round: int
    source: str
    files: dict[str, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]

    @model_validator(mode="after")
    def _has_its_tables(self) -> DesignClaim:
        if not {PLATEMAP, BATCH} <= self.files.keys():
            raise ValueError(f"{PLATEMAP} and {BATCH} belong to every design")
        return self


@dataclass(frozen=True)
class Design:
    """The released design of one round: references to its plate map and its batch."""

    round_index: int
    platemap: Ref
    batch: Ref
    source: str


def round_folder(round_index: int) -> str:
    """Folder of a round below the campaign's root."""
    return f"rounds/{round_index:04d}"


def table_text(frame: pd.DataFrame) -> str:
    """A table as CSV text, the same for the same content, safe to open in a spreadsheet."""
    safe = escape_formulas(frame).set_axis(escaped_names(frame.columns), axis=1)
    return str(safe.to_csv(index=False, lineterminator="\n"))


def read_table(text: str) -> pd.DataFrame:
    """A table of a design from its CSV text. Ids such as NA or 007 stay text.

    Raises:
        ValueError: It is not such a table.
    """
    frame = unescape_formulas(pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False))
    if "score" in frame.columns:
        frame["score"] = pd.to_numeric(frame["score"])  # no score is an empty cell
    return frame.astype({name: kind for name, kind in _COLUMNS.items() if name in frame.columns})


def stored_table(storage: Storage, path: str) -> pd.DataFrame:
    """A table of a design by its path.

    Raises:
        DamagedCheckpoint: It is missing, or not such a table.
    """
    where = storage.locate(path)
    try:
        table = read_table(storage.read(path).decode())
    except FileNotFoundError as error:
        raise DamagedCheckpoint(f"{where} is missing") from error
    except (ValueError, OverflowError) as error:
        raise DamagedCheckpoint(f"{where} is damaged: {error}") from error
    for column in _NEEDED.get(path.rpartition("/")[2], ()):
        if column not in table.columns:
            raise DamagedCheckpoint(f"{where} is damaged: no column {column!r}")
    return table


def release(storage: Storage, round_index: int, texts: Mapping[str, str], source: str) -> tuple[Design, bool]:
    """Release a design to the lab.

    `design.json` is created first, only if absent, and fixes the digest of every file; the files follow. Releasing
    again, after a crash in between too, completes the same design.

    Args:
        storage: The campaign's files.
        round_index: Round that the design is for.
        texts: Content of the files by name; `platemap.csv` and `batch.csv` among them.
        source: Folder of the run whose proposal this is, or `open`.

    Returns:
        The design, and whether this call was the one that released it.
    """
    folder = f"{round_folder(round_index)}/design"
    files = {name: sha256(text.encode()) for name, text in texts.items()}
    claim = {"round": round_index, "source": source, "files": files}
    created = storage.create(f"{folder}/design.json", encode_json(claim))
    if created or read_claim(storage, folder).files == files:
        for name, text in texts.items():
            storage.create(f"{folder}/{name}", text.encode())
    design = read_design(storage, round_index)
    if design is None:
        raise FileNotFoundError(storage.locate(f"{folder}/design.json"))
    return design, created


def read_design(storage: Storage, round_index: int) -> Design | None:
    """The released design of a round, None if there is none.

    A release that a crash has cut short is completed from the proposal that it names.

    Raises:
        UserError: The opening was cut short, which only opening again can complete.
        DamagedCheckpoint: `design.json` is damaged, or the proposal that it names is gone.
    """
    folder = f"{round_folder(round_index)}/design"
    try:
        claim = read_claim(storage, folder)
    except FileNotFoundError:
        return None
    there = set(storage.list(folder))
    for name in claim.files:
        if f"{folder}/{name}" in there:
            continue
        if claim.source == OPENING and name not in (PLATEMAP, BATCH):
            continue  # nothing here needs it; `verify` names it, and opening again writes it
        if claim.source == OPENING:
            raise UserError(
                "the opening of this campaign was cut short",
                where=storage.locate(f"{folder}/{name}"),
                todo="Complete it: hybridscreen open campaign.yaml",
            )
        storage.create(f"{folder}/{name}", _proposed(storage, claim.source, name))
    refs = {name: Ref(uri=f"{folder}/{name}", sha256=claim.files[name], kind="text") for name in (PLATEMAP, BATCH)}
    return Design(round_index, refs[PLATEMAP], refs[BATCH], claim.source)


def read_claim(storage: Storage, folder: str) -> DesignClaim:
    """`design.json` of a design's folder.

    Raises:
        FileNotFoundError: There is none.
        DamagedCheckpoint: It is damaged.
    """
    path = f"{folder}/design.json"
    return read_record(storage, path, storage.read(path), DesignClaim)


def _proposed(storage: Storage, source: str, name: str) -> bytes:
    """A file of the proposal that a design was released from."""
    path = f"{source}/proposal/{name}"
    try:
        return storage.read(path)
    except FileNotFoundError as error:
        raise DamagedCheckpoint(f"{storage.locate(path)} is missing, and a released design needs it") from error


def first_entries(batches: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Round and arm in which each perturbation first stood in a batch.

    Args:
        batches: Batch table by round.

    Returns:
        Columns perturbation, round, arm; one row per perturbation that was ever in a batch.
    """
    rows = [batches[number][["perturbation", "arm"]].assign(round=number) for number in sorted(batches)]
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["perturbation", "arm", "round"])
    return table.drop_duplicates("perturbation", ignore_index=True)[["perturbation", "round", "arm"]]
