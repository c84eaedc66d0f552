"""The whole service on this machine: Prefect server, worker and deployments, until it is told to stop."""

import errno
import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.console import out
from flows.processes import Family
from tasks.campaigns.reading import read_config
from tasks.errors import HybridScreenError, UserError

_STARTUP = 240.0  # seconds; a first start on a busy machine has taken 60
_BETWEEN = 1.0
_WORKER = ("--type", "process", "--name", "this-machine", "--install-policy", "never")


@dataclass(frozen=True)
class Service:
    """What is to be served. `folder` keeps the server's database and the logs."""

    folder: Path
    host: str
    port: int

    @property
    def address(self) -> str:
        """Where the UI is; the API is below it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 (compared, not bound)
        return f"http://{host}:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """What every process needs, this one too: folder, addresses, no telemetry."""
        settings = {
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": f"{self.address}/api",
            "PREFECT_SERVER_API_HOST": self.host,
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_UI_V2_ENABLED": "false",  # those pages call a host that counts users, whatever else is said
            "DO_NOT_TRACK": "1",
        }
        password = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
        return settings if password is None else {"PREFECT_API_AUTH_STRING": password, **settings}

    @property
    def settings_below(self) -> dict[str, str]:
        """What server and worker get besides: they log, which this command's terminal is spared."""
        pace = os.environ.get("PREFECT_WORKER_QUERY_SECONDS", "2")  # 10 by default, which a person at a form feels
        levels = {"PREFECT_LOGGING_LEVEL": "INFO", "PREFECT_SERVER_LOGGING_LEVEL": "WARNING"}
        return {**levels, "PREFECT_WORKER_QUERY_SECONDS": pace}


def serve(service: Service, campaigns: Sequence[Path], forget: Sequence[str] = ()) -> None:
    """Start everything, say when it is ready, tell of runs, and end everything on SIGINT or SIGTERM.

    Args:
        service: Folder, host and port.
        campaigns: Campaign files to register beside those that are.
        forget: Names to take out of the register.

    Raises:
        UserError: The folder is served already, the port is taken, or a campaign file has a mistake.
        HybridScreenError: A process ended by itself, or was not ready in time.
    """
    for path in campaigns:
        read_config(path)  # a mistake should not take as long to be named as a server takes to start
    with _told_to_stop() as stop, _only_one(service.folder):
        _require_free(service.host, service.port)
        os.environ.update(service.settings)
        with Family(service.folder / "logs", service.settings_below) as family:
            _run(service, family, stop, campaigns, forget)
            _say("Stopping")
        _say("Stopped")


def _run(
    service: Service, family: Family, stop: threading.Event, campaigns: Sequence[Path], forget: Sequence[str]
) -> None:
    prefect = [sys.executable, "-m", "prefect"]
    _say(f"Starting; database and logs are in {service.folder}")
    family.start("server", [*prefect, "server", "start"])
    from flows.deploying import POOL, deploy  # Prefect reads its settings when it is imported
    from flows.following_runs import RunLog, server_is_healthy, worker_is_online

    if not _wait(stop, family, "server", server_is_healthy):
        return

    deployed = deploy(campaigns, forget)
    _say(f"Deployments: {', '.join(deployed.deployments)}")
    _say(f"Campaigns: {', '.join(deployed.campaigns) or 'none yet; register one: hybridscreen deploy campaign.yaml'}")
    family.start("worker", [*prefect, "worker", "start", "--pool", POOL, *_WORKER])
    if not _wait(stop, family, "worker", worker_is_online):
        return
    _say(f"Ready: {service.address} (Ctrl-C ends it)")
    log = RunLog()
    while not stop.wait(_BETWEEN):
        family.require_alive()
        for line in log.news():
            _say(line)


def _wait(stop: threading.Event, family: Family, name: str, ready: Callable[[], bool]) -> bool:
    """Wait until something is ready; False when told to stop before."""
    waited = 0.0
    while not ready():
        family.require_alive()
        if waited > _STARTUP:
            raise HybridScreenError(f"the {name} was not ready after {_STARTUP:.0f} s; see its log")
        if stop.wait(_BETWEEN):
            return False
        waited += _BETWEEN
    return True


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the folder: two servers on one database would lock each other out."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "serve.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                "is served already", where=str(folder), todo="End that one, or name another --into."
            ) from error
        yield


def _require_free(host: str, port: int) -> None:
    """Raise a UserError if nothing can listen there."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0], found[1]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[4])
    except OSError as error:
        reason = "the port is taken" if error.errno == errno.EADDRINUSE else f"cannot listen here: {error.strerror}"
        raise UserError(reason, where=f"{host}:{port}", todo="Name another: --port (and --host).") from error


def _say(line: str) -> None:
    out.print(f"{time.strftime('%H:%M:%S')}  {line}", markup=False)
