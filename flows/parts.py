"""What the steps of a round hand to each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.designs import Design
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.plates import PlateBook
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.progress import Watch
from tasks.checkpoints.refs import Ref
from tasks.ensembles.task import Model
from tasks.operators.task import Omega


@dataclass(frozen=True)
class Round:
    """What every step of a round needs to know. `designs` are those of the rounds up to this one.

    `watch` knows how far the nodes of `cp` are.
    """

    config: CampaignConfig
    ledger: Ledger
    cp: Checkpointer
    library: Ref
    designs: Sequence[Design]
    number: int
    watch: Watch


@dataclass(frozen=True)
class Intake:
    """What arrived for the rounds up to this one.

    Attributes:
        round_index: The round that is computed.
        book: State of every plate.
        runs: Wells of the used plates by run and plate key.
        qualities: Quality of every judged attempt, as JSON.
        wells: Wells of every judged attempt, by plate key.
        rejections: Everything that was refused: file, plate, line, reason.
        enough: Whether the configured share of the round's plates has passed.
        wells_used: Sample wells of all attempts that arrived.
        excluded: Wells that the lab wants left out.
        returned: Perturbations all of whose plates were abandoned: they may be chosen again.
    """

    round_index: int
    book: PlateBook
    runs: Mapping[str, Mapping[str, Ref]]
    qualities: Sequence[Mapping[str, Any]]
    wells: Mapping[str, Ref]
    rejections: Sequence[Mapping[str, Any]]
    enough: bool
    wells_used: int
    excluded: int = 0
    returned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What a round found: everything that is published."""

    model: Model
    aligned: Mapping[str, Outputs]
    labels: Outputs
    standing: Ref
    omega: Omega
    decided: Outputs
    evidence: str
    batch: Outputs | None
    screen: Outputs
    forward: Sequence[Outputs]
    assessed: Outputs
