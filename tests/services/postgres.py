"""A PostgreSQL server of its own on loopback, with an empty database `prefect`."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)), None)


@contextmanager
def postgres(folder, port, password):
    """A new server below a folder, for user `prefect`. It refuses to run as root, as it does in its image."""
    data, secret = folder / "postgres", folder / "password"
    data.mkdir()
    secret.write_text(password)
    somebody = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    if somebody:
        shutil.chown(data, **somebody)
        for parent in (folder, *folder.parents):
            if parent.owner() == "root" and parent.stat().st_mode & 0o001 == 0:
                parent.chmod(parent.stat().st_mode | 0o011)  # to be passed through
    made = ["-D", data, "-U", "prefect", "-A", "scram-sha-256", f"--pwfile={secret}"]
    subprocess.run(
        [POSTGRES.with_name("initdb"), *made], check=True, capture_output=True, timeout=120, cwd="/", **somebody
    )
    options = ["-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", data]
    with (folder / "postgres.log").open("wb") as log:
        server = subprocess.Popen(
            [POSTGRES, *options], stdout=log, stderr=log, start_new_session=True, cwd="/", **somebody
        )
    address = ["-h", "127.0.0.1", "-p", str(port)]
    try:
        _wait_for(server, [POSTGRES.with_name("pg_isready"), *address])
        login = {"PGPASSWORD": password, "PATH": os.environ["PATH"]}
        command = [POSTGRES.with_name("createdb"), *address, "-U", "prefect", "prefect"]
        subprocess.run(command, check=True, capture_output=True, env=login, timeout=60)
        yield
    finally:
        server.send_signal(signal.SIGINT)  # do not wait for clients
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait_for(server, ready, seconds=120):
    end = time.monotonic() + seconds
    while subprocess.run(ready, capture_output=True, timeout=30).returncode != 0:
        assert server.poll() is None, server.returncode
        assert time.monotonic() < end, "PostgreSQL did not come up"
        time.sleep(0.3)
