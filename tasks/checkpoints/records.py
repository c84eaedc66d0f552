"""What is recorded of every node of a run, and the lock that holds them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.checkpoints.refs import Ref

Status = Literal["cached", "computed", "planned"]


class NodeRecord(BaseModel):
    """One node of the DAG: what it was computed from and what came out. Holds nothing that differs between reruns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: str
    stage: str
    version: int
    key: str
    params: dict[str, Any]
    seed: int | None
    inputs: dict[str, str]
    outputs: dict[str, Ref] = Field(default_factory=dict)


class Event(BaseModel):
    """What happened at a node in this run: a hit, or a computation and why."""

    model_config = ConfigDict(frozen=True)

    node: str
    status: Status
    reason: str
    seconds: float


class RoundLock(BaseModel):
    """Every input digest, parameter, version and seed of one run of a round. Two locks can be compared line by line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    campaign: str
    round: int
    nodes: dict[str, NodeRecord]
    versions: dict[str, str]
