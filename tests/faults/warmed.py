"""From the outside: warm processes that carry out orders, and the Prefect server that they report to."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager
from pathlib import Path

import yaml
from services.postgres import POSTGRES, postgres

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
QUIET = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",  # a lost server is an error, not another server
    "PREFECT_SERVER_MEMO_STORE_PATH": os.devnull,
    "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "1",
}


def environment(**more):
    """This process's, without what a test server of Prefect or a bucket may have set."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_"))}
    mine["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(HERE.parent), *filter(None, [mine.get("PYTHONPATH")])])
    return mine | QUIET | more


class Warm:
    """A warm process, in whose forks orders are carried out one after the other."""

    def __init__(self, folder, **variables):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        with (folder / "warm.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "warm.py")],
                env=environment(**variables),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def ready(self):
        """Wait until everything is imported."""
        if not self._process.stdout.readline():
            raise AssertionError((self.folder / "warm.log").read_text())
        return self

    def order(self, do, *arguments, **how):
        """Status of a process that carried out an order, its answer, and the id of its flow run; None: there is none.

        Args:
            do: What (`warm.DO`), with its arguments.
            how: `kill`, `options`, `environment`, `watch`, `seconds`.
        """
        out = self._last = self.folder / f"{uuid.uuid4().hex[:12]}.json"
        order = {"do": do, "arguments": [str(each) for each in arguments], "out": str(out), **how}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError((self.folder / "warm.log").read_text())
        answer = json.loads(out.read_text()) if out.exists() else None
        run = out.with_suffix(".run")
        flow_run = run.read_text() if run.exists() else None
        return json.loads(line)["status"], answer, flow_run

    def crowd(self, count, do, *arguments, **how):
        """Answers of so many processes that carry out an order at the same moment."""
        statuses, _, _ = self.order(do, *arguments, crowd=count, watch=False, **how)
        assert set(statuses) == {0}, statuses
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob(f"{self._last.name}.*.json"))]

    def end(self):
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def database(folder):
    """Variables of a Prefect server with PostgreSQL, as one that serves many has it; without one here, SQLite."""
    if POSTGRES is None:
        yield {}
        return
    port, password = free_port(), "prefect"
    with postgres(folder, port, password):
        url = f"postgresql+asyncpg://prefect:{password}@127.0.0.1:{port}/prefect"
        yield {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url}


class Server:
    """A Prefect server on a free port of loopback."""

    def __init__(self, folder, **variables):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.folder, self.url = folder, f"http://127.0.0.1:{self.port}/api"
        self.environment = environment(
            PREFECT_HOME=str(folder),
            PREFECT_SERVER_API_HOST="127.0.0.1",
            PREFECT_SERVER_API_PORT=str(self.port),
            PREFECT_API_URL=self.url,
            **variables,
        )
        self.process = None

    def start(self):
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start", "--no-ui"],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        for _ in range(6000):  # a busy machine takes minutes
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            try:
                self("/health")
            except OSError:
                time.sleep(0.1)
            else:
                return self
        raise AssertionError((self.folder / "server.log").read_text())

    def kill(self):
        """As a power cut does."""
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()

    def __call__(self, path, body=None):
        """Answer of the server's API. A busy SQLite asks for patience by 503."""
        data = None if body is None else json.dumps(body).encode()
        for _ in range(30):
            request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=600) as reply:
                    return json.loads(reply.read() or b"null")
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(0.5)
        raise AssertionError(path)

    def state(self, flow_run):
        """Type and name of a flow run's state."""
        state = self(f"/flow_runs/{flow_run}")["state"]
        return state["type"], state["name"]


@contextmanager
def serving(folder, **variables):
    """A running server."""
    with database(folder) as at:
        server = Server(folder / "server", **at, **variables)
        try:
            yield server.start()
        finally:
            server.end()


@contextmanager
def warmed(folder, count, **variables):
    """So many warm processes."""
    processes = [Warm(folder / f"warm{number}", **variables) for number in range(count)]
    try:  # all of them import at once
        yield [each.ready() for each in processes]
    finally:
        for each in processes:
            each.end()


def report_lost_runs(server, within=45):
    """Apply the automation that marks a run without heartbeats as crashed, but sooner."""
    declared = yaml.safe_load((ROOT / "deployments" / "automations.yaml").read_text())["automations"]
    (lost,) = [each for each in declared if each["name"] == "hybridscreen-lost-runs"]
    server("/automations/", {**lost, "trigger": {**lost["trigger"], "within": within}})
