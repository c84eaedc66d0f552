"""Small Dask clusters as processes of their own, and work for them."""

import datetime
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from tasks.checkpoints.checkpointer import Checkpointer
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.progress import Silence, advanced, listening
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.errors import NumericalError

WORK = Stage("work", 1)
HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]


def number(node, i, gate=None):
    """Give a number; wait for a file before, if one is named."""
    for _ in range(6000):
        if gate is None or Path(gate).exists():
            break
        time.sleep(0.01)
    else:
        raise TimeoutError(gate)
    advanced(node, 1, 2)
    advanced(node, 2, 2)
    return {"number": Payload("array", np.full(3, float(i)))}


def fatal(node):
    """Do what a piece that needs too much memory does to its worker."""
    os.kill(os.getpid(), 9)


def fail():
    """End with an error of its own."""
    raise NumericalError("the loss of member 3 is not finite")


def tell_threads():
    """How many threads kernels may use in this process."""
    return {"number": Payload("json", {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")})}


class Notes(Silence):
    """Notes who started what, and how far it came; may be waited for."""

    def __init__(self):
        self.starts, self.progress = [], []
        self._changed = threading.Condition()

    def started(self, node, worker=""):
        with self._changed:
            self.starts.append((node, worker))
            self._changed.notify_all()

    def advanced(self, node, done, total):
        with self._changed:
            self.progress.append((node, done, total))
            self._changed.notify_all()

    def wait_for(self, what):
        with self._changed:
            assert self._changed.wait_for(lambda: what(self), timeout=120)

    def processes(self, node):
        """Ids of the processes that began a node, in order."""
        return [int(worker.rpartition(":")[2]) for name, worker in self.starts if name == node]


def checkpointer(folder, notes=None):
    folder.mkdir(exist_ok=True)
    with listening(notes or Silence()):
        return Checkpointer(CheckpointStore(Storage(str(folder))))


def run(cp, place, i, compute=None, gate=None, **given):
    node = f"work/{i}"
    compute = compute or partial(number, node, i, gate)
    return cp.run(node, WORK, compute, outputs=("number",), params={"i": i}, place=place, **given)


@contextmanager
def scheduler(*options, path=(ROOT,)):
    """A scheduler on a free port; its process and its address."""
    command = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show", *options]
    with _process(command, path) as process:
        address = None
        for line in process.stderr:
            if found := re.search(r"Scheduler at:\s+(\S+)", line):
                address = found[1]
                break
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        yield process, address
        process.kill()
        drain.join()


@contextmanager
def worker(address, *options, path=(ROOT, HERE), nanny=False):
    """A worker of a scheduler."""
    alone = () if nanny else ("--no-nanny",)
    command = ["worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", *alone, *options]
    with _process(command, path, subprocess.DEVNULL) as process:
        yield process


@contextmanager
def _process(command, path, errors=subprocess.PIPE):
    kind, *rest = command
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{kind}", *rest],
        stdout=subprocess.DEVNULL,
        stderr=errors,
        text=True,
        cwd=path[0],  # python looks there first
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(folder) for folder in path)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def certificates(folder, name):
    """An authority of this name and a certificate signed by it: paths by `ca`, `certificate`, `key`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def named(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def signed(subject, key, ca):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(named(name), named(subject), key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        return builder.add_extension(x509.BasicConstraints(ca, None), critical=True).sign(authority, hashes.SHA256())

    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    contents = {
        "ca": signed(name, authority, True).public_bytes(pem),
        "certificate": signed("node", own, False).public_bytes(pem),
        "key": own.private_bytes(pem, *plain),
    }
    for what, content in contents.items():
        (folder / f"{name}-{what}.pem").write_bytes(content)
    return {what: str(folder / f"{name}-{what}.pem") for what in contents}


def tls_options(files):
    return "--tls-ca-file", files["ca"], "--tls-cert", files["certificate"], "--tls-key", files["key"]
