"""A process that has imported everything once, and forks one of its own for every order that it reads.

An order is a line of JSON: `do` with its arguments, where its answer goes, at which boundary it dies, variables of its
environment. The answer to an order is the status of the process that carried it out. A fork costs milliseconds, an
import of everything many seconds; nothing else runs in this process, so that a fork is a fresh start.
"""

import importlib
import itertools
import json
import os
import pkgutil
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boundaries as watching

import tasks
from flows import campaign, plates, release, round, self_test, sharing, uploading
from tasks.errors import HybridScreenError
from tasks.labs.rounds import answer_all
from tasks.labs.tiny import tiny_lab

SECONDS = 900.0


#: What the product, or what it stands on, imports only when it is needed.
LATER = (
    *("anndata", "anyio._backends._asyncio", "fastapi", "fsspec.implementations.local", "h5py", "plotly.graph_objects"),
    *(
        "prefect.engine",
        "prefect.flow_engine",
        "prefect.task_engine",
        "prefect.telemetry",
        "pyarrow.dataset",
        "sklearn",
    ),
    *("pyarrow.parquet", "sklearn.ensemble", "sklearn.gaussian_process", "sympy", "torch", "torch._dynamo", "zarr"),
)


def import_the_rest():
    """Import everything, and start nothing: a fork carries only the thread that it was made by."""
    for name in LATER:
        importlib.import_module(name)
    for found in pkgutil.walk_packages(tasks.__path__, "tasks."):
        importlib.import_module(found.name)
    if threading.active_count() > 1:
        raise RuntimeError(f"an import has started threads: {threading.enumerate()}")


def put_manifests_first():
    """Break the product, to see that it is found out: a checkpoint's manifest is there before its payloads."""
    from tasks.checkpoints.storage import Storage

    create, later = Storage.create, {}

    def create_first(self, path, data):
        made = create(self, path, data)
        if path.startswith("checkpoints/"):
            for name, content in later.pop(threading.get_ident(), {}).items():
                self.write(name, content)
        return made

    Storage.create = create_first
    Storage.write_many = lambda self, files: later.setdefault(threading.get_ident(), {}).update(files)


def be_impatient():
    """Wait for S3 no longer than a test has time: short silences, and the shortest pauses that could be drawn."""
    import random

    from tasks.checkpoints import s3_client

    options = s3_client.client_options

    def short():
        found = options()
        found["config_kwargs"] |= {"read_timeout": 10}
        return found

    s3_client.client_options, s3_client._PAUSES, random.random = short, (0.01, 0.02, 0.05), lambda: 0.0


def let_the_clock_jump(days):
    """From one look at it to the next the clock goes so many days on or back, by turns."""
    from datetime import datetime, timedelta

    from tasks.checkpoints import pieces

    looks = itertools.count()

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=days * (next(looks) % 2))

    pieces.datetime, seconds = Clock, time.time
    time.time = lambda: seconds() + 86400 * days * (next(looks) % 2)


def measure(path):
    """The lab measures what is designed or asked for and not there."""
    from tasks.campaigns.ledger import Ledger
    from tasks.campaigns.reading import read_config

    return list(answer_all(Ledger.of(read_config(path)).storage, tiny_lab()))


def upload(path, *files):
    return uploading.upload(path, [Path(file) for file in files], None)


def abandon(path, decision, barcode, note):
    return plates.repeat_plates(path, decision, [barcode], note)


def threads(path, count):
    """The same round in so many threads of this process at once."""
    with ThreadPoolExecutor(int(count)) as pool:
        return json.dumps([result.model_dump(mode="json") for result in pool.map(round.run_round, [path] * int(count))])


DO = {
    "open": campaign.open_campaign,
    "round": round.run_round,
    "release": release.release_batch,
    "plates": abandon,
    "publish": sharing.publish_screen,
    "upload": upload,
    "measure": measure,
    "self-test": self_test.self_test,
    "threads": threads,
}


def carry_out(order):
    """Do what is ordered, in this process, and write down what came of it."""
    os.environ.update(order.get("environment", {}))
    out = Path(order["out"])
    if os.environ.get("FAULTS_IMPATIENT"):
        be_impatient()
    if order.get("clock"):
        let_the_clock_jump(order["clock"])
    told = {}
    boundaries = None
    if order.get("watch", True):
        boundaries = watching.Boundaries(order.get("kill"), order.get("full"))
        watching.tell_flow_run(boundaries, out.with_suffix(".run"))
        watching.watch(boundaries)
    try:
        result = DO[order["do"]](*order["arguments"], **order.get("options", {}))
    except HybridScreenError as error:
        told["refusal"] = str(error)
    except Exception:  # noqa: BLE001  (whatever it is, who ordered it is told)
        told["error"] = traceback.format_exc()
    else:
        told["result"] = result.model_dump(mode="json") if hasattr(result, "model_dump") else str(result)
    if boundaries is not None:
        boundaries.at("answered")
        told |= {"passed": boundaries.passed, "computed": boundaries.computed}
        told["reads"] = {path: sorted(digests) for path, digests in boundaries.reads.items()}
    out.write_text(json.dumps(told))


def crowd(order):
    """Statuses of many processes that carry out the same order at the same moment, each with an answer of its own."""
    begin, go = os.pipe()
    children = []
    for number in range(order["crowd"]):
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(begin, 1)  # ends for all of them when the other end is closed
            perform(order | {"out": f"{order['out']}.{number}.json"})
        children.append(child)
    os.close(begin)
    os.close(go)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def perform(order):
    """Carry out an order in this process, which ends with it."""
    status = 1
    try:
        log = os.open(order["out"] + ".log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        carry_out(order)
        status = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(status)


def fork(order):
    """Status of the process that carried out an order: 0, or minus a signal, or 124 after too long a time."""
    child = os.fork()
    if child == 0:
        perform(order)
    deadline = time.monotonic() + order.get("seconds", SECONDS)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 124
        time.sleep(0.01)


def say(**what):
    """A line for who gives the orders."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main():
    """Carry out orders until there are no more."""
    import_the_rest()
    if os.environ.get("FAULTS_MANIFEST_FIRST"):
        put_manifests_first()
    say(ready=os.getpid())
    for line in sys.stdin:
        order = json.loads(line)
        say(status=crowd(order) if "crowd" in order else fork(order))


if __name__ == "__main__":
    main()
