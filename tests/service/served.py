"""A `hybridscreen serve` in a process of its own, and what a person does with it."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import yaml

COMMAND = [sys.executable, "-c", "from flows.cli import main; main()"]


CAMPAIGN = {
    "campaign": {"name": "pilot", "seed": 5, "storage": "campaigns"},
    "library": {"uri": "library.csv"},
    "readout": {"kind": "continuous", "tolerance": 1.0},
    "plates": {
        "format": 96,
        "negcon": {"wells": ["A01:H04"], "nominal": 0.0},
        "poscon": {"wells": ["A09:H12"], "nominal": 6.0},
        "initial": 2,
        "per_round": 2,
    },
    "alignment": {"method": "two-point"},
    "ensemble": {"members": 4, "hidden": [8], "epochs": 10, "patience": 10},
    "operators": {"sketch": 8, "features": 4},
    "batch": {"audit": 0.15, "adaptive": {"repeats": 2}},
    "stopping": {"gamma": 0.97, "max_rounds": 4},
}


class Api:
    """The server's API, as any program speaks to it; `login` is user:password."""

    def __init__(self, url, login=None):
        self.url = f"{url}/api"
        self.headers = {"content-type": "application/json"}
        if login is not None:
            self.headers["authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"

    def __call__(self, path, body=None, method=None):
        """Status and answer. A busy SQLite server asks for patience by 503, and Prefect's own clients have it too."""
        for _ in range(30):
            try:
                status, answer = self._once(path, body, method)
            except TimeoutError:
                if body is not None:  # who asks twice may start two
                    raise
                continue
            if status != 503:
                return status, answer
            time.sleep(1)
        raise AssertionError(f"{path}: the server stays busy")

    def _once(self, path, body, method):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}{path}",
            data,
            self.headers,
            method=method or ("POST" if data else "GET"),
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def named(self, kind):
        return {each["name"]: each for each in self(f"/{kind}/filter", {})[1]}

    def ask(self, deployment, **parameters):
        """Status and answer to a form that was sent."""
        path = f"/deployments/{self.named('deployments')[deployment]['id']}/create_flow_run"
        return self(path, {"parameters": parameters})

    def start(self, deployment, **parameters):
        """The run that a form starts."""
        status, run = self.ask(deployment, **parameters)
        assert status == 201, run
        return run

    def ended(self, run, seconds=300):
        """A run once it has come to its end."""
        deadline = time.monotonic() + seconds
        while True:
            _, found = self(f"/flow_runs/{run['id']}")
            if found["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                return found
            assert time.monotonic() < deadline, found["state"]
            time.sleep(0.5)

    def runs_of(self, deployment):
        """Runs of a deployment that have begun, oldest first."""
        body = {"deployments": {"name": {"any_": [deployment]}}, "sort": "START_TIME_ASC"}
        return [run for run in self("/flow_runs/filter", body)[1] if run["state"]["type"] != "SCHEDULED"]


def write_campaign(folder, **changes):
    """A small campaign on a made-up library; its file."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"C{i:03d},{i % 7 - 3},{i % 11 - 5},{(i * i) % 13 - 6}" for i in range(200)]
    (folder / "library.csv").write_text("perturbation,f0,f1,f2\n" + "\n".join(rows) + "\n")
    (folder / "campaign.yaml").write_text(yaml.safe_dump({**CAMPAIGN, **changes}))
    return folder / "campaign.yaml"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**more):
    """This process's, without what a test server of Prefect may have set."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    root = str(Path(__file__).parents[2])
    mine["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return mine | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"} | more


class Served:
    def __init__(self, folder, *arguments, **variables):
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = environment(**variables)
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "out.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--into", str(folder / "state"), "--port", str(self.port), *map(str, arguments)],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, word, seconds=240):
        """Wait until it says something."""
        deadline = time.monotonic() + seconds
        while word not in self.log.read_text():
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.2)

    def told(self):
        logs = [self.log, *sorted((self.folder / "state" / "logs").glob("*.log"))]
        return "\n".join(f"== {log.name}\n{log.read_text()[-6000:]}" for log in logs)

    def command(self, *words, **variables):
        """Another `hybridscreen` command against this server; variables that are None are taken away."""
        mine = self.environment | {"PREFECT_API_URL": f"{self.url}/api"} | variables
        return subprocess.run(
            [*COMMAND, *map(str, words)],
            env={name: value for name, value in mine.items() if value is not None},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def end(self, number=signal.SIGTERM):
        """Tell it to stop; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=120)

    def processes(self):
        """Processes that live on its folder, however they were started."""
        home, found = str(self.folder / "state" / "prefect"), []
        for each in psutil.process_iter():
            try:
                if each.environ().get("PREFECT_HOME") == home and each.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(each.cmdline()))
            except psutil.Error:
                continue
        return found
