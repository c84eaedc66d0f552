"""What is on record of a finished run, as far as the books themselves read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.checkpoints.record_files import read_record
from tasks.checkpoints.storage import Storage


class RunSummary(BaseModel):
    """`run.json`, and the summary in a screen's manifest. What else stands there is kept as it is."""

    model_config = ConfigDict(frozen=True, extra="allow")

    status: str
    run: int | None = None
    screen: str | None = None
    bound: float | None = None
    estimate: float | None = None
    wells_used: int | None = None


class ScreenManifest(BaseModel):
    """`manifest.json` of a published screen."""

    model_config = ConfigDict(frozen=True)

    round: int
    run: int
    files: dict[str, str]
    summary: dict[str, Any] | None = None


def read_summary(storage: Storage, path: str, data: bytes) -> Mapping[str, Any]:
    """Summary of a run, as it was written.

    Raises:
        DamagedCheckpoint: It is not one.
    """
    read_record(storage, path, data, RunSummary)
    content: dict[str, Any] = read_record(storage, path, data, dict[str, Any])
    return content
