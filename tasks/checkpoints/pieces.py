"""Pieces of work: one computation with all that is needed to do it anywhere and to store what it gives.

A piece goes to a *place*: the calling thread, the threads of this process, or workers elsewhere (whoever opens such a
place). Every place runs the same `compute_and_save`, so that a checkpoint does not tell where it was made but in its
manifest. What a piece gives stays in storage; only its manifest comes back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from tasks.checkpoints.manifest import Manifest, package_versions, peak_rss_gib, worker_name
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.progress import Listener, current_listener, listening
from tasks.checkpoints.records import NodeRecord
from tasks.checkpoints.store import CheckpointStore

Compute = Callable[[], Mapping[str, Payload]]


@dataclass(frozen=True)
class Piece:
    """One computation of one node.

    It can be pickled if `compute` can: a function of a module, with its arguments in a `functools.partial`, that loads
    its inputs from the store itself.

    Attributes:
        store: Where its inputs and outputs live.
        record: The node, with the key of its checkpoint.
        outputs: Names of what `compute` gives.
        compute: Called without arguments where the piece is done.
        why: Why it is computed.
        flow_run: Id of the flow run that asked for it.
        device: Whether it would use an accelerator.
    """

    store: CheckpointStore
    record: NodeRecord
    outputs: tuple[str, ...]
    compute: Compute
    why: str
    flow_run: str | None = None
    device: bool = False


def compute_and_save(piece: Piece) -> Manifest:
    """Do a piece and store what it gives, unless its checkpoint is there: whoever did it may have died afterwards.

    Doing a piece twice, or in two places at once, changes nothing: payloads are named by their content and the
    manifest is created only if absent.

    Raises:
        TypeError: `compute` gave other outputs than it should.
    """
    record = piece.record
    found = piece.store.find(record.stage, record.key)
    if found.manifest is not None:
        return found.manifest
    current_listener().started(record.node, worker_name())
    started, clock = datetime.now(UTC), time.perf_counter()
    payloads = piece.compute()
    if set(payloads) != set(piece.outputs):
        raise TypeError(f"{record.node} gave {sorted(payloads)} instead of {sorted(piece.outputs)}")
    facts = {
        **record.model_dump(include={"node", "version", "params", "inputs", "seed"}),
        "why": piece.why,
        "started": started.isoformat(),
        "ended": datetime.now(UTC).isoformat(),
        "seconds": round(time.perf_counter() - clock, 6),
        "worker": worker_name(),
        "peak_rss_gib": peak_rss_gib(),
        "flow_run": piece.flow_run,
        "versions": package_versions(),
    }
    return piece.store.save(record.stage, record.key, payloads, facts, found.removed)


class Place(Protocol):
    """Where pieces are done. Called from several threads."""

    def do(self, piece: Piece, listener: Listener) -> Manifest:
        """Do a piece, wait for it, and let the listener hear of it."""


class CallingThread:
    """Each piece in the thread that asks for it."""

    def do(self, piece: Piece, listener: Listener) -> Manifest:
        """Do a piece here and now."""
        with listening(listener):
            return compute_and_save(piece)


class ThisProcess:
    """As many pieces at once as this process may use cores, however many threads ask: memory does not grow with them.

    A context manager; what was not begun when it ends is never done.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(cores(), thread_name_prefix="piece")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def do(self, piece: Piece, listener: Listener) -> Manifest:
        """Do a piece in one of the threads."""
        return self._pool.submit(CallingThread().do, piece, listener).result()


def cores() -> int:
    """Cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(allowed(0)) if allowed else os.cpu_count() or 1
