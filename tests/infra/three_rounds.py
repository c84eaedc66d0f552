"""A campaign on the stack: where it lies, the lab that measures its plates, and what the server says of its runs."""

import os
import time
from contextlib import ExitStack, contextmanager

import numpy as np
import pandas as pd
import yaml
from stack import Stack, answers, asked, free_ports, servers, wait_for

from tasks.campaigns.ledger import Ledger
from tasks.campaigns.reading import read_config
from tasks.checkpoints.storage import Storage
from tasks.labs.replay import LabConfig, ReplayLab
from tasks.labs.rounds import answer_round

NAME = "kinase"


def write_campaign(folder, dask):
    """Campaign of 240 made-up compounds whose batches want approval; its file."""
    folder.mkdir()
    library(240).to_csv(folder / "library.csv", index=False)
    content = {
        "campaign": {"name": NAME, "seed": 5, "storage": "s3://hybridscreen/screens"},
        "approval": "required",
        "library": {"uri": "library.csv"},
        "readout": {"kind": "continuous", "tolerance": 1.0},
        "plates": {
            "format": 96,
            "negcon": {"wells": ["A01:H02"], "nominal": 0.0, "reagent": "DMSO"},
            "poscon": {"wells": ["A11:H12"], "nominal": 6.0, "reagent": "reference inhibitor"},
            "initial": 2,
            "per_round": 1,
        },
        "alignment": {"method": "two-point"},
        "compute": {"dask": dask, "group_members": 2, "chunk_rows": 1024},
        "ensemble": {"members": 8, "hidden": [16], "epochs": 10, "patience": 10},
        "operators": {"sketch": 8, "features": 4},
        "batch": {"audit": 0.15, "adaptive": {"repeats": 2}},
        "stopping": {"gamma": 0.97, "max_rounds": 4},
    }
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def library(n):
    """Made-up compounds, four descriptors each."""
    numbers = pd.DataFrame(np.random.default_rng(1).normal(size=(n, 4)), columns=["weight", "logp", "tpsa", "donors"])
    return numbers.round(4).assign(perturbation=[f"CPD-{i:04d}" for i in range(n)])


class Lab:
    """Measures what was released; its files come by `deliver` or stay on the instrument."""

    def __init__(self, campaign, folder):
        values = pd.read_csv(campaign.parent / "library.csv")
        values["value"] = 3 + 2 * np.sin(values["logp"]) + values["weight"] * values["tpsa"]
        self.lab = ReplayLab(
            values[["perturbation", "value"]],
            LabConfig(seed=1, well_noise=0.2, poscon_value=6.0, negcon_value=0.0, failures=((0, 2),)),
        )
        self.campaign, self.folder = campaign, folder

    def measure(self, round_index):
        """New plate files of a round, on the instrument's own disk."""
        remote = Ledger.of(read_config(self.campaign)).storage
        here = Storage(str(self.folder))
        for name in (*remote.list("rounds"), *remote.list("inbox")):
            here.create(name, remote.read(name))
        return [self.folder / path for path in answer_round(here, self.lab, round_index)]

    def deliver(self, files):
        """Copy files into the inbox, as an instrument's own software would: nobody is told."""
        remote = Ledger.of(read_config(self.campaign)).storage
        for file in files:
            assert remote.create(f"inbox/{file.name}", file.read_bytes())


class Runs:
    """What became of the runs of a deployment."""

    ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

    def __init__(self, stack):
        self.stack = stack

    def of(self, deployment):
        """Those that have begun, oldest first."""
        wanted = {"deployments": {"name": {"any_": [deployment]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return [run for run in asked(self.stack, "flow_runs/filter", wanted) if run["state"]["type"] != "SCHEDULED"]

    def ended(self, deployment, count, seconds=400):
        """The newest of `count` runs, ended."""
        deadline = time.monotonic() + seconds
        while len(runs := self.of(deployment)) < count or runs[-1]["state"]["type"] not in self.ENDS:
            assert time.monotonic() < deadline, [(run["name"], run["state"]["name"]) for run in runs]
            time.sleep(0.5)
        return runs[-1]

    def settled(self, deployment, seconds=400):
        """Wait until none is under way or due."""
        wanted = {"deployments": {"name": {"any_": [deployment]}}}
        deadline = time.monotonic() + seconds
        while open_ := {
            run["state"]["name"] for run in asked(self.stack, "flow_runs/filter", wanted)
            if run["state"]["type"] not in self.ENDS
        }:  # fmt: skip
            assert time.monotonic() < deadline, open_
            time.sleep(0.5)

    def tasks(self, run):
        """The state of each task, by its name."""
        found = asked(self.stack, "task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}, "limit": 200})
        return {task["name"]: task["state"] for task in found}

    def log(self, run):
        """What a run said."""
        found = asked(self.stack, "logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "limit": 200})
        return "\n".join(line["message"] for line in found)

    def schedule(self, deployment, **changed):
        """Change the schedule of a deployment."""
        (found,) = [each for each in asked(self.stack, "deployments/filter", {}) if each["name"] == deployment]
        (schedule,) = found["schedules"]
        asked(self.stack, f"deployments/{found['id']}/schedules/{schedule['id']}", changed, method="PATCH")


@contextmanager
def running(folder):
    """The whole stack with the campaign registered: stack, file of the campaign, lab."""
    store = {f"STORE_{ours}": os.environ[f"AWS_{theirs}"] for ours, theirs in
             {"URL": "ENDPOINT_URL", "KEY": "ACCESS_KEY_ID", "SECRET": "SECRET_ACCESS_KEY"}.items()}  # fmt: skip
    store |= {f"DASK_{name}": store[name] for name in ("STORE_KEY", "STORE_SECRET")}
    stack = Stack(folder, **store)
    with ExitStack() as opened:
        opened.enter_context(servers(stack))
        stack.run("store-bucket")
        opened.enter_context(stack.start("dask-scheduler"))
        for _ in range(2):
            opened.enter_context(stack.start("dask-worker"))
            stack.ports["dask-worker-page"] = free_ports(1)[0]
        health = str(stack.ports["health"])
        address = {"PREFECT_WORKER_WEBSERVER_PORT": health, "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1"}
        opened.enter_context(stack.start("prefect-worker", **address, PREFECT_WORKER_QUERY_SECONDS="1"))
        campaign = write_campaign(folder / "campaigns", stack.here("tcp://dask-scheduler:8786"))
        stack.run("prefect-worker", "hybridscreen", "deploy", campaign)
        wait_for(lambda: answers(f"http://127.0.0.1:{health}/health") == 200)
        yield stack, campaign, Lab(campaign, folder / "instrument")
