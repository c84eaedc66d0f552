"""What a round stands on is lost: a full disk, a jumping clock, a dead Prefect server, dead parts of a Dask cluster."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import yaml
from clusters import scheduler, worker
from judged import checkpoints, differences, digests, torn
from kill_points import enumerate_points, judge_restart, undisturbed
from scenes import Scene, Stage
from warmed import serving, warmed

ROUND = Scene("round 0", ("open", "measure"), "round", changes={"compute": {"group_members": 1}})
DAYS = (400, -400)
TIMES_FULL = 12


def try_full(stage, server, expected, point):
    """The disk is full from a file on: one line, nothing left lying about, and with space again the round goes on."""
    stage.again()
    status, answer, _ = stage.perform(full=point)
    line = (answer or {}).get("refusal", "")
    problems = [] if status == 0 and "No space left" in line and "\n" not in line else [f"no clear line: {answer}"]
    left = [path for path in stage.campaign.rglob(".tmp-*")]
    problems += [f"left lying about: {path.name}" for path in left]
    finished = checkpoints(stage)
    return problems + torn(stage) + judge_restart(stage, server, expected, finished, stage.perform())


def try_clock(stage, server, expected, days):
    """The clock jumps to and fro during the whole round."""
    stage.again()
    return judge_restart(stage, server, expected, {}, stage.perform(clock=days))


def meanwhile(stage, what, **how):
    """Perform a scene; once its first piece of the fit is stored, do something to it. The answer."""
    with ThreadPoolExecutor(1) as pool:
        performed = pool.submit(stage.perform, **how)
        fit = stage.campaign / "checkpoints" / "fit"
        while not performed.done() and not list(fit.rglob("manifest.json")):
            time.sleep(0.02)
        what()
        return performed.result()


def try_server(stage, server, expected):
    """Prefect's server is killed during the round, and comes back with its database."""

    def restart():
        server.kill()
        server.start()

    stage.again()
    meanwhile(stage, restart)
    finished = checkpoints(stage)
    return torn(stage) + judge_restart(stage, server, expected, finished, stage.perform())


def try_dask(stage, expected, dies):
    """A worker, or the scheduler, is killed during the fit; then there is a new cluster."""
    stage.again()
    content = yaml.safe_load(stage.path.read_text())
    with ExitStack() as stack:

        def cluster():
            process, address = stack.enter_context(scheduler())
            workers = [stack.enter_context(worker(address)) for _ in range(2)]
            content["compute"] = {"dask": address, "group_members": 1, "wait_seconds": 60.0}
            stage.path.write_text(yaml.safe_dump(content))
            return {"scheduler": process, "worker": workers[0]}[dies]

        status, answer, _ = meanwhile(stage, cluster().kill)
        problems = [f"it ended with {status}: {answer}"] if status != 0 or "error" in answer else []
        problems += [f"it stopped: {answer}"] if dies == "worker" and "result" not in answer else []
        finished = checkpoints(stage)
        if "result" not in answer:
            cluster()
            status, answer, _ = stage.perform()
        if "result" not in (answer or {}):
            return [*problems, f"started again it ended with {status}: {answer}"]
    now = checkpoints(stage)
    problems += [f"a finished checkpoint was changed: {key}" for key, data in finished.items() if now.get(key) != data]
    return problems + torn(stage) + differences(_without_places(digests(stage)), _without_places(expected.files))


def _without_places(files):
    """Where a round is computed stands in the configuration and its revisions, and nowhere else."""
    return {name: digest for name, digest in files.items() if not name.endswith(".yaml")}


def try_all(folder, every=1):
    """Outcomes of every loss: what, where, what was wrong."""
    with serving(folder) as server:
        home = {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(folder / "home")}
        with warmed(folder, 1, **home) as (warm,):
            stage = Stage(ROUND, folder / "stage", warm)
            expected = undisturbed(stage, server)
            points = [point for point in enumerate_points(expected.passed) if point.startswith("half of")]
            few = points[:: max(1, len(points) * every // TIMES_FULL)]
            found = [("disk full", point, try_full(stage, server, expected, point)) for point in few]
            found += [("clock", f"{days} days", try_clock(stage, server, expected, days)) for days in DAYS]
            found.append(("Prefect server", "killed during the fit", try_server(stage, server, expected)))
            for dies in ("worker", "scheduler"):
                found.append(("Dask", f"{dies} killed during the fit", try_dask(stage, expected, dies)))
    return found
