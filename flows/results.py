"""What the flows answer: frozen, JSON, and with a sentence for people."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tasks.campaigns.answers import Decision
from tasks.checkpoints.records import Event


class Result(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(frozen=True)

    campaign: str
    location: str


class Opened(Result):
    """Answer of `open`."""

    newly: bool
    revision: int
    perturbations: int
    audit: int
    plates: int
    wells: int
    design: str


class RoundResult(Result):
    """Answer of `round` and `plan`.

    `status`: decided (a screen was published), unchanged (nothing new; the newest run stands), waiting (too few plates
    have passed), planned (nothing was done). `proposal` is a batch that waits for its release, `released` the folder of
    a design that this run released, `without` the plates of the round that are not used: barcode, state, reason.
    `excluded` counts the wells that the exclusion logs name, `warnings` say what makes the numbers doubtful.
    """

    round: int
    run: int | None
    status: Literal["decided", "unchanged", "waiting", "planned"]
    message: str
    events: list[Event]
    plates_passed: int
    plates_planned: int
    repeats: list[str]
    without: list[dict[str, Any]]
    rejections: list[dict[str, Any]]
    excluded: int
    warnings: list[str]
    decision: dict[str, Any] | None = None
    screen: str | None = None
    report: str | None = None
    repeat_list: str | None = None
    proposal: str | None = None
    released: str | None = None

    @property
    def computed(self) -> list[Event]:
        """Nodes that had to be computed, or would have to be."""
        return [event for event in self.events if event.status != "cached"]


class Marked(Result):
    """Answer of `plates waive` and `plates abandon`. `newly` is False when the same was decided before."""

    round: int
    barcode: str
    attempt: int
    state: str
    note: str
    newly: bool


class Plates(Result):
    """Answer of `plates list`: one row per attempt (round, barcode, attempt, run, state, reason)."""

    plates: list[dict[str, Any]]


class Released(Result):
    """Answer of `release`: what was decided of the batch for `round`. `design` is None unless it is released."""

    round: int
    newly: bool
    design: str | None
    source: str
    decision: Decision
    vetoed: list[str]
    note: str
