"""Which labels a member is not trained on: whole plates, in turn."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tasks.campaigns.ensemble_settings import NetworkSettings
from tasks.ensembles.determinism import Purpose, generator
from tasks.ensembles.training_set import TrainingSet
from tasks.errors import UserError

FEWEST_PLATES = 5  # with fewer, a held-out plate would take too many labels from training
LEAST_KEPT = 0.5  # share of the labels that every fold must leave to train on

Mask = npt.NDArray[np.bool_]


def held_out(train: TrainingSet, settings: NetworkSettings, seed: int, members: range) -> tuple[Mask, str]:
    """Labels that each member is stopped on and never learns a gradient from.

    Plates (or labels) are dealt into about 1/share folds and members take one fold after the other; when all have had
    one, they are dealt anew. A label is held out when any of its wells stands on a held-out plate, so that plate noise
    shared by both sides cannot pass for skill.

    Args:
        train: n labels.
        settings: How to hold out, and what share.
        seed: Of the ensemble.
        members: Indices of the members.

    Returns:
        (m, n) masks, and what was held out: plates or labels.

    Raises:
        UserError: Plates are asked for, and labels stand on so few plates, or on so many each, that too few are left.
    """
    by_plates = _by_plates(train, settings)
    if settings.holdout == "plates" and not by_plates:
        raise UserError(
            "plates cannot be held out",
            where="ensemble.holdout",
            got=_no_folds(train.plates, settings),
            expected="auto or labels here",
        )
    masks = [_mask(train, settings, seed, member, by_plates) for member in members]
    return np.stack(masks), "plates" if by_plates else "labels"


def labels_per_epoch(train: TrainingSet, settings: NetworkSettings, seed: int) -> int:
    """Labels that every member sees in an epoch: those of the smallest training set of the first deal.

    It depends on no member and no number of members, so that a member is the same whoever is trained beside it.
    """
    units = train.plates.shape[1] if _by_plates(train, settings) else len(train)
    first, _ = held_out(train, settings, seed, range(_folds(units, settings)))
    return int((~first).sum(axis=1).min())


def _by_plates(train: TrainingSet, settings: NetworkSettings) -> bool:
    return settings.holdout != "labels" and not _no_folds(train.plates, settings)


def _folds(units: int, settings: NetworkSettings) -> int:
    return max(2, min(units, round(1 / settings.holdout_share)))


def _mask(train: TrainingSet, settings: NetworkSettings, seed: int, member: int, by_plates: bool) -> Mask:
    """Labels (n,) of the member's fold."""
    units = train.plates.shape[1] if by_plates else len(train)
    count = _folds(units, settings)
    deal = generator(seed, Purpose.DEAL, member // count)
    chosen = deal.permutation(units) % count == member % count
    return np.asarray(train.plates[:, chosen].any(axis=1)) if by_plates else chosen


def _no_folds(plates: Mask, settings: NetworkSettings) -> str:
    """Why plates cannot be held out; empty if they can."""
    if plates.shape[1] < FEWEST_PLATES:
        return f"{plates.shape[1]} plates, {FEWEST_PLATES} are needed"
    largest = np.sort(plates.sum(axis=0))[::-1][: math.ceil(plates.shape[1] / _folds(plates.shape[1], settings))]
    kept = 1 - largest.sum() / len(plates)
    if kept < LEAST_KEPT:
        return f"a held-out part could leave {max(kept, 0.0):.0%} of the labels to train on"
    return ""
