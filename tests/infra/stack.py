"""The processes of the stack, started with the very commands and settings of compose.yaml, without containers.

Ports and folders are the test's own; everything else is as it stands in the file. PostgreSQL and Redis are real.
"""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from infra_files import image_command, image_environment, services
from services.postgres import POSTGRES, postgres

VALUES = {"DATABASE_PASSWORD": "p@ss:w/rd", "API_AUTH_STRING": "lab:s3cret"}
VALUES |= dict.fromkeys(("STORE_KEY", "DASK_STORE_KEY"), "key")  # the servers of these tests know one user
VALUES |= dict.fromkeys(("STORE_SECRET", "DASK_STORE_SECRET"), "hush")
BIN = Path(sys.executable).parent
needs_servers = pytest.mark.skipif(
    not (POSTGRES and shutil.which("redis-server")), reason="no PostgreSQL or Redis here"
)


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(what, seconds=120):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come up"
        time.sleep(0.3)


def answers(url, password=None):
    """HTTP status of an address, None where nobody answers."""
    headers = {"Authorization": f"Basic {base64.b64encode(password.encode()).decode()}"} if password else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@contextmanager
def process(command, log, **given):
    """A process with all that it starts, ended with the context."""
    with log.open("wb") as file:
        made = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, **given)
    try:
        yield made
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(made.pid, number)
                made.wait(20)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


class Stack:
    """Commands and settings of the compose file, with the addresses of this machine."""

    def __init__(self, folder, **values):
        self.folder = folder
        names = ("postgres", "redis", "server", "services", "health", "dask", "dask-page", "dask-worker-page")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.url = f"http://127.0.0.1:{self.ports['server']}"
        self.values = VALUES | {"UI_API_URL": f"{self.url}/api"} | values

    def here(self, text):
        """A text of the file with this machine's ports and folders."""
        text = re.sub(r"\$\{([A-Z_]+):[-?]([^}]*)\}", lambda found: self.values.get(found[1]) or found[2], text)
        for there, here in (
            ("redis://redis:6379", f"redis://127.0.0.1:{self.ports['redis']}"),
            ("http://prefect-server:4200", f"http://127.0.0.1:{self.ports['server']}"),
            ("tcp://dask-scheduler:8786", f"tcp://127.0.0.1:{self.ports['dask']}"),
            ("/home/hybridscreen", str(self.folder / "home")),
            ("0.0.0.0", "127.0.0.1"),  # nobody but this machine
        ):
            text = text.replace(there, here)
        return {
            "8786": str(self.ports["dask"]),
            ":8787": f"127.0.0.1:{self.ports['dask-page']}",
            ":8788": f"127.0.0.1:{self.ports['dask-worker-page']}",
        }.get(text, text)

    def environment(self, name, **changed):
        kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "LANG") if key in os.environ}
        given = {**image_environment(), **services()[name].get("environment", {})}
        found = kept | {key: self.here(value) for key, value in given.items() if key != "PATH"} | changed
        found["PATH"] = f"{BIN}{os.pathsep}{kept['PATH']}"
        if "PREFECT_SERVER_DATABASE_HOST" in found:
            port = str(self.ports["postgres"])
            found |= {"PREFECT_SERVER_DATABASE_HOST": "127.0.0.1", "PREFECT_SERVER_DATABASE_PORT": port}
        return found

    def command(self, name):
        words = services()[name].get("command") or image_command()
        program = Path(sys.executable) if words[0] == "python" else BIN / words[0]
        return [str(program), *(self.here(word) for word in words[1:])]

    def run(self, name, *command):
        """A service that ends, or another command in the place of a service: it has to end well."""
        words = [str(BIN / command[0]), *map(str, command[1:])] if command else self.command(name)
        done = subprocess.run(
            words, env=self.environment(name), cwd=self.folder, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, name, **changed):
        log = self.folder / f"{name}-{len(list(self.folder.glob(f'{name}-*.log'))) + 1}.log"
        return process(self.command(name), log, env=self.environment(name, **changed), cwd=self.folder)


@contextmanager
def servers(stack):
    """PostgreSQL and Redis, the database migrated, two Prefect servers that act as one, deployments."""
    with ExitStack() as opened:
        opened.enter_context(postgres(stack.folder, stack.ports["postgres"], VALUES["DATABASE_PASSWORD"]))
        redis = [*services()["redis"]["command"], "--port", str(stack.ports["redis"]), "--bind", "127.0.0.1"]
        opened.enter_context(process(redis, stack.folder / "redis.log", cwd=stack.folder))
        stack.run("prefect-migrate")
        for name in ("server", "services"):
            port = str(stack.ports[name])
            opened.enter_context(stack.start(f"prefect-{name}", PREFECT_SERVER_API_PORT=port))
            wait_for(lambda port=port: answers(f"http://127.0.0.1:{port}/api/ready") == 200)
        stack.run("prefect-deploy")
        yield


def asked(stack, path, body=None, server="server", method=None):
    """What the API answers to somebody with the password."""
    login = base64.b64encode(VALUES["API_AUTH_STRING"].encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    url = f"http://127.0.0.1:{stack.ports[server]}/api/{path}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, headers=headers, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        log = "\n".join((stack.folder / f"prefect-{server}-1.log").read_text().splitlines()[-60:])
        raise AssertionError(f"{path}: {error.code} {error.read().decode()}\n{log}") from error
