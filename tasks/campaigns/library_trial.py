"""Whether a library in a binary form can be read, found out where it harms nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_CHILD = Path(__file__).with_name("library_child.py")
_UNREADABLE = 3  # its exit status for a file that cannot be read
_SECONDS, _BYTES_PER_SECOND = 4, 10_000_000
_BY_THE_CLOCK = 8  # times the seconds of computing: machines are busy


def try_library(kind: str, files: Mapping[str, bytes]) -> None:
    """Read a library in a process of its own, with limits on time and memory.

    Args:
        kind: h5ad or zarr.
        files: Its files by name; a single one has the empty name.

    Raises:
        ValueError: It is damaged, would take more memory than a file of its size should, or leads into other files.
    """
    data = b"".join(files.values())
    seconds = _SECONDS + len(data) // _BYTES_PER_SECOND
    names = json.dumps([[name, len(content)] for name, content in files.items()])
    command = [sys.executable, "-P", str(_CHILD), kind, str(seconds), names]
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    limit = 30 + _BY_THE_CLOCK * seconds
    try:
        child = subprocess.run(command, input=data, capture_output=True, timeout=limit, check=False, env=alone)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise ValueError(f"reading it does not end within {limit} s") from None
    if child.returncode < 0:
        raise ValueError(f"reading it was stopped by signal {-child.returncode}: damaged?")
    if child.returncode == _UNREADABLE:
        told = child.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(told[-1][:300] if told else "unreadable")
    if child.returncode != 0:
        raise OSError(f"the reader of libraries does not work here: {child.stderr[-300:].decode(errors='replace')}")
