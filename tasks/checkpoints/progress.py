"""Who listens while nodes run: a terminal's progress bar, or nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from tasks.checkpoints.records import Event


class Listener(Protocol):
    """Told what happens in a run. Called from several threads."""

    def started(self, node: str, worker: str = "") -> None:
        """A node begins to be computed, by this worker (`host:pid`) where it is known."""

    def advanced(self, node: str, done: int, total: int) -> None:
        """A long node has done so much of so much."""

    def finished(self, event: Event) -> None:
        """A node was read or computed."""


class Silence:
    """Nobody listens."""

    def started(self, node: str, worker: str = "") -> None:
        """Ignore."""

    def advanced(self, node: str, done: int, total: int) -> None:
        """Ignore."""

    def finished(self, event: Event) -> None:
        """Ignore."""


class Watch:
    """Passes on what it hears, and remembers how far each node is.

    Args:
        listener: Hears everything.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._shares: dict[str, float] = {}

    def share(self, nodes: Sequence[str]) -> float:
        """Share of the work on some nodes that is done, each counting the same."""
        return sum(self._shares.get(node, 0.0) for node in nodes) / max(len(nodes), 1)

    def started(self, node: str, worker: str = "") -> None:
        """Pass on; a node that was begun before is begun anew."""
        self._shares[node] = 0.0
        self._listener.started(node, worker)

    def advanced(self, node: str, done: int, total: int) -> None:
        """Pass on, and remember."""
        self._shares[node] = done / max(total, 1)
        self._listener.advanced(node, done, total)

    def finished(self, event: Event) -> None:
        """Pass on, and remember."""
        self._shares[event.node] = 1.0
        self._listener.finished(event)


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


def advanced(node: str, done: int, total: int) -> None:
    """Tell whoever listens how far a long node is. Also reaches the flow from a worker in another process."""
    current_listener().advanced(node, done, total)
