"""TLS in front of any server on loopback, with a certificate of a private authority: what a gateway does."""

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
import time
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def authority(folder, name):
    """An authority and a certificate of 127.0.0.1 that it has signed: paths of the three PEM files."""

    def signed(subject, key, *more):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(_named(name), _named(subject), key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        for extension, critical in more:
            builder = builder.add_extension(extension, critical)
        return builder.sign(issuing, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    issuing, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    contents = {
        "ca": signed(name, issuing, (x509.BasicConstraints(ca=True, path_length=None), True)),
        "certificate": signed("gateway", own, (here, False)),
        "key": own.private_bytes(serialization.Encoding.PEM, *plain),
    }
    for what, content in contents.items():
        (folder / f"{name}-{what}.pem").write_bytes(content)
    return {what: str(folder / f"{name}-{what}.pem") for what in contents}


def _named(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class TlsProxy:
    """Listens on a free port of loopback and passes bytes on to `upstream`."""

    def __init__(self, upstream, files):
        self._upstream = urlsplit(upstream)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files["certificate"], files["key"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.refused, self._threads = [], []

    def __enter__(self):
        self._start(self._accept)
        return self

    def has_refused(self, seconds=10):
        """Whether a client was refused; the client may know of it before this thread does."""
        until = time.monotonic() + seconds
        while not self.refused and time.monotonic() < until:
            time.sleep(0.01)
        return bool(self.refused)

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _start(self, target, *given):
        thread = threading.Thread(target=target, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, plain)

    def _serve(self, plain):
        plain.settimeout(60)
        try:
            outer = self._context.wrap_socket(plain, server_side=True)
        except OSError as error:  # ssl.SSLError is one: the client does not trust us, or speaks no TLS
            self.refused.append(str(error))
            plain.close()
            return
        inner = socket.create_connection((self._upstream.hostname, self._upstream.port))
        back = threading.Thread(target=_copy, args=(inner, outer), daemon=True)
        back.start()
        _copy(outer, inner)
        back.join()
        for each in (inner, outer):
            each.close()


def _copy(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
