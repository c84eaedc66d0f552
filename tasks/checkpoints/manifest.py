"""The manifest of a checkpoint: what it holds, from what it was made, when, where and why."""

from __future__ import annotations

import importlib.metadata
import os
import resource
import socket
import sys
from contextlib import suppress
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from tasks.checkpoints.refs import Kind, Ref
from tasks.checkpoints.strict_json import parse_json

PACKAGES = ("hybridscreen", "anndata", "numpy", "pandas", "pyarrow", "scipy", "torch", "zarr")


def _inside(path: str) -> str:
    """A path below the campaign's root: who reads a manifest must not be led elsewhere."""
    if path.startswith("/") or "\\" in path or "\0" in path or ".." in path.split("/"):
        raise ValueError("leads out of the campaign's folder")
    return path


Path = Annotated[str, AfterValidator(_inside)]


class StoredFile(BaseModel):
    """One file of a payload."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size: int


class StoredPayload(BaseModel):
    """One named output of a stage. `files` are named relative to `uri`; a single file has the empty name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: Path
    kind: Kind
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    shape: tuple[int, ...] | None
    files: dict[Path, StoredFile]

    def paths(self) -> dict[str, StoredFile]:
        """Path below the campaign's root to what is expected there."""
        return {f"{self.uri}/{name}" if name else self.uri: file for name, file in self.files.items()}

    def ref(self) -> Ref:
        """Reference to this payload."""
        return Ref(uri=self.uri, sha256=self.sha256, kind=self.kind, shape=self.shape)


class Manifest(BaseModel):
    """What `manifest.json` of a checkpoint says. Times are UTC in ISO 8601.

    `worker` is the host and process that did it, `peak_rss_gib` the largest memory of that process up to then [GiB].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    node: str
    stage: str
    version: int
    params: dict[str, Any]
    inputs: dict[str, str]
    seed: int | None
    payloads: dict[str, StoredPayload]
    why: str
    started: str
    ended: str
    seconds: float
    worker: str
    peak_rss_gib: float | None = None  # not in manifests of releases before this was recorded
    flow_run: str | None
    versions: dict[str, str]

    def refs(self) -> dict[str, Ref]:
        """References to all payloads by name."""
        return {name: payload.ref() for name, payload in self.payloads.items()}


class Withdrawn(BaseModel):
    """What the clean-up writes over a manifest that nothing references: for now the payloads are still there.

    Whoever looks for the checkpoint takes it back by creating the next manifest with this content.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    withdrawn: str
    manifest: Manifest


class Removed(BaseModel):
    """What the clean-up creates as the next manifest, before it deletes: these files, by name in the folder, are gone.

    Of this and of taking back only one can be created, so that nothing is deleted that somebody has found. What is
    computed again gets other names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    removed: str
    files: tuple[str, ...] = ()


def read_manifest(data: bytes) -> Manifest | Withdrawn | Removed | None:
    """What stands in a manifest; None if it is damaged."""
    kinds: tuple[type[Manifest] | type[Withdrawn] | type[Removed], ...] = (Manifest, Withdrawn, Removed)
    try:
        content = parse_json(data)
    except ValueError:
        return None
    for kind in kinds:
        with suppress(ValidationError):
            return kind.model_validate(content)
    return None


@cache
def package_versions() -> dict[str, str]:
    """Installed versions of the packages that a result can depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def worker_name() -> str:
    """Host and process that does the work."""
    return f"{socket.gethostname()}:{os.getpid()}"


def peak_rss_gib() -> float:
    """Largest resident memory of this process so far [GiB]."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 2 ** (30 if sys.platform == "darwin" else 20), 3)  # bytes there, KiB on Linux
