"""How the S3 client behaves when the store does not: how often it asks again, what it tells, what its errors mean."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
from typing import Any

from fsspec.asyn import sync

from tasks.checkpoints.keys import sha256

#: Times that a request is sent at most, unless `AWS_MAX_ATTEMPTS` says otherwise. The pauses between them are drawn
#: from 0 to 1, 2, 4, 8, 16 and 32 s: half a minute on average, longer than the restart of a small store.
ATTEMPTS = 7
_PAUSES = (0.2, 0.8, 3.2)  # seconds, where botocore does not ask again by itself
_BETWEEN_LINES = 10.0  # seconds: many requests wait at once, and one line says it for all
_REFUSALS = ("PreconditionFailed", "ConditionalRequestConflict", "412")
_ALTERED = "what arrives is not what was written"
_MARK, _DIGEST = "writer", "sha256"

_log = logging.getLogger("hybridscreen.storage")


def client_options() -> dict[str, Any]:
    """Options of an s3fs file system.

    Botocore's mode `legacy` asks again on 500, 502, 503, 504, 429 and 509, on time-outs and on cut connections. The
    later modes share a quota of retries between all requests: with many at a time it ends during a short outage.

    Checksums after a request's body, which botocore sends over TLS by default, stores like Ceph 16 do not understand;
    what is written is covered by the signature, or by TLS.
    """
    retries: dict[str, Any] = {} if os.environ.get("AWS_RETRY_MODE") else {"mode": "legacy"}
    if not os.environ.get("AWS_MAX_ATTEMPTS"):
        retries["total_max_attempts"] = ATTEMPTS
    config: dict[str, Any] = {"retries": retries, "connect_timeout": 5, "read_timeout": 20}
    if not os.environ.get("AWS_REQUEST_CHECKSUM_CALCULATION"):
        config["request_checksum_calculation"] = "when_required"
    return {"use_listings_cache": False, "config_kwargs": config}


def prepare(file_system: Any) -> None:
    """Let botocore alone decide what is asked again, and let a line tell of it. Doing it again changes nothing."""
    file_system.retries = 1  # s3fs would ask as often again, for some kinds of failure as often squared
    file_system.s3.meta.events.register("needs-retry.s3", _teller.hear, unique_id="hybridscreen")


class _Teller:
    """Says, not too often, that the store fails and is asked again."""

    def __init__(self) -> None:
        self._lock, self._last = threading.Lock(), float("-inf")

    def hear(
        self, response: Any = None, caught_exception: Exception | None = None, attempts: int = 1, **_: Any
    ) -> None:
        """Botocore's event after each request: its answer or its exception, and how many times it was sent."""
        status = 0 if response is None else response[0].status_code
        if caught_exception is not None or status == 429 or status >= 500:
            self.tell(attempts, caught_exception or f"status {status}")

    def tell(self, attempt: int, reason: object) -> None:
        """One line, unless there was one a moment ago."""
        with self._lock:
            if time.monotonic() < self._last + _BETWEEN_LINES:
                return
            self._last = time.monotonic()
        _log.warning("The object store fails (attempt %d: %s); it is asked again after a pause.", attempt, reason)


_teller = _Teller()


class AlteredContent(OSError):
    """What arrived is not what was written: a bit was lost on the way, or where it lies."""


def read_whole(file_system: Any, path: str) -> bytes:
    """Content of a file, by one request: s3fs would ask for the size first, to fetch what is large in parts.

    Asked for anew where it breaks off on its way, which botocore's retries do not cover, or arrives altered.

    Raises:
        AlteredContent: It arrives altered every time. Where the store keeps no checksums, only what `create` wrote is
            checked here: payloads are by what their manifests say, and uploads by being read twice.
    """
    for number, pause in enumerate(_PAUSES, start=1):
        try:
            return bytes(sync(file_system.loop, _fetch, file_system, path))
        except _broken_off() as error:
            _teller.tell(number, error)
            time.sleep(pause)
    return bytes(sync(file_system.loop, _fetch, file_system, path))


async def _fetch(file_system: Any, path: str) -> bytes:
    from botocore.exceptions import FlexibleChecksumError

    bucket, key, _ = file_system.split_path(path)
    response = await file_system._call_s3("get_object", Bucket=bucket, Key=key)
    try:
        async with response["Body"] as body:
            data = bytes(await body.read())
    except FlexibleChecksumError as error:  # of a store that keeps checksums
        raise AlteredContent(_ALTERED) from error
    expected = response.get("Metadata", {}).get(_DIGEST)
    if expected is not None and sha256(data) != expected:
        raise AlteredContent(_ALTERED)
    return data


def create(file_system: Any, path: str, data: bytes) -> bool:
    """Write a file only if there is none, and say whether this call made it.

    An answer that is lost makes the client ask again, and then it is refused because of the file that it has made
    itself. So every call leaves a mark of its own beside the content, and looks for it when it is refused. Beside it
    stands the content's digest, for those who read it.
    """
    mark, refusal = uuid.uuid4().hex, OSError()
    beside = {_MARK: mark, _DIGEST: sha256(data)}
    for pause in (*_PAUSES, 0.0):
        try:
            # In one request up to 5 GiB: at the end of an upload in parts, Ceph 16 does not look at the condition.
            file_system.pipe_file(path, data, mode="create", chunksize=len(data) + 1, Metadata=beside)
        except OSError as error:
            if not isinstance(error, FileExistsError) and code(error) not in _REFUSALS:
                raise
            refusal = error
        else:
            return True
        with contextlib.suppress(FileNotFoundError):  # two at a time, and neither has won yet
            return bool(file_system.metadata(path).get(_MARK) == mark)
        time.sleep(pause)
    raise refusal


def foreign_errors() -> tuple[type[Exception], ...]:
    """Bases of the errors that the client raises besides Python's own."""
    from aiohttp import ClientError  # both come with s3fs; not imported for a local folder
    from botocore.exceptions import BotoCoreError

    return (BotoCoreError, ClientError)


def _broken_off() -> tuple[type[Exception], ...]:
    from aiobotocore.response import AioReadTimeoutError
    from aiohttp import ClientPayloadError
    from botocore.exceptions import IncompleteReadError, ResponseStreamingError

    return (AlteredContent, ClientPayloadError, IncompleteReadError, ResponseStreamingError, AioReadTimeoutError)


def code(error: BaseException) -> str:
    """The S3 error code behind an error, empty if there is none."""
    return str(_response(error).get("Error", {}).get("Code", ""))


def _response(error: BaseException) -> dict[str, Any]:
    found = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    return found if isinstance(found, dict) else {}


def advice(error: BaseException, file_system: Any, seconds: float) -> str:
    """What was tried, and what to do, after an error that took so long. Empty if there is nothing to add."""
    from botocore.exceptions import NoCredentialsError, PartialCredentialsError

    if isinstance(error, PermissionError | NoCredentialsError | PartialCredentialsError):
        return "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do in this bucket"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "Name the file with the certificate of the store's authority: AWS_CA_BUNDLE"
    times = _times_asked(error, file_system)
    if times < 2:
        return ""
    todo = "When the store answers again, start the same once more: what was stored is kept"
    return f"Asked {times} times in {seconds:.0f} s. {todo}"


def _times_asked(error: BaseException, file_system: Any) -> int:
    from botocore.exceptions import ConnectionError as NotReached
    from botocore.exceptions import HTTPClientError

    if isinstance(error, _broken_off()):
        return len(_PAUSES) + 1
    if isinstance(error, NotReached | HTTPClientError):
        return int(file_system.s3.meta.config.retries.get("total_max_attempts", ATTEMPTS))
    return int(_response(error).get("ResponseMetadata", {}).get("RetryAttempts", 0)) + 1
