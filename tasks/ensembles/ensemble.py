"""A fitted ensemble, its parts, and its form in storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tasks.ensembles.target import Target
from tasks.errors import UserError

Arrays = Mapping[str, npt.NDArray[Any]]
Progress = Callable[[int, int], None]

_HISTORY = "history"


@dataclass(frozen=True)
class Part:
    """Some members, fitted together: one piece of work.

    Attributes:
        arrays: What the model needs of these members, by name, member first. `held_out` (m, n) uint8 among them: the
            labels that a member did not learn from.
        history: (m, epochs run) held-out loss in standardised units, NaN after a member has stopped; (m, 0) for a
            model that is not trained in epochs.
        facts: JSON-able facts about the fit.
    """

    arrays: Arrays
    history: npt.NDArray[np.float64]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Ensemble:
    """M fitted members: everything that prediction needs, in named tensors.

    Attributes:
        target: What the members predict.
        tensors: Weights, encoding, last-layer posterior, feature projection. Names: the model's module.
        history: (M, epochs run), see `Part`.
        meta: JSON-able facts about the fit: model, kind, columns, members, labels, features, seed, and the model's own.
    """

    target: Target
    tensors: Mapping[str, torch.Tensor]
    history: npt.NDArray[np.float64]
    meta: Mapping[str, Any]

    @property
    def members(self) -> int:
        """Number of members M."""
        return int(self.meta["members"])

    def to(self, device: torch.device) -> Ensemble:
        """The same ensemble on another device."""
        return replace(self, tensors={name: tensor.to(device) for name, tensor in self.tensors.items()})


def ensemble_to_tensors(ensemble: Ensemble) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Take an ensemble apart into named arrays (for safetensors) and JSON-able facts.

    Returns:
        Arrays by name, the training history among them, and the facts.
    """
    arrays = {name: ensemble.tensors[name].detach().cpu().contiguous().numpy() for name in sorted(ensemble.tensors)}
    return {**arrays, _HISTORY: ensemble.history}, dict(ensemble.meta)


def ensemble_from_tensors(arrays: Arrays, meta: Mapping[str, Any]) -> Ensemble:
    """Put together what `ensemble_to_tensors` took apart.

    Raises:
        UserError: The arrays or the facts are not those of an ensemble.
    """
    if _HISTORY not in arrays or not {"model", "kind", "columns", "members"} <= set(meta):
        raise UserError(
            "this is not a stored ensemble",
            got=sorted(arrays),
            expected=f"tensors with {_HISTORY}, facts with model, kind, columns, members",
        )
    tensors = {name: torch.from_numpy(np.array(arrays[name])) for name in sorted(arrays) if name != _HISTORY}
    history = np.array(arrays[_HISTORY], dtype=np.float64)
    return Ensemble(Target(meta["kind"], int(meta["columns"])), tensors, history, dict(meta))


def part_to_tensors(part: Part) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Take a part apart into named arrays and JSON-able facts."""
    return {**{name: np.asarray(part.arrays[name]) for name in sorted(part.arrays)}, _HISTORY: part.history}, dict(
        part.facts
    )


def part_from_tensors(arrays: Arrays, facts: Mapping[str, Any]) -> Part:
    """Put together what `part_to_tensors` took apart."""
    return Part({name: arrays[name] for name in sorted(arrays) if name != _HISTORY}, arrays[_HISTORY], facts)
