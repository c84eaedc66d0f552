"""States of all plates, from what was planned and what quality control said of what arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from tasks.campaigns.lifecycle import PlateState


@dataclass(frozen=True)
class Attempt:
    """One attempt of a plate that arrived and was judged."""

    barcode: str
    attempt: int
    run: str
    passed: bool
    reasons: tuple[str, ...] = ()

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


@dataclass(frozen=True)
class PlateBook:
    """All plates of the rounds so far.

    Attributes:
        records: One per attempt that arrived, and one per plate that did not.
        used: Newest passed attempt of each plate that has one.
    """

    records: tuple[PlateRecord, ...]
    used: Mapping[str, Attempt]

    def passed_share(self, round_index: int) -> tuple[int, int]:
        """Plates of a round that have a passed attempt, and plates planned for it."""
        planned = {record.barcode for record in self.records if record.round == round_index}
        return len(planned & self.used.keys()), len(planned)

    def repeats(self) -> pd.DataFrame:
        """Plates to repeat: round, barcode, attempt wanted, reason."""
        newest: dict[str, PlateRecord] = {}
        for record in self.records:
            if record.state is not PlateState.PLANNED and record.barcode not in self.used:
                newest[record.barcode] = record
        rows = [(r.round, r.barcode, r.attempt + 1, r.reason) for r in newest.values()]
        return pd.DataFrame(rows, columns=["round", "barcode", "attempt", "reason"])

    def table(self) -> pd.DataFrame:
        """All records: round, barcode, attempt, run, state, reason."""
        rows = [{**asdict(record), "state": record.state.value} for record in self.records]
        return pd.DataFrame(rows, columns=["round", "barcode", "attempt", "run", "state", "reason"])


def keep_book(planned: Mapping[str, int], attempts: Sequence[Attempt]) -> PlateBook:
    """State of every plate.

    Args:
        planned: Round by barcode, of every released plate.
        attempts: What arrived and was judged, at most one entry per barcode and attempt.
    """
    records: list[PlateRecord] = []
    used: dict[str, Attempt] = {}
    for barcode, round_index in sorted(planned.items(), key=lambda item: (item[1], item[0])):
        arrived = sorted((a for a in attempts if a.barcode == barcode), key=lambda a: a.attempt)
        if not arrived:
            records.append(PlateRecord(round_index, barcode, 1, "", PlateState.PLANNED, "not yet received"))
        for attempt in arrived:
            state, reason = _state(attempt, arrived[-1])
            records.append(PlateRecord(round_index, barcode, attempt.attempt, attempt.run, state, reason))
            if state.is_used:
                used[barcode] = attempt
    return PlateBook(tuple(records), used)


def _state(attempt: Attempt, newest: Attempt) -> tuple[PlateState, str]:
    if attempt.passed:
        return PlateState.PASSED, "all metrics within their thresholds"
    reasons = "; ".join(attempt.reasons)
    if attempt is not newest:
        return PlateState.REPEATED, reasons
    return PlateState.FAILED, reasons
