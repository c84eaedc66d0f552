"""What a person answered to a proposed batch: approved, vetoed in part, or rejected. Written once, never changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import pandas as pd

from tasks.campaigns.designs import round_folder
from tasks.checkpoints.keys import digest
from tasks.checkpoints.payloads import encode_json
from tasks.checkpoints.record_files import read_record
from tasks.checkpoints.storage import Storage
from tasks.errors import UserError

Decision = Literal["approve", "veto", "reject"]


@dataclass(frozen=True)
class Answer:
    """An answer to the batch that a run proposed.

    Attributes:
        round: Round that proposed it.
        run: Run of that round.
        decision: approve: it becomes the next design. veto: some of it may never be chosen. reject: not like this.
        vetoed: The perturbations that are vetoed.
        note: Why.
        at: When, UTC, ISO 8601.
    """

    round: int
    run: int
    decision: Decision
    vetoed: tuple[str, ...]
    note: str
    at: str


def make_answer(
    batch: pd.DataFrame,
    proposal: tuple[int, int],
    decision: Decision,
    vetoed: Sequence[str],
    note: str,
    now: datetime,
    earlier: Iterable[Answer],
) -> Answer:
    """An answer to a proposal, if it makes sense.

    Args:
        batch: The proposed batch.
        proposal: Round and run that proposed it.
        decision: approve, veto or reject.
        vetoed: Perturbations, for a veto alone.
        note: Why; a veto and a rejection need one.
        now: The present, with a time zone.
        earlier: Answers so far, of all rounds up to this one.

    Raises:
        UserError: A veto of nothing or of what the batch does not measure, a missing note, an approval of a batch that
            holds vetoed perturbations, or, without a note, of one that was rejected.
    """
    where, text = f"batch proposed by round {proposal[0]}, run {proposal[1]:02d}", " ".join(note.split())
    known = list(earlier)
    measured = batch.loc[batch["action"] == "measure", "perturbation"]
    if decision == "approve":
        _refuse_vetoed(known, measured, where)
        rejected = [each.note for each in known if (each.round, each.run) == proposal and each.decision == "reject"]
        if rejected and not text:
            todo = "To approve it all the same, say why: --note '…'."
            raise UserError("it was rejected", where=where, got=repr(rejected[-1]), todo=todo)
    elif not text:
        raise UserError("a note is needed", where=where, todo="Say why: --note '…'. It is kept for good.")
    if bool(vetoed) != (decision == "veto"):
        todo = "Name perturbations to veto, and only for a veto."
        raise UserError(f"cannot {decision} with {len(vetoed)} perturbations named", where=where, todo=todo)
    strange = sorted(set(vetoed) - set(measured))
    if strange:
        some = ", ".join(measured[:4])
        raise UserError("the batch does not measure it", where=where, got=repr(strange[0]), expected=f"as {some}")
    return Answer(*proposal, decision, tuple(sorted(set(vetoed))), text, now.isoformat(timespec="seconds"))


def _refuse_vetoed(known: Sequence[Answer], measured: pd.Series[str], where: str) -> None:
    gone = sorted(set(measured) & set(vetoes_of(known)))
    if gone:
        todo = "Compute the round again: what it then proposes is without them."
        raise UserError("it holds vetoed perturbations", where=where, got=", ".join(gone[:4]), todo=todo)


def write_answer(storage: Storage, answer: Answer) -> bool:
    """Record an answer; False when the same was recorded before (its note stands)."""
    name = f"{answer.run:02d}.{answer.decision}.{digest(list(answer.vetoed))[:12]}.json"
    return storage.create(f"{_folder(answer.round)}/{name}", encode_json(asdict(answer)))


def read_answers(storage: Storage, rounds: Iterable[int]) -> list[Answer]:
    """Answers to what some rounds proposed, oldest first.

    Raises:
        DamagedCheckpoint: One of them is damaged.
    """
    paths = [path for number in rounds for path in storage.list(_folder(number))]
    found = storage.read_many(paths)
    answers = [read_record(storage, path, data, Answer) for path, data in sorted(found.items())]
    return sorted(answers, key=lambda each: (each.round, each.run, each.at))


def vetoes_of(answers: Iterable[Answer]) -> list[str]:
    """Every perturbation that some answer vetoed, sorted."""
    return sorted({name for answer in answers for name in answer.vetoed})


def _folder(number: int) -> str:
    return f"{round_folder(number)}/answers"
