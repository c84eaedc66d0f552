"""What a person decided about a plate: waived or abandoned, with a note. Written once, never changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

from tasks.campaigns.designs import round_folder
from tasks.campaigns.lifecycle import PlateState
from tasks.campaigns.plates import PlateRecord
from tasks.checkpoints.payloads import encode_json
from tasks.checkpoints.record_files import read_record
from tasks.checkpoints.storage import Storage
from tasks.errors import UserError

MARKS = (PlateState.WAIVED, PlateState.ABANDONED)


@dataclass(frozen=True)
class Mark:
    """A person's decision about one attempt of a plate.

    Attributes:
        round: Round of the plate.
        barcode: Its barcode.
        attempt: The attempt that it is about.
        state: waived or abandoned.
        note: Why.
        at: When it was decided, UTC, ISO 8601.
    """

    round: int
    barcode: str
    attempt: int
    state: PlateState
    note: str
    at: str


def make_mark(records: Iterable[PlateRecord], barcode: str, state: PlateState, note: str, now: datetime) -> Mark:
    """A mark on the newest attempt of a plate, if its state allows it.

    Args:
        records: The book of plates.
        barcode: Plate.
        state: waived or abandoned.
        note: Why; kept for good.
        now: The present, with a time zone.

    Raises:
        UserError: Empty note, no such plate, or a state from which the drawn life of a plate leads elsewhere.
    """
    text = " ".join(note.split())
    if not text:
        raise UserError("a note is needed", where=f"plate {barcode}", todo="Say why: --note '…'. It is kept for good.")
    known = list(records)
    mine = [record for record in known if record.barcode == barcode]
    if not mine:
        some = ", ".join(sorted({record.barcode for record in known})[:4])
        raise UserError("no such plate", where="barcode", got=repr(barcode), expected=f"a released plate, as {some}")
    newest = max(mine, key=lambda record: record.attempt)
    if newest.state is not state and state not in newest.state.next_states:
        raise UserError(
            f"only a failed plate can be {state.value}",
            where=f"plate {barcode}, attempt {newest.attempt}",
            got=f"{newest.state.value} ({newest.reason})",
            todo="A passed plate needs no waiver; wells that must not count belong in an exclusions file of the inbox.",
        )
    if state is PlateState.WAIVED and not newest.run:
        raise UserError(
            "nothing to waive: the upload was refused",
            where=f"plate {barcode}, attempt {newest.attempt}",
            todo="Replace it by a correct file, repeat the plate, or abandon it.",
        )
    return Mark(newest.round, barcode, newest.attempt, state, text, now.isoformat(timespec="seconds"))


def write_mark(storage: Storage, mark: Mark) -> bool:
    """Record a mark; False when the same decision about this attempt was recorded before (its note stands)."""
    return storage.create(_path(mark), encode_json({**asdict(mark), "state": mark.state.value}))


def read_marks(storage: Storage, rounds: Iterable[int]) -> dict[tuple[str, int], Mark]:
    """Marks of some rounds by barcode and attempt; abandoned outweighs waived.

    Raises:
        DamagedCheckpoint: One of them is damaged.
    """
    paths = [path for number in rounds for path in storage.list(f"{round_folder(number)}/marks")]
    found: dict[tuple[str, int], Mark] = {}
    for path, data in sorted(storage.read_many(paths).items()):
        mark = read_record(storage, path, data, Mark)
        key = (mark.barcode, mark.attempt)
        if key not in found or mark.state is PlateState.ABANDONED:
            found[key] = mark
    return found


def _path(mark: Mark) -> str:
    return f"{round_folder(mark.round)}/marks/{mark.barcode}.{mark.attempt}.{mark.state.value}.json"
