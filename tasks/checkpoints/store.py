"""The store: finds, verifies, writes and reads checkpoints.

`checkpoints/<stage>/<key[:2]>/<key>/` holds payload files, then `manifest.json`, which is created only if absent. A
payload's name holds the beginning of its digest, so two writers of one key can never mix: the manifest names the
winner's files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.checkpoints.keys import sha256
from tasks.checkpoints.manifest import Manifest, Removed, StoredFile, StoredPayload, Withdrawn, read_manifest
from tasks.checkpoints.payloads import (
    SUFFIX,
    Payload,
    PayloadTooLarge,
    UnreadablePayload,
    content_digest,
    decode,
    encode,
    encode_json,
    file_digests,
)
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.storage import AlteredFile, Storage
from tasks.errors import HybridScreenError

_GENERATIONS = 100
_SMALL = 1 << 16  # bytes of a JSON payload that is kept as it was verified


class DamagedCheckpoint(HybridScreenError):
    """A stored value is missing or is not what its digest says. Never trusted; recompute the stage that made it."""


@dataclass(frozen=True)
class Found:
    """What looking for a checkpoint gave: an intact manifest, or the problem of a damaged one, or neither.

    `small` are contents of its small JSON payloads by digest, as they were read and verified just now: who needs them
    next need not ask the storage again. `generation` is that of the manifest to create if none is intact; `removed`
    that of the newest one which says that files were deleted here, 0 if none does.
    """

    manifest: Manifest | None
    problem: str | None = None
    generation: int = 1
    small: Mapping[str, bytes] = field(default_factory=dict)
    removed: int = 0


class CheckpointStore:
    """Checkpoints of one campaign.

    Args:
        storage: The campaign's files.
        verify: `digest` re-reads every payload on a hit; `size` only looks whether it is there with its size.
    """

    def __init__(self, storage: Storage, verify: Literal["digest", "size"] = "digest") -> None:
        self.storage = storage
        self.verify = verify

    def find(self, stage: str, key: str, *, take_back: bool = True) -> Found:
        """Look for an intact checkpoint of a key.

        Args:
            stage: Name of the stage.
            key: Key of the checkpoint.
            take_back: Write that a withdrawn one is needed, so that the clean-up does not remove it.
        """
        problem, removed, generation = None, 0, 1
        withdrawn: Manifest | None = None
        while generation < _GENERATIONS:
            path = f"{checkpoint_folder(stage, key)}/{manifest_name(generation)}"
            try:
                data = self.storage.read_or_none(path)
            except AlteredFile:
                problem, withdrawn = f"{path} is damaged", None
                generation += 1
                continue
            if data is None and withdrawn is None:
                break
            entry = withdrawn if data is None else read_manifest(data)
            if isinstance(entry, Manifest):
                damage, contents = self._verify(entry)
                # Of two who create this manifest one alone wins; who loses reads what the other says.
                if data is None and not damage and take_back and not self.storage.create(path, _encode(entry)):
                    continue
                if not damage:
                    return Found(entry, problem, generation, _small(entry, contents), removed)
                problem = damage[0]
                if data is None:
                    break
            elif isinstance(entry, Removed):
                problem, removed = None, generation
            elif entry is None:
                problem = f"{path} is not a manifest"
            withdrawn = entry.manifest if isinstance(entry, Withdrawn) else None
            generation += 1
        return Found(None, problem, generation, removed=removed)

    def damage(self, manifest: Manifest) -> list[str]:
        """What is wrong with the payloads of a checkpoint, one line a file; empty if all is well."""
        return self._verify(manifest)[0]

    def _verify(self, manifest: Manifest) -> tuple[list[str], Mapping[str, bytes]]:
        """Damage, and the contents by path that were read to find it."""
        wanted = {path: file for payload in manifest.payloads.values() for path, file in payload.paths().items()}
        if self.verify == "size":
            sizes = {path: self.storage.size(path) for path in wanted}
            return [line for path, file in wanted.items() if (line := _size_problem(path, sizes[path], file))], {}
        contents, altered = self._contents(wanted)
        lines = [f"payload {path} is damaged" for path in altered]
        for path, file in wanted.items():
            if path in altered:
                continue
            data = contents.get(path)
            problem = _size_problem(path, None if data is None else len(data), file)
            if problem is None and data is not None and sha256(data) != file.sha256:
                problem = f"payload {path} is damaged"
            if problem:
                lines.append(problem)
        return lines, contents

    def _contents(self, paths: Collection[str]) -> tuple[dict[str, bytes], list[str]]:
        """Contents by path, and the paths of what never arrives as it was written."""
        try:
            return self.storage.read_many(paths), []
        except AlteredFile:
            found: dict[str, bytes] = {}
            altered = []
            for path in paths:
                try:
                    found |= self.storage.read_many([path])
                except AlteredFile:
                    altered.append(path)
            return found, altered

    def save(
        self, stage: str, key: str, payloads: Mapping[str, Payload], facts: Mapping[str, Any], removed: int = 0
    ) -> Manifest:
        """Write payloads, then the manifest. If another writer was first, its checkpoint is returned.

        Args:
            stage: Name of the stage.
            key: Key of the checkpoint.
            payloads: Values by output name.
            facts: The other fields of the manifest.
            removed: As `find` told it, before all this was computed.
        """
        folder = checkpoint_folder(stage, key)
        files = {name: encode(payload) for name, payload in payloads.items()}
        while True:
            mark = (
                f"-{removed}" if removed else ""
            )  # names that were deleted may be deleted still: they are not used again
            stored = {name: describe(f"{folder}/{name}{mark}", payloads[name], files[name]) for name in payloads}
            contents = [zip(stored[name].paths(), files[name].values(), strict=True) for name in payloads]
            self.storage.write_many({path: data for pairs in contents for path, data in pairs})
            manifest = Manifest(key=key, stage=stage, payloads=stored, **facts)
            found = self.find(stage, key)
            while found.manifest is None and found.removed == removed:
                if self.storage.create(f"{folder}/{manifest_name(found.generation)}", _encode(manifest)):
                    return manifest
                found = self.find(stage, key)
            if found.manifest is not None:
                return found.manifest
            removed = found.removed

    def load(self, ref: Ref) -> Any:
        """Value of a reference, its digest checked.

        Raises:
            DamagedCheckpoint: If it is missing or its content is not what the reference says.
            PayloadTooLarge: There is not enough memory for it.
        """
        if ref.kind == "anndata":
            prefix = f"{ref.uri}/"
            files = {
                path[len(prefix) :]: data for path, data in self.storage.read_many(self.storage.list(ref.uri)).items()
            }
        else:
            found = self.storage.read_many([ref.uri])
            files = {"": found[ref.uri]} if found else {}
        if not files:
            raise DamagedCheckpoint(f"{self.storage.locate(ref.uri)} is missing")
        if content_digest(file_digests(files)) != ref.sha256:
            raise DamagedCheckpoint(f"{self.storage.locate(ref.uri)} is not what its digest says")
        try:
            return decode(ref.kind, files)
        except UnreadablePayload as error:
            raise DamagedCheckpoint(f"{self.storage.locate(ref.uri)} is damaged: {error}") from error
        except PayloadTooLarge as error:
            raise PayloadTooLarge(f"{self.storage.locate(ref.uri)}: {error}") from error

    def manifests(self) -> Iterator[tuple[str, Manifest | None]]:
        """Path and content of the newest manifest of every checkpoint; None for one that cannot be read.

        What the clean-up has withdrawn is there still; what it has removed is left out.
        """
        newest: dict[str, tuple[int, str]] = {}
        for path in self.storage.list("checkpoints"):
            folder, _, name = path.rpartition("/")
            if path.count("/") == 4 and (number := generation_of(name)) is not None:
                newest[folder] = max(newest.get(folder, (0, "")), (number, path))
        for _, path in newest.values():
            entry = read_manifest(self.storage.read(path))
            if not isinstance(entry, Removed):
                yield path, entry.manifest if isinstance(entry, Withdrawn) else entry


def describe(stem: str, payload: Payload, files: Mapping[str, bytes]) -> StoredPayload:
    """Entry of a manifest for encoded files; the digest's beginning becomes part of the name."""
    digests = file_digests(files)
    whole = content_digest(digests)
    return StoredPayload(
        uri=f"{stem}-{whole[:12]}{SUFFIX[payload.kind]}",
        kind=payload.kind,
        sha256=whole,
        shape=payload.shape,
        files={name: StoredFile(sha256=digests[name], size=len(data)) for name, data in files.items()},
    )


def checkpoint_folder(stage: str, key: str) -> str:
    """Folder of a checkpoint below the campaign's root."""
    return f"checkpoints/{stage}/{key[:2]}/{key}"


def _encode(manifest: Manifest) -> bytes:
    return encode_json(manifest.model_dump(mode="json"))


def _small(manifest: Manifest, contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Contents of small JSON payloads, by digest."""
    kept = [payload for payload in manifest.payloads.values() if payload.kind == "json" and payload.uri in contents]
    return {payload.sha256: contents[payload.uri] for payload in kept if len(contents[payload.uri]) <= _SMALL}


def manifest_name(generation: int) -> str:
    """Name of a checkpoint's manifest; a damaged checkpoint is followed by another generation."""
    return "manifest.json" if generation == 1 else f"manifest.{generation}.json"


def generation_of(name: str) -> int | None:
    """Generation of a manifest by its name, None for another file."""
    if name == "manifest.json":
        return 1
    parts = name.split(".")
    return int(parts[1]) if len(parts) == 3 and parts[0] == "manifest" and parts[1].isdecimal() else None


def _size_problem(path: str, size: int | None, file: StoredFile) -> str | None:
    if size is None:
        return f"payload {path} is missing"
    if size != file.size:
        return f"payload {path} is damaged: {size} bytes instead of {file.size}"
    return None
