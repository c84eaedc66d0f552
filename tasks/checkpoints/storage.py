"""Files of one campaign in any fsspec storage: a local folder or S3."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from tasks.checkpoints import s3_client
from tasks.errors import HybridScreenError, UserError

T = TypeVar("T")
R = TypeVar("R")

_REQUESTS = 16  # requests to a remote storage at once
_STORE_MARK = "store.json"
_STORE_LAYOUT = b'{"layout": 1, "product": "hybridscreen"}\n'


class StorageError(HybridScreenError):
    """The storage did not do what was asked: no access, no bucket, no network."""


@dataclass(frozen=True)
class Entry:
    """A file as a listing tells of it: its bytes, and when it was written by the storage's clock (UTC)."""

    size: int
    modified: datetime


class AlteredFile(StorageError):
    """A file arrives, every time, with another content than it was written with."""


class Storage:
    """Files below a root, addressed by relative paths with forward slashes.

    Args:
        url: A folder or an fsspec URL, as `s3://bucket/prefix`. S3 credentials and endpoint come from the environment
            (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`), never from a configuration file.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._connect()

    def _connect(self) -> None:
        self._is_s3 = self.url.startswith("s3:")
        options: dict[str, Any] = {"use_listings_cache": False} if "://" in self.url else {}
        if self._is_s3:
            options |= s3_client.client_options()
        try:
            self._fs, root = fsspec.core.url_to_fs(self.url, **options)
        except (ValueError, ImportError) as error:
            raise UserError(
                "no such kind of storage", where=self.url, got=error, expected="a folder or s3://…"
            ) from error
        self._root = str(root).rstrip("/")
        self._refusals: tuple[type[Exception], ...] = (OSError, ValueError, RuntimeError)
        if self._is_s3:
            self._refusals += s3_client.foreign_errors()
            with self._speaking(""):
                s3_client.prepare(self._fs)
        self.is_local = "file" in ([self._fs.protocol] if isinstance(self._fs.protocol, str) else self._fs.protocol)

    def __getstate__(self) -> dict[str, str]:
        # Another process may have another working directory.
        return {"url": self._root if self.is_local else self.url}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.url = state["url"]
        self._connect()

    def below(self, *parts: str) -> Storage:
        """The same storage with a folder of it as root."""
        return Storage("/".join([self.url.rstrip("/"), *parts]))

    def require_seen(self, where: str) -> None:
        """Raise a UserError if this is a folder that this machine does not have; `where` is the machine's name."""
        if self.is_local and not Path(self._root).is_dir():
            todo = "Use a folder that all machines share under this name, or s3://…"
            raise UserError("does not see the campaign's folder", where=where, got=self._root, todo=todo)

    def locate(self, path: str) -> str:
        """Full address of a path, for messages and links."""
        return f"{self.url.rstrip('/')}/{path}"

    def _full(self, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/") or "\\" in path or "\0" in path:
            raise UserError("path leaves the campaign's folder", where=self.url, got=repr(path))
        return f"{self._root}/{path}"

    @contextmanager
    def _speaking(self, path: str) -> Iterator[None]:
        """Turn the storage's many errors into one, but let 'not found' and 'exists' through."""
        since = time.monotonic()
        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except self._refusals as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            more = s3_client.advice(error, self._fs, time.monotonic() - since) if self._is_s3 else ""
            kind = AlteredFile if isinstance(error, s3_client.AlteredContent) else StorageError
            raise kind(f"{self.locate(path)}: {reason.rstrip('.')}. {more}".rstrip(". ")) from error

    def read(self, path: str) -> bytes:
        """Content of a file.

        Raises:
            FileNotFoundError: If there is none.
            StorageError: If the storage refuses.
            AlteredFile: If it never arrives as it was created.
        """
        with self._speaking(path):
            full = self._full(path)
            return s3_client.read_whole(self._fs, full) if self._is_s3 else bytes(self._fs.cat_file(full))

    def read_many(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Contents of several files, asked for side by side. Missing ones are left out."""
        wanted = list(dict.fromkeys(paths))
        found = self._side_by_side(self.read_or_none, wanted)
        return {path: data for path, data in zip(wanted, found, strict=True) if data is not None}

    def read_or_none(self, path: str) -> bytes | None:
        """Content of a file, None if there is none."""
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    def _side_by_side(self, call: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Results of many small calls: one after another on a disk, at once where each costs a round trip."""
        if self.is_local or len(items) < 2:
            return [call(item) for item in items]
        with ThreadPoolExecutor(min(_REQUESTS, len(items))) as pool:
            return list(pool.map(call, items))

    def write_many(self, files: Mapping[str, bytes]) -> None:
        """Write several payload files, as `write` does."""
        self._side_by_side(lambda item: self.write(*item), list(files.items()))

    def write(self, path: str, data: bytes) -> None:
        """Write a payload file whole. Only for names that fix their content, so that writing again changes nothing."""
        full = self._full(path)
        with self._speaking(path):
            if self.is_local:
                temporary = _temporary(full, data, durable=False)
                temporary.replace(full)
            else:
                self._fs.pipe_file(full, data)

    def create(self, path: str, data: bytes) -> bool:
        """Write a file only if there is none: an atomic commit.

        Locally a temporary file is linked to the name; on S3 the request carries `If-None-Match: *`.

        Returns:
            True if this call made the file, False if it was there. Of two calls with the same content one alone gets
            True, and a call whose answer was lost on its way still gets it.
        """
        full = self._full(path)
        with self._speaking(path):
            if self.is_local:
                return _link(full, data)
            if self._is_s3:
                return s3_client.create(self._fs, full, data)
            try:
                self._fs.pipe_file(full, data, mode="create")
            except FileExistsError:
                return False
        return True

    def size(self, path: str) -> int | None:
        """Bytes of a file, None if there is none."""
        with self._speaking(path):
            try:
                return int(self._fs.info(self._full(path))["size"])
            except FileNotFoundError:
                return None

    def exists(self, path: str) -> bool:
        """Whether there is a file of this name."""
        return self.size(path) is not None

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below a prefix, sorted, without listing what is in them."""
        with self._speaking(prefix):
            try:
                found = self._fs.ls(self._full(prefix), detail=True)
            except FileNotFoundError:
                return []
        return sorted(
            str(entry["name"]).rstrip("/").rsplit("/", 1)[-1] for entry in found if entry["type"] == "directory"
        )

    def list(self, prefix: str = "") -> list[str]:
        """All files below a prefix, sorted, relative to the root."""
        start = self._full(prefix) if prefix else self._root
        with self._speaking(prefix):
            try:
                found = self._fs.find(start)
            except FileNotFoundError:
                return []
        cut = len(str(self._fs._strip_protocol(self._root)).rstrip("/")) + 1
        return sorted(str(path)[cut:] for path in found if not str(path).rsplit("/", 1)[-1].startswith(".tmp-"))

    def signs(self, prefix: str) -> dict[str, str]:
        """Every file below a prefix with what changes when its content does: nothing is read, only listed.

        On S3 size and ETag, elsewhere size, times and number of the file; the time of its last change cannot be set.
        """
        start = self._full(prefix)
        with self._speaking(prefix):
            try:
                found = self._fs.find(start, detail=True)
            except FileNotFoundError:
                return {}
        told = ("size", "ETag") if self.url.startswith("s3:") else ("size", "mtime", "created", "ino", "LastModified")
        cut = len(str(self._fs._strip_protocol(self._root)).rstrip("/")) + 1
        return {str(path)[cut:]: " ".join(str(of.get(what, "")) for what in told) for path, of in sorted(found.items())}

    def entries(self, prefix: str) -> dict[str, Entry]:
        """Every file below a prefix, temporary ones included, with its size and age: nothing is read, only listed."""
        start = self._full(prefix)
        with self._speaking(prefix):
            try:
                found = self._fs.find(start, detail=True)
            except FileNotFoundError:
                return {}
        cut = len(str(self._fs._strip_protocol(self._root)).rstrip("/")) + 1
        return {str(path)[cut:]: Entry(int(of["size"]), _modified(of)) for path, of in sorted(found.items())}

    def remove_many(self, paths: Iterable[str]) -> None:
        """Delete files. One that is gone already is no error. For the clean-up of checkpoints alone."""
        self._side_by_side(self._remove, list(dict.fromkeys(paths)))

    def _remove(self, path: str) -> None:
        with self._speaking(path), suppress(FileNotFoundError):
            self._fs.rm_file(self._full(path))

    def make_folder(self, path: str) -> None:
        """Make an empty folder where the storage has such a thing; S3 has not."""
        if self.is_local:
            Path(self._full(path)).mkdir(parents=True, exist_ok=True)

    def prove_create_if_absent(self) -> None:
        """Check that a second create of the same name is refused: every commit of a campaign rests on it.

        Raises:
            UserError: If there is no such bucket, the storage ignores the condition (some S3 servers do, silently), or
                the folder is of another version. Nothing but the mark has been written then.
        """
        try:
            self.create(_STORE_MARK, _STORE_LAYOUT)
        except FileNotFoundError as error:
            raise UserError("no such bucket or folder", where=self.url, todo="Create it first.") from error
        if self.create(_STORE_MARK, _STORE_LAYOUT):  # the same content: what is refused today may be mended tomorrow
            raise UserError(
                "the storage does not honour create-if-absent (If-None-Match), so two runs could overwrite each other",
                where=self.url,
                todo="Use AWS S3, Ceph or MinIO, or a local folder.",
            )
        if (found := self.read(_STORE_MARK)) != _STORE_LAYOUT:
            raise UserError(
                "not laid out as this version does it",
                where=self.locate(_STORE_MARK),
                got=found[:80],
                expected="layout 1",
            )


def _modified(told: Mapping[str, Any]) -> datetime:
    """Time of a file's last change: S3 gives a time, a folder seconds since 1970."""
    at = told.get("LastModified", told.get("mtime", told.get("created")))
    return datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else at or datetime.now(UTC)


def _link(full: str, data: bytes) -> bool:
    """Write a local file only if there is none; whether this call made it."""
    temporary = _temporary(full, data, durable=True)
    try:
        os.link(temporary, full)
    except FileExistsError:
        return temporary.stat().st_nlink > 1  # on NFS: the link was made, and the answer lost
    finally:
        temporary.unlink()
    return True


def _temporary(full: str, data: bytes, *, durable: bool) -> Path:
    folder = Path(full).parent
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".tmp-", dir=folder)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except OSError:
        temporary.unlink()  # of a disk that is full, nothing is given back otherwise
        raise
    temporary.chmod(0o644)
    return temporary
