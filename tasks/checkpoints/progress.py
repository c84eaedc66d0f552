"""Who listens while nodes run: a terminal's progress bar, or nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from tasks.checkpoints.records import Event


class Listener(Protocol):
    """Told what happens in a run. Called from several threads."""

    def started(self, node: str) -> None:
        """A node begins to be computed."""

    def advanced(self, node: str, done: int, total: int) -> None:
        """A long node has done so much of so much."""

    def finished(self, event: Event) -> None:
        """A node was read or computed."""


class Silence:
    """Nobody listens."""

    def started(self, node: str) -> None:
        """Ignore."""

    def advanced(self, node: str, done: int, total: int) -> None:
        """Ignore."""

    def finished(self, event: Event) -> None:
        """Ignore."""


_listener: ContextVar[Listener] = ContextVar("listener", default=Silence())  # noqa: B039 (Silence has no state)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let a listener hear of every run that is started inside."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def current_listener() -> Listener:
    """Who listens now."""
    return _listener.get()
