"""What a round's assessment reads and how it is cut into pieces: all that planning needs, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.checkpoints.refs import Ref

REPEATS_A_PIECE = 2


@dataclass(frozen=True)
class Labelled:
    """References: library, training labels (none of a hidden audit member), their plates and noise, and membership."""

    library: Ref
    training: Ref
    incidence: Ref
    noise: Ref
    standing: Ref

    def inputs(self) -> dict[str, Ref]:
        """By name."""
        return {name: getattr(self, name) for name in ("library", "training", "incidence", "noise", "standing")}


def parts(repeats: int) -> list[range]:
    """Repeats that are done together: one piece of work."""
    return [range(start, min(start + REPEATS_A_PIECE, repeats)) for start in range(0, repeats, REPEATS_A_PIECE)]
