"""A payload of many files, read file by file as it is asked for, each checked against its digest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import anndata
import numpy as np
import pandas as pd
import zarr
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from tasks.checkpoints.keys import sha256
from tasks.checkpoints.manifest import StoredFile
from tasks.checkpoints.payloads import content_digest
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore, DamagedCheckpoint, manifest_name
from tasks.checkpoints.strict_json import parse_json

Buffers = list[Buffer | None]


def open_group(store: CheckpointStore, ref: Ref) -> zarr.Group:
    """Open a stored AnnData without reading it: `group["X"][start:stop]`, `anndata.io.read_elem(group["obs"])`.

    The digests of its files come from the manifest beside it, and must together be the digest of the reference. Where
    no manifest has them (it was damaged or lost) every file is read once for its digest, one at a time.

    Raises:
        DamagedCheckpoint: Its files are not those of the reference. Later, by reading from the group: a file is
            missing or damaged.
    """
    folder = ref.uri.rpartition("/")[0]
    files = _listed(store.storage, folder, ref) or _read_for_digests(store.storage, ref)
    return zarr.open_group(VerifiedFiles(store.storage, ref.uri, files), mode="r", zarr_format=3)


def open_rows(store: CheckpointStore, ref: Ref) -> zarr.Array[Any]:
    """X of a stored AnnData, of which `[start:stop]` or `.oindex[rows, :]` read no more than they need."""
    array = open_group(store, ref)["X"]
    if not isinstance(array, zarr.Array):
        raise DamagedCheckpoint(f"{store.storage.locate(ref.uri)} has no dense X")
    return array


def read_names(store: CheckpointStore, ref: Ref) -> pd.Index[str]:
    """Names of the rows of a stored AnnData, in order, without the rest of it."""
    group = open_group(store, ref)
    names = group[f"obs/{group['obs'].attrs['_index']}"]
    index: pd.Index[str] = pd.Index(np.asarray(anndata.io.read_elem(names)).astype(object))
    return index


def _listed(storage: Storage, folder: str, ref: Ref) -> dict[str, StoredFile] | None:
    """Files of a payload by the manifest of its checkpoint, or of the library; None if none has them."""
    generation = 1
    while (data := storage.read_or_none(f"{folder}/{manifest_name(generation)}")) is not None:
        generation += 1
        for payload in _payloads(data):
            try:
                files = {name: StoredFile.model_validate(file) for name, file in payload["files"].items()}
            except (KeyError, TypeError, AttributeError, ValueError):
                continue  # damaged: another one may have it, and if not the files themselves are asked
            if payload.get("uri") == ref.uri and _digest(files) == ref.sha256:
                return files
    return None


def _payloads(manifest: bytes) -> list[Any]:
    """What a manifest lists: the payloads of a checkpoint, or the one thing it is about."""
    try:
        content = parse_json(manifest)
    except ValueError:
        return []
    if not isinstance(content, dict):
        return []
    content = content.get("manifest", content)  # withdrawn by the clean-up, and not removed yet
    listed = content.get("payloads") if isinstance(content, dict) else None
    return list(listed.values()) if isinstance(listed, dict) else [content]


def _read_for_digests(storage: Storage, ref: Ref) -> dict[str, StoredFile]:
    files = {}
    for path in storage.list(ref.uri):
        data = storage.read(path)
        files[path.removeprefix(f"{ref.uri}/")] = StoredFile(sha256=sha256(data), size=len(data))
    if not files:
        raise DamagedCheckpoint(f"{storage.locate(ref.uri)} is missing")
    if _digest(files) != ref.sha256:
        raise DamagedCheckpoint(f"{storage.locate(ref.uri)} is not what its digest says")
    return files


def _digest(files: Mapping[str, StoredFile]) -> str:
    return content_digest({name: file.sha256 for name, file in files.items()})


class VerifiedFiles(Store):
    """A zarr store that cannot be written: a fixed list of files with their digests, below a folder of a storage.

    A file that is not on the list does not exist here, whatever lies in the storage. A file is always fetched whole, as
    its digest is of the whole.

    Args:
        storage: Where the files are.
        folder: Their folder in it.
        files: What is expected, by name below the folder.
    """

    supports_writes: bool = False
    supports_deletes: bool = False
    supports_listing: bool = True

    def __init__(self, storage: Storage, folder: str, files: Mapping[str, StoredFile]) -> None:
        super().__init__(read_only=True)
        self._storage, self._folder, self._files = storage, folder, dict(files)

    def __eq__(self, other: object) -> bool:
        mine = (self._storage.url, self._folder, self._files)
        return isinstance(other, VerifiedFiles) and mine == (other._storage.url, other._folder, other._files)

    def __str__(self) -> str:
        return self._storage.locate(self._folder)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Content of a file, or a part of it.

        Raises:
            DamagedCheckpoint: It is missing, or not what its digest says.
        """
        if key not in self._files:
            return None
        data = await asyncio.to_thread(self._read, key)
        return prototype.buffer.from_bytes(data[_part(byte_range, len(data))])

    def _read(self, key: str) -> bytes:
        path = f"{self._folder}/{key}"
        try:
            data = self._storage.read(path)
        except FileNotFoundError as error:
            raise DamagedCheckpoint(f"{self._storage.locate(path)} is missing") from error
        if sha256(data) != self._files[key].sha256:
            raise DamagedCheckpoint(f"{self._storage.locate(path)} is not what its digest says")
        return data

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> Buffers:
        """Parts of several files."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether a file is on the list."""
        return key in self._files

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse: what is stored never changes."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refuse: what is stored never changes."""
        self._check_writable()

    async def list(self) -> AsyncIterator[str]:
        """Names of all files."""
        for name in self._files:
            yield name

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Names of the files that begin with a prefix."""
        for name in self._files:
            if name.startswith(prefix):
                yield name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names of what lies directly in a folder."""
        start = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        for name in sorted({name[len(start) :].split("/", 1)[0] for name in self._files if name.startswith(start)}):
            yield name


def _part(request: ByteRequest | None, size: int) -> slice:
    if isinstance(request, RangeByteRequest):
        return slice(request.start, request.end)
    if isinstance(request, OffsetByteRequest):
        return slice(request.offset, size)
    if isinstance(request, SuffixByteRequest):
        return slice(max(size - request.suffix, 0), size)
    return slice(0, size)
