"""Arrays of a zarr folder that claim to be larger than they can be: filling them would take the machine's memory."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numcodecs.zstd import Zstd

from tasks.checkpoints.strict_json import parse_json

# An array of so many bytes may be stored in none (zeros are not written), and so many more in each byte.
_FREE_BYTES, _MOST_FOR_A_BYTE, _POINTER_BYTES = 2**29, 2**14, 8
_TEXT = {"vlen-utf8", "vlen-bytes"}


def check_arrays(files: Mapping[str, bytes]) -> None:
    """Compare what the arrays of a zarr folder (format 3) claim with the bytes that are there.

    Args:
        files: Content of its files by name.

    Raises:
        ValueError: An array claims more than its bytes can hold, or its metadata are not JSON.
        KeyError: Its metadata lack something.
    """
    chunks: dict[str, list[bytes]] = defaultdict(list)
    for name, data in files.items():
        chunks[name.removesuffix("/c").rpartition("/c/")[0] or name.removesuffix("/c")].append(data)
    for name, data in files.items():
        folder, _, last = name.rpartition("/")
        head = parse_json(data) if last == "zarr.json" else None
        if isinstance(head, dict) and head.get("node_type") == "array":
            _check(folder, head, chunks.get(folder, []))


def _check(folder: str, head: dict[str, Any], chunks: list[bytes]) -> None:
    shape, kind, stored = head["shape"], head["data_type"], sum(map(len, chunks))
    item = np.dtype(kind).itemsize if isinstance(kind, str) and kind in np.sctypeDict else _POINTER_BYTES
    if item * math.prod(shape) > _FREE_BYTES + _MOST_FOR_A_BYTE * stored:
        raise ValueError(f"{folder}: {stored:,} bytes claim to hold {' × '.join(map(str, shape))} values")
    codecs = [codec["name"] for codec in head["codecs"]]
    if _TEXT.intersection(codecs):
        for chunk in chunks:
            _check_texts(folder, chunk, codecs)


def _check_texts(folder: str, chunk: bytes, codecs: list[str]) -> None:
    """The number of texts stands before them, and each has its length in four bytes."""
    if codecs[1:] not in ([], ["zstd"]):
        return  # a library that another program wrote: it is tried in a process of its own first
    content = bytes(Zstd().decode(chunk)) if codecs[1:] else chunk
    count = int.from_bytes(content[:4], "little")
    if 4 * count > len(content) - 4:
        raise ValueError(f"{folder}: {len(content):,} bytes claim to hold {count} texts")
