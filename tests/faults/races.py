"""Many at once where one must win: rounds, publications, uploads, and two campaigns in one storage."""

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import yaml
from judged import differences, digests, torn
from scenes import Scene, Stage
from warmed import serving, warmed

AT_ONCE = 20
# 20 runs at once keep Prefect's server on SQLite waiting for more than a minute on few cores; that is not the race.
PATIENT = {"PREFECT_API_REQUEST_TIMEOUT": "600", "PREFECT_CLIENT_MAX_RETRIES": "30"}
UNDER_WAY = ("SCHEDULED", "PENDING", "RUNNING")
ROUND = Scene("round 0", ("open", "measure"), "round")


def results(answers):
    """Results of the processes that ended well, and what the others said."""
    return [each["result"] for each in answers if "result" in each], [each for each in answers if "result" not in each]


def one_winner(found):
    """What is wrong with the answers of rounds that raced."""
    said, errors = found
    problems = [f"one of them failed: {each}" for each in errors]
    winners = [each for each in said if each["status"] == "decided"]
    problems += [] if len(winners) == 1 else [f"{len(winners)} say that they have published"]
    told = [each["message"] for each in said if each["status"] == "unchanged"]
    problems += [f"a loser does not say so: {line}" for line in told if " run 01" not in line]
    if len({(each["run"], each["screen"]) for each in said}) != 1:
        problems.append("they speak of different runs")
    released = [each for each in said if each["released"]]
    return problems + ([] if len(released) == 1 else [f"{len(released)} say that they have released the design"])


def same_as_alone(stage, expected):
    """What is wrong with the files afterwards."""
    return differences(digests(stage), expected) + torn(stage)


def race_of_rounds(stage, warm, expected, threads):
    stage.again()
    if threads:
        status, answer, _ = warm.order("threads", stage.path, AT_ONCE, watch=False)
        if status != 0 or "result" not in answer:
            return [f"it ended with {status}: {answer}"]
        found = json.loads(answer["result"]), []
    else:
        found = results(warm.crowd(AT_ONCE, "round", stage.path))
    return one_winner(found) + same_as_alone(stage, expected)


@contextmanager
def workers(server, count, limit):
    """Prefect workers that take up runs of the project's deployments, so many each at a time."""
    order = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "hybridscreen", "--limit", str(limit)]
    more = {**PATIENT, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    with (server.folder / "workers.log").open("ab") as log:
        started = [
            subprocess.Popen(order, env=server.environment | more, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            for _ in range(count)
        ]
    try:
        yield
    finally:
        for each in started:
            each.terminate()
        for each in started:
            each.wait(timeout=60)


def race_of_workers(stage, server, expected, seconds=1800):
    """Runs of the deployment `round`, started at the same moment and taken up by two workers."""
    stage.again()
    command = [Path(sys.executable).with_name("hybridscreen"), "deploy", stage.path]
    subprocess.run(command, env=server.environment, check=True, capture_output=True)
    deployment = server("/deployments/name/round/round")["id"]
    order = {"parameters": {"campaign": "self-test"}, "state": {"type": "SCHEDULED"}}
    with workers(server, 2, AT_ONCE // 2):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            made = list(pool.map(lambda _: server(f"/deployments/{deployment}/create_flow_run", order), range(AT_ONCE)))
        deadline, states = time.monotonic() + seconds, {}
        while len(states) < AT_ONCE and time.monotonic() < deadline:
            time.sleep(2)
            found = server("/flow_runs/filter", {"flow_runs": {"id": {"any_": [run["id"] for run in made]}}})
            states = {run["id"]: run["state"] for run in found if run["state"]["type"] not in UNDER_WAY}
    problems = [f"{AT_ONCE - len(states)} have not ended"] if len(states) < AT_ONCE else []
    problems += [
        f"one says {each['name']}: {each['message']}" for each in states.values() if each["name"] != "Completed"
    ]
    losers = [each for each in states.values() if "run 01" in (each["message"] or "")]
    problems += [] if len(losers) == len(states) - 1 else [f"{len(losers)} say that another run has published"]
    return problems + same_as_alone(stage, expected)


def race_of_publications(stage, warm):
    """Copies of one screen to one place."""
    target = stage.folder / "copies"
    said, errors = results(warm.crowd(AT_ONCE, "publish", stage.path, target))
    problems = [f"one of them failed: {each}" for each in errors]
    winners = sum(each["newly"] for each in said)
    problems += [] if winners == 1 else [f"{winners} say that they have made the copy"]
    original = stage.campaign / "screens" / "0001"
    copy = target / "self-test" / "0001"
    names = {path.relative_to(original) for path in original.rglob("*") if path.is_file()}
    unlike = [str(name) for name in names if (copy / name).read_bytes() != (original / name).read_bytes()]
    return problems + [f"differs in the copy: {name}" for name in unlike]


def race_of_uploads(stage, warms, expected):
    """A plate is uploaded, twice at once, while the round takes in the other one again and again."""
    stage.again()
    inbox = stage.campaign / "inbox"
    late = sorted(inbox.iterdir())[-1]
    shutil.move(late, stage.folder / late.name)
    with ThreadPoolExecutor(1) as pool:
        rounds = pool.submit(lambda: [warms[0].order("round", stage.path, watch=False)[1] for _ in range(3)])
        answers = warms[1].crowd(4, "upload", stage.path, stage.folder / late.name)
        before = rounds.result()
    said, errors = results(answers)
    problems = [f"a round failed: {each}" for each in before if "result" not in each]
    problems += [f"an upload failed: {each}" for each in errors if "somebody uploads" not in each.get("refusal", "")]
    winners = sum(bool(each["new"]) for each in said)
    problems += [] if winners == 1 else [f"{winners} say that the file is new"]
    _, last, _ = warms[0].order("round", stage.path, watch=False)
    result = last.get("result", {})
    if (result.get("plates_passed"), result.get("plates_planned")) != (2, 2):
        problems.append(f"a plate is lost: {last}")
    elif result["decision"]["wells_used"] != expected["wells_used"]:
        problems.append(f"{result['decision']['wells_used']} wells are counted, not {expected['wells_used']}")
    return problems + torn(stage)


def race_of_campaigns(stage, warms, expected):
    """Two campaigns in one storage, both computed at once: neither knows of the other."""
    stage.again()
    content = yaml.safe_load(stage.path.read_text())
    content["campaign"]["name"] = "other"
    other = stage.folder / "other.yaml"
    other.write_text(yaml.safe_dump(content))
    for command in ("open", "measure"):
        warms[1].order(command, other, watch=False)
    with ThreadPoolExecutor(2) as pool:
        pairs = zip(warms, (stage.path, other), strict=True)
        answers = list(pool.map(lambda pair: pair[0].order("round", pair[1], watch=False)[1], pairs))
    problems = [f"one of them failed: {each}" for each in answers if "result" not in each]
    ours = {name: digest for name, digest in digests(stage).items() if "other" not in name}
    return problems + differences(ours, expected) + torn(stage)


def try_all(folder, every=1):
    """Outcomes of every race: what, how, what was wrong."""
    with serving(folder) as server:
        home = {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(folder / "home"), **PATIENT}
        with warmed(folder, 2, **home) as warms:
            warm = warms[0]
            stage = Stage(ROUND, folder / "stage", warm)
            status, answer, _ = stage.perform(watch=False)
            assert status == 0, status
            expected, decision = digests(stage), answer["result"]["decision"]
            copies = race_of_publications(stage, warm)
            return [
                ("race", f"publish, {AT_ONCE} processes", copies),
                ("race", f"round, {AT_ONCE} processes", race_of_rounds(stage, warm, expected, threads=False)),
                ("race", f"round, {AT_ONCE} threads", race_of_rounds(stage, warm, expected, threads=True)),
                (
                    "race",
                    f"round, {AT_ONCE} runs of the deployment, two workers",
                    race_of_workers(stage, server, expected),
                ),
                ("race", "uploads while ingesting", race_of_uploads(stage, warms, decision)),
                ("race", "two campaigns in one storage", race_of_campaigns(stage, warms, expected)),
            ]
