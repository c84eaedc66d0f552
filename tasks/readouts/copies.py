"""Several uploads of one plate attempt, and plates with other features than the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from tasks.readouts.formats import PlateHead, PlateReadout
from tasks.readouts.rejections import Rejection

Plate = TypeVar("Plate", PlateHead, PlateReadout)


def resolve_copies(readouts: Sequence[Plate]) -> tuple[list[Plate], tuple[Rejection, ...]]:
    """One readout for each plate attempt, whatever order the files arrived in. Heads of plates are enough.

    The same content uploaded twice counts once (the source that sorts first). Different contents for one attempt are
    all refused: nothing tells which of them is meant. A copy that has problems of its own is no content: where another
    one has none, it stands aside and its problems are told.

    Returns:
        The readouts that are left, by barcode and attempt, and the rejections.
    """
    groups: dict[tuple[str, int], list[Plate]] = {}
    for readout in sorted(readouts, key=lambda plate: (plate.barcode, plate.attempt, plate.source)):
        groups.setdefault((readout.barcode, readout.attempt), []).append(readout)
    kept: list[Plate] = []
    rejections: list[Rejection] = []
    for (barcode, attempt), copies in groups.items():
        sound = [copy for copy in copies if not copy.problems] or copies[:1]
        rejections.extend(problem for copy in copies if copy not in sound for problem in copy.problems)
        if all(copy.head.same_content(sound[0].head) for copy in sound):
            kept.append(sound[0])
            continue
        sources = ", ".join(dict.fromkeys(copy.source for copy in sound))
        reason = f"attempt {attempt} differs between {sources}; expected one content (a repeat is the next attempt)"
        rejections.extend(Rejection(copy.source, barcode, None, reason) for copy in sound)
    return kept, tuple(rejections)


def reference_features(readouts: Sequence[Plate], rounds: Mapping[str, int]) -> tuple[str, ...] | None:
    """The features that every plate of a campaign must have.

    Args:
        readouts: Plates that arrived.
        rounds: Round by barcode.

    Returns:
        The features (sorted) that most plates of the earliest round have, of ties those of the barcode that sorts
        first; None without a plate that can be read.
    """
    sound = [readout for readout in readouts if not readout.problems]
    if not sound:
        return None
    earliest = min(rounds[readout.barcode] for readout in sound)
    first = [readout for readout in sound if rounds[readout.barcode] == earliest]
    sets = [tuple(sorted(plate.numbers)) for plate in sorted(first, key=lambda plate: (plate.barcode, plate.attempt))]
    return Counter(sets).most_common(1)[0][0]
