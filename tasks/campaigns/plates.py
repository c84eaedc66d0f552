"""States of all plates, from what was planned and what quality control said of what arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

import pandas as pd
from pydantic import TypeAdapter

from tasks.campaigns.designs import stored_table
from tasks.campaigns.lifecycle import PlateState
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import DamagedCheckpoint


@dataclass(frozen=True)
class Attempt:
    """One attempt of a plate that arrived and was judged. One that could not be read can be waived by nobody."""

    barcode: str
    attempt: int
    run: str
    passed: bool
    reasons: tuple[str, ...] = ()
    readable: bool = True

    @property
    def key(self) -> str:
        """Key of the plate attempt, as in labels and noise."""
        return f"{self.barcode}.{self.attempt}"


@dataclass(frozen=True)
class PlateRecord:
    """State of one attempt of one planned plate."""

    round: int
    barcode: str
    attempt: int
    run: str
    state: PlateState
    reason: str


def read_book(storage: Storage, path: str) -> list[PlateRecord]:
    """Records of the table `plates.csv` that a run wrote.

    Raises:
        DamagedCheckpoint: It is not such a table.
    """
    names = [field.name for field in fields(PlateRecord)]
    table = stored_table(storage, path)
    try:
        return [_RECORD.validate_python(row) for row in table[names].to_dict("records")]
    except (ValueError, KeyError) as error:
        raise DamagedCheckpoint(f"{storage.locate(path)} is damaged: {error}") from error


_RECORD = TypeAdapter(PlateRecord)


@dataclass(frozen=True)
class PlateBook:
    """All plates of the rounds so far.

    Attributes:
        records: One per attempt that arrived, and one per plate that did not.
        used: Newest passed or waived attempt of each plate that has one.
    """

    records: tuple[PlateRecord, ...]
    used: Mapping[str, Attempt]

    def newest(self) -> dict[str, PlateRecord]:
        """The record of the newest attempt of each plate."""
        return {record.barcode: record for record in self.records}

    def abandoned(self) -> frozenset[str]:
        """Plates that were given up and of which no attempt is used."""
        return frozenset(
            barcode
            for barcode, record in self.newest().items()
            if record.state is PlateState.ABANDONED and barcode not in self.used
        )

    def passed_share(self, round_index: int) -> tuple[int, int]:
        """Plates of a round that are used, and plates planned for it that were not abandoned."""
        planned = {record.barcode for record in self.records if record.round == round_index} - self.abandoned()
        return len(planned & self.used.keys()), len(planned)

    def without(self, round_index: int) -> list[PlateRecord]:
        """Newest record of each plate of a round that is not used: what the round goes on without."""
        newest = self.newest().values()
        return [record for record in newest if record.round == round_index and record.barcode not in self.used]

    def troubled(self) -> dict[str, str]:
        """failed, waived or abandoned, by barcode: of used plates the waived ones, of the others those not awaited."""
        found = {
            barcode: record.state.value
            for barcode, record in self.newest().items()
            if barcode not in self.used and record.state in (PlateState.FAILED, PlateState.ABANDONED)
        }
        waived = [record for record in self.records if record.state is PlateState.WAIVED]
        used = {(attempt.barcode, attempt.attempt) for attempt in self.used.values()}
        return found | {one.barcode: one.state.value for one in waived if (one.barcode, one.attempt) in used}

    def repeats(self) -> pd.DataFrame:
        """Plates to repeat: round, barcode, attempt wanted, reason."""
        rows = [
            (r.round, r.barcode, r.attempt + 1, r.reason)
            for r in self.newest().values()
            if r.state is PlateState.FAILED and r.barcode not in self.used
        ]
        return pd.DataFrame(rows, columns=["round", "barcode", "attempt", "reason"])

    def table(self) -> pd.DataFrame:
        """All records: round, barcode, attempt, run, state, reason."""
        rows = [{**asdict(record), "state": record.state.value} for record in self.records]
        return pd.DataFrame(rows, columns=["round", "barcode", "attempt", "run", "state", "reason"])


def keep_book(
    planned: Mapping[str, int],
    attempts: Sequence[Attempt],
    marks: Mapping[tuple[str, int], tuple[PlateState, str]] | None = None,
) -> PlateBook:
    """State of every plate.

    Args:
        planned: Round by barcode, of every released plate.
        attempts: What arrived and was judged, at most one entry per barcode and attempt.
        marks: What a person decided about an attempt: its state (waived or abandoned) and the note, by barcode and
            attempt. A decision that the attempt's state does not allow any more has no effect.
    """
    marks = marks or {}
    by_plate: dict[str, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda a: a.attempt):
        by_plate.setdefault(attempt.barcode, []).append(attempt)
    records: list[PlateRecord] = []
    used: dict[str, Attempt] = {}
    for barcode, round_index in sorted(planned.items(), key=lambda item: (item[1], item[0])):
        arrived = by_plate.get(barcode, [])
        if not arrived:
            state, reason = _marked(PlateState.PLANNED, "not yet received", marks.get((barcode, 1)))
            records.append(PlateRecord(round_index, barcode, 1, "", state, reason))
        for attempt in arrived:
            state, reason = _state(attempt, arrived[-1], marks.get((barcode, attempt.attempt)))
            records.append(PlateRecord(round_index, barcode, attempt.attempt, attempt.run, state, reason))
            if state.is_used:
                used[barcode] = attempt
    return PlateBook(tuple(records), used)


def _state(attempt: Attempt, newest: Attempt, mark: tuple[PlateState, str] | None) -> tuple[PlateState, str]:
    if attempt.passed:
        return PlateState.PASSED, "all metrics within their thresholds"
    reasons = "; ".join(attempt.reasons)
    if mark is not None and mark[0] is PlateState.WAIVED and not attempt.readable:
        mark = None
    if attempt is newest or (mark is not None and mark[0] is PlateState.WAIVED):
        return _marked(PlateState.FAILED, reasons, mark)
    return PlateState.REPEATED, reasons


def marked(record: PlateRecord, mark: tuple[PlateState, str] | None) -> PlateRecord:
    """The record after a person's decision; the same where its state does not allow it (any more)."""
    state, reason = _marked(record.state, record.reason, mark)
    return replace(record, state=state, reason=reason)


def _marked(state: PlateState, reason: str, mark: tuple[PlateState, str] | None) -> tuple[PlateState, str]:
    """The state that a person's decision leads to, with the note before the reason."""
    if mark is None or mark[0] not in state.next_states:
        return state, reason
    return mark[0], f"{mark[0].value}: {mark[1]} ({reason})"
