"""Reads an .h5ad file from standard input, in a process of its own; run by `anndata_file`, never imported for a name.

The HDF5 library loops for ever on some damaged files and crashes on others, inside calls that cannot be interrupted.
Here that costs the child, which has limits on time and memory, and never the campaign.

Arguments: names of obs columns as a JSON list, largest count of numbers, seconds of computing. Output: one line of JSON
(columns: all names of obs, obs: text by name, var: names), then X as .npy. Of a damaged file the reason goes to
standard error, and the exit status is 3.
"""

from __future__ import annotations

import io
import json
import resource
import sys
from typing import Any

import h5py
import numpy as np

from tasks.campaigns.hdf5_files import Budget, check_links

DAMAGED = 3
_BYTES = 8 * 2**30
# What h5py and numpy raise on a damaged file.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, MemoryError)


def main(wanted: list[str], most_numbers: int) -> None:
    """Read standard input, write standard output."""
    data = sys.stdin.buffer.read()
    budget = Budget(len(data))
    with h5py.File(io.BytesIO(data), "r") as file:
        check_links(file)
        stored = file["X"]
        shape = stored.shape if isinstance(stored, h5py.Dataset) else stored.attrs["shape"]
        rows, columns = (int(n) for n in shape)
        if rows * max(columns, 1) > most_numbers:
            size = f"{rows:,} rows × {columns:,} columns"
            raise ValueError(f"{size}, expected at most {most_numbers:,} numbers in a file of {len(data):,} bytes")
        matrix = _values(stored, budget) if isinstance(stored, h5py.Dataset) else _dense(stored, rows, columns, budget)
        names = [str(name) for name in file["obs"].attrs["column-order"]]
        obs = {name: _column(file["obs"][name], budget) for name in wanted if name in names}
        var = _column(file["var"][file["var"].attrs["_index"]], budget)
    if matrix.dtype.kind not in "iuf" or matrix.shape != (rows, len(var)) or {rows} != {rows, *map(len, obs.values())}:
        raise ValueError(f"X is {matrix.dtype} of shape {matrix.shape}, which does not fit obs and var")
    out = sys.stdout.buffer
    out.write(json.dumps({"columns": names, "obs": obs, "var": var}).encode() + b"\n")
    np.save(out, matrix, allow_pickle=False)


def limit(what: int, most: int) -> None:
    """Lower a limit of this process."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _values(dataset: Any, budget: Budget) -> Any:
    """All values of a dataset; an object can only be text, as no pickle is read."""
    if not hasattr(dataset, "dtype"):
        raise ValueError(f"{dataset.name} is no dataset")
    budget.spend(dataset)
    return dataset[()]


def _dense(stored: Any, rows: int, columns: int, budget: Budget) -> np.ndarray[Any, Any]:
    """A sparse matrix, filled."""
    data, indices, starts = (_values(stored[name], budget) for name in ("data", "indices", "indptr"))
    by_row = stored.attrs["encoding-type"] == "csr_matrix"
    outer = np.repeat(np.arange(rows if by_row else columns), np.diff(starts))
    dense = np.zeros((rows, columns), dtype=data.dtype)
    np.add.at(dense, (outer, indices) if by_row else (indices, outer), data)
    return dense


def _column(stored: Any, budget: Budget) -> list[Any]:
    """Values of a column of obs or var; None where missing."""
    if isinstance(stored, h5py.Dataset):
        budget.spend(stored)
        return list((stored.asstr()[()] if h5py.check_string_dtype(stored.dtype) else stored[()]).tolist())
    if stored.attrs["encoding-type"] == "categorical":
        categories = _column(stored["categories"], budget)
        return [categories[code] if code >= 0 else None for code in _values(stored["codes"], budget)]
    missing = _values(stored["mask"], budget)
    return [None if gone else value for value, gone in zip(_column(stored["values"], budget), missing, strict=True)]


if __name__ == "__main__":
    limit(resource.RLIMIT_CPU, int(sys.argv[3]))
    if sys.platform == "linux":  # elsewhere it may not be set
        limit(resource.RLIMIT_AS, _BYTES)
    try:
        main(json.loads(sys.argv[1]), int(sys.argv[2]))
    except _DAMAGE as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(DAMAGED) from None
