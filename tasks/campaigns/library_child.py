"""Tries to read a library from standard input, in a process of its own; run by `library_trial`, never imported.

HDF5 and the codecs of zarr loop or crash on some files, and fill the memory from others, inside calls that cannot be
interrupted. Here that costs the child. Arguments: h5ad or zarr, seconds of computing, and for zarr the names and sizes
of the files that follow each other in standard input, as JSON. The exit status is 3 and the reason stands in standard
error if it cannot be read.
"""

from __future__ import annotations

import io
import json
import math
import resource
import sys
from pathlib import Path

import numpy as np

from tasks.campaigns.hdf5_files import BYTES_PER_BYTE, MOST_BYTES, Budget, check_links

UNREADABLE = 3
_WORK = 400_000_000  # bytes beside the values


def try_hdf5(data: bytes) -> None:
    """Read every dataset of a file, so much at a time as is in it."""
    import h5py

    with h5py.File(io.BytesIO(data), "r") as file:
        check_links(file)
        budget = Budget(len(data))
        found: list[h5py.Dataset] = []
        file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        for dataset in found:
            budget.spend(dataset)
            dataset[()]
        stored = file.get("X")
        if isinstance(stored, h5py.Group):
            _check_dense(np.asarray(stored.attrs["shape"]).astype(int).tolist(), len(data))


def try_zarr(files: dict[str, bytes]) -> None:
    """Read every array of a folder."""
    import zarr
    from zarr.core.buffer import default_buffer_prototype

    buffer, size = default_buffer_prototype().buffer, sum(map(len, files.values()))
    store = zarr.storage.MemoryStore({name: buffer.from_bytes(data) for name, data in files.items()})
    group = zarr.open_group(store, mode="r")
    arrays = [item for _, item in group.members(max_depth=None) if isinstance(item, zarr.Array)]
    held = sum(math.prod(array.shape) * max(array.dtype.itemsize, 1) for array in arrays)
    largest = max((math.prod(array.chunks) * max(array.dtype.itemsize, 1) for array in arrays), default=0)
    if max(held, largest) > MOST_BYTES + BYTES_PER_BYTE * size:
        raise ValueError(f"{size:,} bytes claim to hold {max(held, largest):,}")
    for array in arrays:
        array[...]
    stored = group.get("X")
    if isinstance(stored, zarr.Group):
        _check_dense(np.asarray(stored.attrs["shape"]).astype(int).tolist(), size)


def _check_dense(shape: list[int], size: int) -> None:
    """Sparse features are filled when they are read: they must fit then too."""
    if 4 * math.prod(shape) > MOST_BYTES + BYTES_PER_BYTE * size:
        raise ValueError(f"{size:,} bytes claim to hold {' × '.join(map(str, shape))} features")


def _limit(size: int) -> None:
    """Lower the limit on memory, as far as this system has one that counts what is used."""
    status = Path("/proc/self/status")
    if status.exists():
        used = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmData"))
        most = used * 1024 + _WORK + MOST_BYTES + BYTES_PER_BYTE * size
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def main(kind: str, seconds: int, names: list[list[str | int]]) -> None:
    """Read standard input as the arguments say."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    data = sys.stdin.buffer.read()
    if kind == "zarr":
        import zarr  # noqa: F401 - its memory is there before the limit is

    _limit(len(data))
    if kind == "h5ad":
        try_hdf5(data)
        return
    files, start = {}, 0
    for name, size in names:
        files[str(name)] = data[start : start + int(size)]
        start += int(size)
    try_zarr(files)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
    except Exception as error:  # noqa: BLE001 - told in one line, whatever it is; there is nobody else to see it
        sys.stderr.write(f"{type(error).__name__ if not str(error) else error}\n")
        raise SystemExit(UNREADABLE) from None
