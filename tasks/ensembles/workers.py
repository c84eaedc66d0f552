"""What workers and the flow must have in common, and how a worker tells how far it is."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import tasks
from tasks.checkpoints.keys import digest, sha256
from tasks.checkpoints.manifest import package_versions
from tasks.checkpoints.progress import Listener
from tasks.checkpoints.records import Event
from tasks.errors import UserError

_SECONDS_BETWEEN = 0.5  # news of one piece


@cache
def surroundings() -> dict[str, str]:
    """Everything of a process that a result can depend on: python, packages, and the sources of `tasks`."""
    root = Path(tasks.__file__).parent
    sources = {path.relative_to(root).as_posix(): sha256(path.read_bytes()) for path in root.rglob("*.py")}
    return {"python": platform.python_version(), **package_versions(), "sources of tasks": digest(sources)[:12]}


def refuse_other(found: Mapping[str, str] | Exception, expected: Mapping[str, str], who: str) -> None:
    """Refuse surroundings that differ.

    Args:
        found: Of the other, or what came up when it was asked.
        expected: Of this process.
        who: The other.

    Raises:
        UserError: Names the other, the first package that differs, and both versions.
    """
    todo = "Start scheduler and workers from the same image or environment as the flow."
    if isinstance(found, Exception):
        raise UserError(
            "does not have the packages of this flow", where=who, got=f"{type(found).__name__}: {found}", todo=todo
        )
    for name in sorted({*expected, *found}, key=lambda name: (name == "sources of tasks", name)):
        ours, theirs = expected.get(name, "none"), found.get(name, "none")
        if ours != theirs:
            raise UserError("runs another version", where=who, got=f"{name} {theirs}", expected=ours, todo=todo)


class Relay:
    """A listener on a worker that passes on to the flow what it hears, not too often.

    Args:
        tell: Takes each piece of news to the flow. They are plain mappings: `pass_on` reads them.
    """

    def __init__(self, tell: Callable[[dict[str, str | int]], object]) -> None:
        self._tell = tell
        self._last = -_SECONDS_BETWEEN

    def started(self, node: str, worker: str = "") -> None:
        """Pass on that a node begins to be computed."""
        self._tell({"node": node, "process": worker})

    def advanced(self, node: str, done: int, total: int) -> None:
        """Pass on how far it is."""
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN or done >= total:
            self._last = now
            self._tell({"node": node, "done": int(done), "total": int(total)})

    def finished(self, event: Event) -> None:
        """Nothing: the flow knows it from the manifest."""


def pass_on(news: Mapping[str, Any], listener: Listener) -> None:
    """Let a listener of the flow hear what a worker's `Relay` told."""
    if "process" in news:
        listener.started(news["node"], news["process"])
    else:
        listener.advanced(news["node"], news["done"], news["total"])
