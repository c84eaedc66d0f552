"""Boundaries of a run: every storage call, file, checkpoint, Prefect task and flow, before and after.

Nothing of this is in the product. A process that is to be watched, or killed, wraps the product's own functions here,
after it has imported them. A boundary has a name that is the same in every process, so that it can be met again.
"""

import errno
import functools
import hashlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

#: Methods of `Storage` that ask the storage for something.
CALLS = ("read", "write", "create", "size", "folders", "list", "signs")


class Boundaries:
    """Notes every boundary that is passed, and ends the process by SIGKILL at the one that is named.

    Args:
        kill: There the process ends.
        full: There the disk is full, and stays so.
    """

    def __init__(self, kill=None, full=None):
        self.passed, self.reads, self.computed = [], {}, []
        self.is_full, self._full = False, full
        self._kill, self._counts, self._lock = kill, Counter(), threading.Lock()

    def at(self, what):
        """Pass a boundary; the second one of a name gets the number 2."""
        with self._lock:
            self._counts[what] += 1
            name = what if self._counts[what] == 1 else f"{what} ({self._counts[what]})"
            self.passed.append(name)
            self.is_full |= name == self._full
            if name == self._kill:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)  # the signal has been sent, and this thread does nothing more

    def around(self, what, function, *args, **kwargs):
        self.at(f"before {what}")
        result = function(*args, **kwargs)
        self.at(f"after {what}")
        return result

    def note_read(self, path, data):
        with self._lock:
            self.reads.setdefault(path, set()).add(hashlib.sha256(data).hexdigest())


def watch(boundaries):
    """Wrap the product's functions of this process for good."""
    _watch_storage(boundaries)
    _watch_files(boundaries)
    _watch_checkpoints(boundaries)
    _watch_prefect(boundaries)


def _watch_storage(boundaries):
    from tasks.checkpoints.storage import Storage

    def wrap(name):
        function = getattr(Storage, name)

        @functools.wraps(function)
        def call(self, path="", *args):
            # Another storage than the campaign's own (a copy of a screen) is told apart by its last folder.
            where = f"{name} {Path(self.url).name}/{path}"
            result = boundaries.around(where, function, self, path, *args)
            if name == "read":
                boundaries.note_read(f"{self.url}/{path}", result)
            return result

        setattr(Storage, name, call)

    for name in CALLS:
        wrap(name)


def _watch_files(boundaries):
    """Within one call: half of a file is written, it is whole under its temporary name, it has its name."""
    from tasks.checkpoints import storage

    write, name = storage._temporary, {}

    class Halved:
        """A file whose content is written in two halves, with a boundary between them."""

        def __init__(self, file, path):
            self._file, self._path = file, path

        def __enter__(self):
            self._file.__enter__()
            return self

        def __exit__(self, *error):
            return self._file.__exit__(*error)

        def write(self, data):
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            boundaries.at(f"half of {self._path}")
            if boundaries.is_full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self._file.write(data[len(data) // 2 :])

        def __getattr__(self, name):
            return getattr(self._file, name)

    class Os:
        """The module `os`, but for files that are opened by their handle."""

        def __getattr__(self, name):
            return getattr(os, name)

        def fdopen(self, handle, mode):
            return Halved(os.fdopen(handle, mode), name[threading.get_ident()])

    def temporary(full, data, *, durable):
        name[threading.get_ident()] = _short(full)
        path = write(full, data, durable=durable)
        boundaries.at(f"whole, not named: {_short(full)}")
        return path

    storage.os, storage._temporary = Os(), temporary


def _short(full):
    """The end of a path, from the campaign's name on."""
    parts = Path(full).parts
    begin = max(parts.index(each) for each in ("campaigns", "copies") if each in parts)
    return "/".join(parts[begin + 1 :])


def _watch_checkpoints(boundaries):
    from tasks.checkpoints import pieces
    from tasks.checkpoints.checkpointer import Checkpointer
    from tasks.checkpoints.store import CheckpointStore

    run, do, save = Checkpointer.run, pieces.compute_and_save, CheckpointStore.save

    def run_node(self, node, *args, **kwargs):
        return boundaries.around(f"node {node}", run, self, node, *args, **kwargs)

    def save_checkpoint(self, stage, key, *args):
        return boundaries.around(f"checkpoint {stage}/{key}", save, self, stage, key, *args)

    def compute_and_save(piece):
        def compute():
            boundaries.computed.append(f"{piece.record.stage}/{piece.record.key}")
            return boundaries.around(f"computation {piece.record.node}", piece.compute)

        return do(replace(piece, compute=compute))

    Checkpointer.run, CheckpointStore.save = run_node, save_checkpoint
    pieces.compute_and_save = compute_and_save


def _watch_prefect(boundaries):
    from prefect import Flow, Task
    from prefect.runtime import flow_run

    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith(("flows.", "tasks.")):
            found |= {id(each): each for each in vars(module).values() if isinstance(each, Task | Flow)}

    def wrap(each):
        function, kind = each.fn, "task" if isinstance(each, Task) else "flow"

        @functools.wraps(function)
        def call(*args, **kwargs):
            if kind == "flow":
                boundaries.flow_run(flow_run.get_id())
            return boundaries.around(f"{kind} {each.name}", function, *args, **kwargs)

        each.fn = call

    for each in found.values():
        wrap(each)


def tell_flow_run(boundaries, path):
    """Write the id of the flow run to a file as soon as it is known: who is killed cannot answer."""

    def tell(run_id):
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w") as file:
            file.write(run_id)
        Path(name).rename(path)

    boundaries.flow_run = tell
