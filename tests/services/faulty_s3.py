"""A proxy in front of an S3 server that fails as it is told: what the network and a busy store do, on a real socket."""

import http.client
import re
import socket
import struct
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote_plus, urlsplit

import s3fs

ERROR = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
#: Answers given in the server's place.
ANSWERS = {
    "internal error": (500, "InternalError", "We encountered an internal error. Please try again."),
    "slow down": (503, "SlowDown", "Please reduce your request rate."),
    "too many requests": (429, "TooManyRequests", "Too many requests."),
    "conflict": (409, "ConditionalRequestConflict", "A conflicting operation occurred."),
}
#: The connection is cut: before the server hears of the request, after it has done it, in the middle of its answer,
#: after a long silence.
CUTS = ("reset", "answer lost", "truncated", "silence")
#: The answer comes, but in small pieces, with one bit turned (of a request that sends something, of what it sends), or
#: as a listing that knows of nothing newer than what `remember` was told.
CHANGES = ("slow", "flipped", "stale")
KINDS = (*ANSWERS, *CUTS, *CHANGES)


@dataclass
class _Fault:
    kind: str
    left: int
    method: str
    name: str

    def meets(self, method, path):
        return self.left > 0 and self.method in ("", method) and self.name in path


class FaultyS3:
    """Listens on a free port of loopback and passes on to `upstream`. Requests are counted by method.

    Attributes:
        silence: How long nothing is said before the connection is cut [s].
        met: How many requests met each kind of failure.
    """

    def __init__(self, upstream, silence=30.0):
        self.upstream, self.requests, self.met = urlsplit(upstream).netloc, Counter(), Counter()
        self.silence, self.known = silence, frozenset()
        self._faults, self._lock, self._bucket = [], threading.Lock(), ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def folder(self):
        """A new folder in a bucket of its own, reached through what the environment names as endpoint."""
        if not self._bucket:
            self._bucket = f"campaigns-{uuid.uuid4().hex[:12]}"
            s3fs.S3FileSystem().mkdir(self._bucket)
        return f"s3://{self._bucket}/{uuid.uuid4().hex[:12]}"

    def fail(self, kind, times=10**9, method="", name=""):
        """From now on answer so many requests, of this method and with this in their address, by a failure."""
        assert kind in KINDS, kind
        with self._lock:
            self._faults.append(_Fault(kind, times, method, name))

    def heal(self):
        """From now on fail at nothing, and count anew."""
        with self._lock:
            self._faults.clear()
            self.requests.clear()
            self.met.clear()

    def remember(self, keys):
        """What a stale listing still shows: these keys of a bucket, as far as they are there, and no others."""
        self.known = frozenset(keys)

    def fault_of(self, method, path):
        """The failure that is due for a request, empty if none is."""
        with self._lock:
            self.requests[method] += 1
            for fault in self._faults:
                if fault.meets(method, path):
                    fault.left -= 1
                    self.met[fault.kind] += 1
                    return fault.kind
        return ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyS3

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.fault_of(self.command, self.path)
        if fault in ANSWERS:
            status, code, message = ANSWERS[fault]
            self._send(status, [("Content-Type", "application/xml")], ERROR.format(code=code, message=message).encode())
        elif fault == "reset":
            self._cut()
        elif fault == "silence":
            time.sleep(self.proxy.silence)
            self._cut()
        else:
            self._pass_on(_flipped(body) if fault == "flipped" and body else body, fault)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

    def _pass_on(self, body, fault):
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=60)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers))
            reply = upstream.getresponse()
            data = reply.read()
        finally:
            upstream.close()
        if fault == "answer lost":
            self._cut()
            return
        if fault == "stale":
            data = _stale(data, self.proxy.known)
        elif fault == "flipped" and not body:
            data = _flipped(data)
        kept = [(name, value) for name, value in reply.getheaders() if name.lower() not in _HOP_BY_HOP]
        length = reply.getheader("Content-Length") if self.command == "HEAD" else None
        self._send(reply.status, kept, data, length, fault=fault)

    def _send(self, status, headers, data, length=None, *, fault=""):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self._write(data, fault)
        if fault == "truncated":
            self._cut()

    def _write(self, data, fault):
        if fault == "slow":
            for start in range(0, len(data), step := len(data) // 8 + 1):
                self.wfile.write(data[start : start + step])
                self.wfile.flush()
                time.sleep(0.05)
        else:
            self.wfile.write(data if fault != "truncated" else data[: len(data) // 2])

    def _cut(self):
        """Close the connection; unread data or not, the client sees it reset."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def finish(self):
        if self.connection.fileno() >= 0:
            super().finish()

    def log_message(self, *_):
        pass


def _flipped(data):
    """The same bytes with one bit turned, in the middle."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if data else data


def _stale(listing, known):
    """A listing without what was not there yet."""

    def is_old(found):
        name = unquote_plus(found[1].decode())
        return any(key.startswith(name) if name.endswith("/") else key == name for key in known)

    for pattern in _ENTRIES:
        listing = pattern.sub(lambda found: found[0] if is_old(found) else b"", listing)
    return listing


_ENTRIES = (
    re.compile(rb"<Contents>(?:(?!</Contents>).)*?<Key>(.*?)</Key>.*?</Contents>", re.DOTALL),
    re.compile(rb"<CommonPrefixes>\s*<Prefix>(.*?)</Prefix>\s*</CommonPrefixes>", re.DOTALL),
)
_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
