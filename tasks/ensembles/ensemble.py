"""A fitted ensemble and its form in storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from tasks.errors import UserError

Kind = Literal["continuous", "binary"]

_HISTORY = "history"


@dataclass(frozen=True)
class Ensemble:
    """M fitted members: everything that prediction needs, in named tensors.

    Attributes:
        kind: continuous (members predict the readout) or binary (members predict the probability of class 1).
        tensors: Weights, standardisation, last-layer posterior, feature projection; float32. Names: network.py.
        history: (M, epochs run) held-out loss in standardised units; NaN after a member has stopped.
        meta: JSON-able facts about the fit (model, kind, sizes, best epochs, held-out losses, seed).
    """

    kind: Kind
    tensors: Mapping[str, torch.Tensor]
    history: npt.NDArray[np.float64]
    meta: Mapping[str, Any]

    @property
    def members(self) -> int:
        """Number of members M."""
        return int(self.meta["members"])


def ensemble_to_tensors(ensemble: Ensemble) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Take an ensemble apart into named arrays (for safetensors) and JSON-able facts.

    Returns:
        Arrays by name, the training history among them, and the facts.
    """
    arrays = {name: ensemble.tensors[name].detach().cpu().contiguous().numpy() for name in sorted(ensemble.tensors)}
    return {**arrays, _HISTORY: ensemble.history}, dict(ensemble.meta)


def ensemble_from_tensors(arrays: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any]) -> Ensemble:
    """Put together what `ensemble_to_tensors` took apart.

    Raises:
        UserError: The arrays or the facts are not those of an ensemble.
    """
    if _HISTORY not in arrays or "kind" not in meta or "members" not in meta:
        raise UserError(
            "this is not a stored ensemble",
            got=sorted(arrays),
            expected=f"tensors with {_HISTORY}, facts with kind, members",
        )
    tensors = {name: torch.from_numpy(np.array(arrays[name])) for name in sorted(arrays) if name != _HISTORY}
    return Ensemble(meta["kind"], tensors, np.array(arrays[_HISTORY], dtype=np.float64), dict(meta))
