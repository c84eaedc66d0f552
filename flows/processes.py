"""Processes that are started together and end together, with everything that they started in turn."""

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tasks.errors import HybridScreenError

_MARK = "HYBRIDSCREEN_SERVE"
_PAUSE = 0.2


class Family:
    """Named processes with a log each. On leaving the `with` block none of them is left, nor any that they started.

    Everything below inherits a mark in its environment, by which it is found again, also in a session of its own and
    after its parent has died.

    Args:
        logs: Folder for the logs.
        environment: What every process gets beside this one's environment.
        grace: Time that a process has to end by itself [s].
    """

    def __init__(self, logs: Path, environment: Mapping[str, str], grace: float = 15.0) -> None:
        self._logs, self._grace, self._mark = logs, grace, uuid.uuid4().hex
        self._environment = {**os.environ, **environment, _MARK: self._mark}
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in reversed(self._started):
            self.end(name)
        self._end_all(self._members)

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process in a session of its own: a Ctrl-C at the terminal is this process's alone to handle."""
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{name}.log").open("ab") as log:
            self._started[name] = subprocess.Popen(  # noqa: S603 (the command is this program's own)
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def require_alive(self) -> None:
        """Raise a HybridScreenError if a process has ended by itself."""
        for name, process in self._started.items():
            if process.poll() is not None:
                raise HybridScreenError(f"the {name} ended with status {process.returncode}; see {self._log(name)}")

    def wait(self, name: str) -> int:
        """Exit status of a process, once it has ended by itself."""
        return self._started[name].wait()

    def last_line(self, name: str) -> str:
        """What a process said last, empty if it said nothing."""
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def end(self, name: str) -> None:
        """End a process and what it started: asked first, forced after the grace."""
        process = self._started[name]
        with contextlib.suppress(psutil.NoSuchProcess):
            below = psutil.Process(process.pid).children(recursive=True)
            self._end_all(lambda: [each for each in below if each.is_running()])
        self._end_all(lambda: [] if process.poll() is not None else [psutil.Process(process.pid)])

    def _end_all(self, living: Callable[[], list[psutil.Process]]) -> None:
        asked: set[int] = set()
        deadline = time.monotonic() + self._grace
        while alive := [each for each in living() if _runs(each)]:
            force = time.monotonic() > deadline
            for each in alive:
                if force or each.pid not in asked:
                    _signal(each, signal.SIGKILL if force else signal.SIGTERM)
                    asked.add(each.pid)
            time.sleep(_PAUSE)

    def _members(self) -> list[psutil.Process]:
        """Every process with the mark, and every one in a group of a started process."""
        groups = {process.pid for process in self._started.values()}
        return [each for each in psutil.process_iter() if self._is_member(each, groups)]

    def _is_member(self, each: psutil.Process, groups: set[int]) -> bool:
        if each.pid == os.getpid():
            return False
        try:
            return os.getpgid(each.pid) in groups or each.environ().get(_MARK) == self._mark
        except (psutil.Error, OSError):
            return False  # gone in the meantime, or another user's

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"


def _runs(each: psutil.Process) -> bool:
    try:
        return bool(each.is_running() and each.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal(each: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        each.send_signal(number)
