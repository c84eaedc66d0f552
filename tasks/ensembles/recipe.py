"""What an ensemble is made of and from, and its pieces of work by name: all that planning a round needs.

A round with nothing new plans every piece and computes none, so the libraries that compute are imported by the pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.campaigns.config import OperatorsSection, ReadoutSection
from tasks.campaigns.ensemble_settings import EnsembleSection
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import CheckpointStore
from tasks.ensembles.target import Target


@dataclass(frozen=True)
class Learnt:
    """What an ensemble learns from: references to the library, the labels, and the plates that they stand on."""

    library: Ref
    labels: Ref
    incidence: Ref


@dataclass(frozen=True)
class Recipe:
    """How an ensemble is fitted.

    Attributes:
        readout: What a well reports.
        settings: The model and its settings.
        operators: What is kept of the members' own posterior, and how many ensemble features.
        seed: Of every random choice.
    """

    readout: ReadoutSection
    settings: EnsembleSection
    operators: OperatorsSection
    seed: int

    @property
    def target(self) -> Target:
        """What a member predicts."""
        return Target(self.readout.kind)


def fit_members(
    store: CheckpointStore, node: str, learnt: Learnt, recipe: Recipe, members: range, device: str
) -> dict[str, Payload]:
    """See `tasks.ensembles.pieces`."""
    from tasks.ensembles import pieces

    return pieces.fit_members(store, node, learnt, recipe, members, device)


def join_members(
    store: CheckpointStore, learnt: Learnt, recipe: Recipe, parts: Sequence[tuple[Ref, Ref]]
) -> dict[str, Payload]:
    """See `tasks.ensembles.pieces`."""
    from tasks.ensembles import pieces

    return pieces.join_members(store, learnt, recipe, parts)


def predict_rows(
    store: CheckpointStore, library: Ref, ensemble: tuple[Ref, Ref], start: int, stop: int, device: str
) -> dict[str, Payload]:
    """See `tasks.ensembles.pieces`."""
    from tasks.ensembles import pieces

    return pieces.predict_rows(store, library, ensemble, start, stop, device)


def plates_of(perturbations: pd.Series[str], incidence: pd.DataFrame) -> NDArray[np.bool_]:
    """(n, P) whether a perturbation has a well on a plate attempt; plates in the order of their names.

    Args:
        perturbations: n different ones.
        incidence: perturbation, barcode (plate attempt key); others than these perturbations do not count.
    """
    rows = pd.Index(perturbations).get_indexer(pd.Index(incidence["perturbation"]))
    known = incidence.assign(row=rows)[rows >= 0]
    plates = pd.Index(sorted(set(known["barcode"])), dtype=object)
    stands = np.zeros((len(perturbations), len(plates)), dtype=bool)
    stands[known["row"], plates.get_indexer(known["barcode"])] = True
    return stands
