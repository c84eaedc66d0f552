"""The lab's day: find released plate maps and requested repeats, measure what is missing, upload the files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pandas as pd

from tasks.campaigns.designs import PLATEMAP, read_table, round_folder
from tasks.checkpoints.storage import Storage
from tasks.errors import UserError
from tasks.labs.replay import ReplayLab, file_name

_ROUND = re.compile(r"\d{4,}")
_REPEATS = "repeats.csv"


def answer_round(storage: Storage, lab: ReplayLab, round_index: int) -> tuple[str, ...]:
    """Measure what a round still lacks: its designed plates, and the repeats that its runs ask for.

    The plates of a round are processed together as run `R<round>`, their repeats as `R<round>-repeat<attempt − 1>`.
    A file that is in the inbox is never written again, so a second call answers only what was asked for since.

    Args:
        storage: The campaign's files.
        lab: The lab.
        round_index: Round whose design and runs are read. Its runs may ask for plates of earlier rounds.

    Returns:
        Paths of the files that this call uploaded, in the order of measuring; none if no design is released.

    Raises:
        UserError: A repeat is asked for of a plate that no round designed, or of an attempt below 2.
    """
    uploaded = []
    for plate_round, number, plate, attempt in _wanted(storage, round_index):
        barcode = str(plate["barcode"].iloc[0])
        path = f"inbox/{file_name(barcode, attempt)}"
        if storage.exists(path):
            continue
        run = f"R{plate_round:02d}" + (f"-repeat{attempt - 1}" if attempt > 1 else "")
        failed = lab.fails(plate_round, number, barcode, attempt)
        _, data = lab.plate_file(plate, attempt, run, failed=failed)
        if storage.create(path, data):
            uploaded.append(path)
    return tuple(uploaded)


def answer_all(storage: Storage, lab: ReplayLab) -> tuple[str, ...]:
    """Measure what any round still lacks, in order of rounds. Returns and errors as `answer_round`."""
    rounds = [int(name) for name in storage.folders("rounds") if _ROUND.fullmatch(name)]
    return tuple(path for round_index in sorted(rounds) for path in answer_round(storage, lab, round_index))


def _wanted(storage: Storage, round_index: int) -> Iterator[tuple[int, int, pd.DataFrame, int]]:
    """Round, number in the round, plate map and attempt of every plate that the round may want measured."""
    designed = _designed_plates(storage, round_index)
    for number, plate in enumerate(designed.values(), start=1):
        yield round_index, number, plate, 1
    repeats = _repeats(storage, round_index)
    if repeats:
        known = {
            barcode: (of, number, plate)
            for of in range(round_index + 1)
            for number, (barcode, plate) in enumerate(_designed_plates(storage, of).items(), start=1)
        }
        for barcode, attempt, source in repeats:
            if barcode not in known:
                raise UserError("a repeat of a plate that no round designed", where=source, got=barcode)
            yield *known[barcode], attempt


def _designed_plates(storage: Storage, round_index: int) -> dict[str, pd.DataFrame]:
    """Plate maps of a round by barcode, in order of barcode; empty before its design is released."""
    try:
        text = storage.read(f"{round_folder(round_index)}/design/{PLATEMAP}").decode()
    except FileNotFoundError:
        return {}
    return {str(barcode): plate for barcode, plate in read_table(text).groupby("barcode", sort=True)}


def _repeats(storage: Storage, round_index: int) -> list[tuple[str, int, str]]:
    """Barcode, attempt and source of the repeats that the runs of a round ask for, each once, in order of runs."""
    found: dict[tuple[str, int], str] = {}
    folder = f"{round_folder(round_index)}/runs"
    for run in storage.folders(folder):
        path = f"{folder}/{run}/{_REPEATS}"
        if not storage.exists(path):
            continue
        table = pd.read_csv(io.BytesIO(storage.read(path)), dtype=str, keep_default_na=False)
        for barcode, text in zip(table["barcode"], table["attempt"], strict=True):
            if not text.isdecimal() or int(text) < 2:
                raise UserError(
                    "not the attempt of a repeat", where=path, got=f"{text!r} of {barcode}", expected="2 or more"
                )
            found.setdefault((barcode, int(text)), path)
    return [(barcode, attempt, source) for (barcode, attempt), source in found.items()]
