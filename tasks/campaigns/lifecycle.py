"""The life of a plate, drawn."""

from __future__ import annotations

from enum import StrEnum


class PlateState(StrEnum):
    """State of one attempt of a planned plate.

    ```
    planned ──► received ──► passed
       │            │
       │            └──────► failed ──► repeated   (a newer attempt arrived)
       │                       ├──────► waived     (used all the same, with a note)
       │                       │           │
       └───────────────────────┴───────────┴────► abandoned  (its perturbations return to the pool)
    ```

    Quality control decides between passed and failed; waived and abandoned are decided by a person, with a note
    (`hybridscreen plates waive`, `hybridscreen plates abandon`). A plate that never arrived can be abandoned too.
    """

    PLANNED = "planned"
    RECEIVED = "received"
    PASSED = "passed"
    FAILED = "failed"
    REPEATED = "repeated"
    WAIVED = "waived"
    ABANDONED = "abandoned"

    @property
    def next_states(self) -> frozenset[PlateState]:
        """States this one may turn into."""
        return _NEXT[self]

    @property
    def is_used(self) -> bool:
        """Whether the plate's readouts enter the labels."""
        return self in (PlateState.PASSED, PlateState.WAIVED)


_NEXT = {
    PlateState.PLANNED: frozenset({PlateState.RECEIVED, PlateState.ABANDONED}),
    PlateState.RECEIVED: frozenset({PlateState.PASSED, PlateState.FAILED}),
    PlateState.PASSED: frozenset[PlateState](),
    PlateState.FAILED: frozenset({PlateState.REPEATED, PlateState.WAIVED, PlateState.ABANDONED}),
    PlateState.REPEATED: frozenset[PlateState](),
    PlateState.WAIVED: frozenset({PlateState.ABANDONED}),
    PlateState.ABANDONED: frozenset[PlateState](),
}
