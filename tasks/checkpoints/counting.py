"""How much a process asks of its storage: a benchmark's question. Nothing here is in the way of who does not ask it.

Of a remote storage the requests themselves are counted, as they leave the process: pages of listings, repeats and what
a client asks of its own accord are among them. A folder has no requests: there its files' operations are counted.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tasks.checkpoints.storage import Storage

KINDS = ("get", "put", "list", "head")


class Requests:
    """Requests by kind, and bytes of contents in both directions."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def note(self, kind: str, received: int = 0, sent: int = 0) -> None:
        """One request more."""
        with self._lock:
            self._counts[kind] += 1
            self._counts["bytes_received"] += received
            self._counts["bytes_sent"] += sent

    def told(self) -> dict[str, int]:
        """Requests of every kind, all of them as `requests`, `bytes_received` and `bytes_sent`."""
        with self._lock:
            kinds = {kind: count for kind, count in sorted(self._counts.items()) if not kind.startswith("bytes_")}
            told = {**dict.fromkeys(KINDS, 0), **kinds}
            size = {name: self._counts[name] for name in ("bytes_received", "bytes_sent")}
            return {"requests": sum(told.values()), **told, **size}


@contextmanager
def counted(url: str) -> Iterator[Requests]:
    """Count what this process asks of a kind of storage while the context lasts.

    Args:
        url: Of a storage: S3, or a folder.
    """
    found = Requests()
    owner, wrapped = _on_the_wire(found) if url.startswith("s3:") else _in_a_folder(found)
    kept = {name: getattr(owner, name) for name in wrapped}
    for name, function in wrapped.items():
        setattr(owner, name, function)
    try:
        yield found
    finally:
        for name, function in kept.items():
            setattr(owner, name, function)


def _on_the_wire(found: Requests) -> tuple[type, dict[str, Callable[..., Any]]]:
    """The client's way of sending, which counts."""
    from aiobotocore.httpsession import AIOHTTPSession  # comes with s3fs

    send = AIOHTTPSession.send

    @functools.wraps(send)
    async def counting(self: Any, request: Any) -> Any:
        response = await send(self, request)
        kind = "list" if request.method == "GET" and "list-type=" in request.url else str(request.method).lower()
        received = int(response.headers.get("content-length", 0)) if kind == "get" else 0
        found.note(kind, received, int(request.headers.get("Content-Length", 0)) if kind == "put" else 0)
        return response

    return AIOHTTPSession, {"send": counting}


def _in_a_folder(found: Requests) -> tuple[type, dict[str, Callable[..., Any]]]:
    """What asks a folder for something, which counts."""

    def reads(self: Storage, path: str) -> bytes:
        try:
            data = read(self, path)
        except FileNotFoundError:
            found.note("get")
            raise
        found.note("get", received=len(data))
        return data

    def puts(function: Callable[..., Any]) -> Callable[..., Any]:
        def put(self: Storage, path: str, data: bytes) -> Any:
            found.note("put", sent=len(data))
            return function(self, path, data)

        return put

    def asks(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def ask(self: Storage, path: str = "") -> Any:
            found.note(kind)
            return function(self, path)

        return ask

    read = Storage.read
    return Storage, {
        "read": reads,
        "write": puts(Storage.write),
        "create": puts(Storage.create),
        "size": asks("head", Storage.size),
        "folders": asks("list", Storage.folders),
        "list": asks("list", Storage.list),
        "signs": asks("list", Storage.signs),
        "entries": asks("list", Storage.entries),
        "_remove": asks("delete", Storage._remove),
    }
