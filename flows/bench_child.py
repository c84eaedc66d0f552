"""A process of its own for each contender of a benchmark, so that its peak memory is its own."""

import multiprocessing
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from tasks.checkpoints.progress import current_listener, listening
from tasks.checkpoints.records import Event
from tasks.errors import HybridScreenError

P = ParamSpec("P")
R = TypeVar("R")

_PATIENCE = 10.0  # seconds that a process may take to tidy up when all is done


class Child:
    """A fresh process that does one call after another, and ends with the context, whatever it is at.

    Args:
        has_workers: Whether it may start processes itself, which must look after themselves when it ends.
    """

    def __init__(self, has_workers: bool = False) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=not has_workers)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        if kind is None:  # it is at nothing, and sees that nobody will call again
            self._process.join(_PATIENCE)
        self._process.kill()
        self._process.join()

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What a function of a module gives there. Whoever listens here hears how far it is.

        Raises:
            HybridScreenError: As the function raised it, or the process ended.
        """
        self._pipe.send((function, args, kwargs))
        listener = current_listener()
        try:
            while True:
                what, *news = self._pipe.recv()
                if what == "gave":
                    given: R = news[0]
                    return given
                if what == "failed":
                    raise news[0]
                listener.advanced(*news)
        except EOFError as error:
            self._process.join()
            raise HybridScreenError(f"a process of the benchmark ended with {self._process.exitcode}") from error


class _Teller:
    """Tells the parent how far a call is."""

    def __init__(self, pipe: "Connection[Any, Any]") -> None:
        self._pipe = pipe

    def started(self, node: str, worker: str = "") -> None:
        """Nothing: the parent asked for it."""

    def advanced(self, node: str, done: int, total: int) -> None:
        """Pass on."""
        self._pipe.send(("advanced", node, done, total))

    def finished(self, event: Event) -> None:
        """Nothing: the parent waits for it."""


def _serve(pipe: "Connection[Any, Any]") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    with listening(_Teller(pipe)), suppress(EOFError, BrokenPipeError):  # the parent is gone
        while True:
            function, args, kwargs = pipe.recv()
            try:
                pipe.send(("gave", function(*args, **kwargs)))
            except HybridScreenError as error:
                pipe.send(("failed", error))
