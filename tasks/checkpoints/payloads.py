"""Typed formats of what a checkpoint holds. No pickle is ever written or read.

| kind | files | value |
|---|---|---|
| anndata | a zarr folder | AnnData |
| table | one Parquet file | DataFrame with a plain row index |
| array | one .npy file | ndarray of numbers |
| tensors | one .safetensors file | mapping of name to ndarray |
| json | one .json file | JSON value |
| text | one UTF-8 file | str |
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
import zarr
from zarr.core.buffer import default_buffer_prototype

from tasks.checkpoints.keys import digest, sha256
from tasks.checkpoints.refs import Kind
from tasks.checkpoints.strict_json import parse_json
from tasks.checkpoints.zarr_sizes import check_arrays
from tasks.errors import HybridScreenError

_CHUNK_BYTES, _CHUNK_ROWS = 2**23, 2**14  # at most, of one file of X

SUFFIX: dict[Kind, str] = {
    "anndata": ".zarr",
    "table": ".parquet",
    "array": ".npy",
    "tensors": ".safetensors",
    "json": ".json",
    "text": ".txt",
}


@dataclass(frozen=True)
class Payload:
    """A value and the format it is stored in."""

    kind: Kind
    value: Any

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Rows and columns of the value where it has them."""
        shape = getattr(self.value, "shape", None)
        return None if shape is None else tuple(int(n) for n in shape)


def encode(payload: Payload) -> dict[str, bytes]:
    """Files of a payload: relative name (empty for a single file) to bytes. The same value gives the same bytes.

    Raises:
        TypeError: If the value is not of the payload's kind.
    """
    kind, value = payload.kind, payload.value
    if kind == "anndata":
        return _encode_anndata(value)
    if kind == "table":
        return {"": _encode_table(value)}
    if kind == "array":
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"an array of {array.dtype} cannot be stored")
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        return {"": buffer.getvalue()}
    if kind == "tensors":
        ordered = {name: np.ascontiguousarray(value[name]) for name in sorted(value)}
        return {"": safetensors.numpy.save(ordered)}
    if kind == "json":
        return {"": encode_json(value)}
    return {"": str(value).encode()}


class UnreadablePayload(HybridScreenError):
    """The bytes of a payload are not of its kind."""


class PayloadTooLarge(HybridScreenError):
    """There is not enough memory for a payload."""


def decode(kind: Kind, files: Mapping[str, bytes]) -> Any:
    """Value of a payload from its files; the reverse of `encode`.

    Raises:
        UnreadablePayload: They are not of this kind.
        PayloadTooLarge: There is not enough memory.
    """
    try:
        return _decode(kind, files)
    except MemoryError as error:  # says nothing of the bytes
        raise PayloadTooLarge(f"not enough memory to read {kind}: {error}") from error
    except Exception as error:  # anndata and zarr hardly check what they read, and stumble over it in many ways
        raise UnreadablePayload(f"not {kind}: {str(error) or type(error).__name__}") from error


def _decode(kind: Kind, files: Mapping[str, bytes]) -> Any:
    if kind == "anndata":
        return _decode_anndata(files)
    data = files[""]
    if kind == "table":
        return pq.read_table(pa.BufferReader(data)).to_pandas()
    if kind == "array":
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)  # np.load takes zip files too
    if kind == "tensors":
        return safetensors.numpy.load(data)
    return parse_json(data) if kind == "json" else data.decode()


def encode_json(value: Any) -> bytes:
    """Readable JSON with sorted keys and a final newline. NaN is an error."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()


def content_digest(digests: Mapping[str, str]) -> str:
    """Digest of a payload from its files' digests: of a single file its own, of a folder that of the sorted list."""
    if set(digests) == {""}:
        return digests[""]
    return digest(dict(digests))


def file_digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Digest of each file of a payload."""
    return {name: sha256(data) for name, data in files.items()}


def _encode_table(frame: pd.DataFrame) -> bytes:
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"a {type(frame).__name__} is not a table")
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


_ANNDATA_SETTINGS = threading.Lock()  # they are the process's, and another thread's end would take them back


def _encode_anndata(adata: anndata.AnnData) -> dict[str, bytes]:
    store = zarr.storage.MemoryStore()
    group = zarr.open_group(store, mode="w", zarr_format=3)
    with _ANNDATA_SETTINGS, anndata.settings.override(auto_shard_zarr_v3=False):
        anndata.experimental.write_dispatched(group, "/", adata, callback=_write_rows_together)
    return {name: buffer.to_bytes() for name, buffer in sorted(store._store_dict.items())}


def _write_rows_together(
    write: Callable[..., None], group: zarr.Group, key: str, value: Any, dataset_kwargs: Mapping[str, Any], iospec: Any
) -> None:
    """Cut X by rows alone, so that some of its rows can be read without the others."""
    if key == "X" and isinstance(value, np.ndarray) and value.size:
        rows = min(_CHUNK_BYTES // value[0].nbytes, _CHUNK_ROWS) or 1
        power = 1 << (rows.bit_length() - 1)
        dataset_kwargs = {**dataset_kwargs, "chunks": (min(power, len(value)), *value.shape[1:])}
    write(group, key, value, dataset_kwargs=dataset_kwargs)


def _decode_anndata(files: Mapping[str, bytes]) -> anndata.AnnData:
    check_arrays(files)
    prototype = default_buffer_prototype()
    buffers = {name: prototype.buffer.from_bytes(data) for name, data in files.items()}
    return anndata.read_zarr(zarr.storage.MemoryStore(buffers))
