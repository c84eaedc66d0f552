"""What is predicted: the kind of readout and its columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["continuous", "binary", "multi-class"]


@dataclass(frozen=True)
class Target:
    """Kind of the readout, and how many columns a member predicts of it.

    Attributes:
        kind: continuous (values), binary (the probability of class 1) or multi-class (a probability a class).
        columns: C: outputs (continuous, binary), or classes (multi-class, one output).
    """

    kind: Kind = "continuous"
    columns: int = 1

    @property
    def outputs(self) -> int:
        """Columns of the labels T: a class is one number, however many classes there are."""
        return 1 if self.kind == "multi-class" else self.columns
