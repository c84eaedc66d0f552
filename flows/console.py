"""What the terminal shows: a progress bar while nodes run, and answers as plain lines or JSON."""

import math
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from tasks.checkpoints.progress import listening
from tasks.checkpoints.records import Event

T = TypeVar("T")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class Bar:
    """A progress bar on standard error that follows the nodes of a run; silent where there is no terminal."""

    def __init__(self, title: str) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[node]}", style="dim"),
            TimeElapsedColumn(),
            console=err,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._main: TaskID = self._progress.add_task(title, total=None, node="")
        self._lock = threading.Lock()
        self._long: str | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def started(self, node: str, worker: str = "") -> None:
        """Name the node that is being computed."""
        with self._lock:
            self._progress.update(self._main, node=node, total=None, completed=0)

    def advanced(self, node: str, done: int, total: int) -> None:
        """Fill the bar with a long node's progress."""
        with self._lock:
            self._progress.update(self._main, node=f"{node} {done}/{total}", total=total, completed=done)

    def finished(self, event: Event) -> None:
        """Empty the bar after a long node."""
        with self._lock:
            self._progress.update(self._main, node=event.node, total=None, completed=0)


def with_bar(title: str, call: Callable[[], T]) -> T:
    """Answer of a call, with a progress bar that follows it."""
    with Bar(title) as bar, listening(bar):
        return call()


def at_least(share: float) -> str:
    """A lower bound as a percentage, rounded down: it must not look better than it is."""
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f}%"


def answer(result: BaseModel, as_json: bool, lines: list[str]) -> None:
    """Print an answer: JSON, or its lines.

    JSON has colours on a terminal alone: rich would also give them to a pipe where FORCE_COLOR is set, as Jupyter and
    CI services do, and then it is no JSON.
    """
    if as_json:
        out.print_json(result.model_dump_json(), highlight=out.file.isatty())
    else:
        for line in lines:
            out.print(line, markup=False)
