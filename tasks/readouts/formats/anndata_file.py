"""AnnData (.h5ad): obs says plate and well of each row, X holds the numbers, var the features."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd

from tasks.campaigns.config import ReadoutSection
from tasks.errors import HybridScreenError
from tasks.readouts.formats import hdf5_child, tables
from tasks.readouts.formats.lines import chosen_columns, meanings, missing_columns, refuse, to_plates
from tasks.readouts.formats.plate import PlateReadout

_MAGIC = b"\x89HDF\r\n\x1a\n"
SECONDS, _BYTES_PER_SECOND = 4, 10_000_000  # of computing: a file may take 4 s, and one more for every 10 MB


def recognises(data: bytes, source: str, section: ReadoutSection) -> bool:
    """Whether the file begins as HDF5, or is called .h5ad."""
    return data.startswith(_MAGIC) or source.lower().endswith(".h5ad")


def read(data: bytes, source: str, section: ReadoutSection, fmt: int) -> list[PlateReadout]:
    """Read an .h5ad file with one or more plates; a single var without configured features is the value.

    Raises:
        RejectedInput: Not AnnData, cut off or damaged, larger than sane, a column is missing, or a row does not say
            which plate it belongs to.
    """
    if not data.startswith(_MAGIC):
        raise refuse(source, "not an .h5ad file: it does not begin as HDF5")
    if section.columns.positional:
        raise refuse(source, "columns are configured by position (readout.columns), expected names for AnnData")
    said, matrix = _content(data, source, section)
    names = [str(name) for name in said["var"]]
    if section.features is None and len(names) == 1:
        names = [str(section.columns.value)]
    missing = missing_columns([*said["columns"], *names], section)
    if missing or "well" not in (texts := tables.text_columns(list(said["obs"]), section)):
        lacking = ", ".join(map(repr, missing or [str(section.columns.well)]))
        found = f"obs {', '.join(map(repr, said['columns']))}; var {', '.join(map(repr, names[:10]))}"
        raise refuse(source, f"no column {lacking}; found {found}")
    numbers = chosen_columns(names, section, source)
    if any(names.count(name) > 1 for name in numbers):
        raise refuse(source, "two vars have one name")
    lines = tables.to_lines(
        {name: pd.Series(said["obs"][column], name=column) for name, column in texts.items()},
        {name: pd.Series(matrix[:, names.index(name)]) for name in numbers},
        source,
        section,
    )
    return to_plates(lines, section, fmt)


def _content(data: bytes, source: str, section: ReadoutSection) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """Names and text columns of the file, and X; nothing else of it is read."""
    wanted = json.dumps([str(column) for column in meanings(section.columns).values()])
    most, seconds = tables.CELLS + tables.CELLS_PER_BYTE * len(data), SECONDS + len(data) // _BYTES_PER_SECOND
    command = [sys.executable, "-P", hdf5_child.__file__, wanted, str(most), str(seconds)]
    limit = 30 + 8 * seconds  # by the clock: machines are busy
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        child = subprocess.run(command, input=data, capture_output=True, timeout=limit, check=False, env=path)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise refuse(source, f"damaged .h5ad file: reading it does not end within {limit} s") from None
    told = child.stderr.decode(errors="replace").strip().splitlines()
    if child.returncode < 0:
        raise refuse(source, f"damaged .h5ad file: reading it was stopped by signal {-child.returncode}")
    if child.returncode == hdf5_child.DAMAGED:
        raise refuse(source, f"damaged .h5ad file: {told[-1][:200] if told else 'unreadable'}")
    if child.returncode != 0:
        raise HybridScreenError(f"{source}: the reader of .h5ad files does not work here: {told[-1:]}")
    head, _, matrix = child.stdout.partition(b"\n")
    return json.loads(head), np.load(io.BytesIO(matrix), allow_pickle=False)
