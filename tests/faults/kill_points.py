"""Kill at every boundary, start again, and compare with what was never disturbed."""

import queue
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from judged import checkpoints, differences, digests, misread, torn
from scenes import SCENES, Stage
from warmed import report_lost_runs, serving, warmed

#: What many boundaries have in common: an AnnData is many files, a checkpoint several, and a step reads many plates.
_ALIKE = (
    (re.compile(r"(\.zarr)/\S.*"), r"\1/…"),
    (re.compile(r"(checkpoints/\w+/\w\w/\w{64})/(?!manifest).*"), r"\1/…"),
    (re.compile(r" \(\d+\)$"), ""),
)
_ONLY_LOOKS = re.compile(r"(before|after) (read|size|list|folders|signs) ")
_LOOKED_AT = (
    (re.compile(r"(checkpoints/\w+)/.*"), r"\1/…"),
    (re.compile(r"(rounds|runs|screens|revisions)/\d+"), r"\1/…"),
    (re.compile(r"(inbox|library)/.+"), r"\1/…"),
)


def enumerate_points(passed):
    """The points to kill at, of all boundaries that an undisturbed run passed, in order.

    Every boundary of a file, a checkpoint, a computation, a node, a task and the flow; of the payload files of one
    checkpoint the first and the last one, of the files of one AnnData the middle one too. Looking changes nothing: of
    the reads, and of the listings, of one kind of thing the first and the last one.
    """
    groups = {}
    for name in passed:
        group = name
        for pattern, to in (*_ALIKE, *(_LOOKED_AT if _ONLY_LOOKS.match(name) else ())):
            group = pattern.sub(to, group)
        groups.setdefault(group, []).append(name)
    kept = set()
    for group, names in groups.items():
        kept |= {names[0], names[-1], *([names[len(names) // 2]] if group.endswith(".zarr/…") else [])}
    return [name for name in passed if name in kept]


@dataclass(frozen=True)
class Undisturbed:
    """What a scene comes to where nothing goes wrong."""

    passed: tuple[str, ...]
    files: dict
    state: tuple | None


@dataclass(frozen=True)
class Trial:
    """What became of one point. `reached` is False where threads ran in another order and the name was not met."""

    scene: str
    point: str
    reached: bool
    problems: tuple[str, ...]
    killed_run: str | None


def undisturbed(stage, server):
    """Perform a scene twice without a fault: both must come to the same, or nothing could be compared with it."""
    seen = []
    for _ in range(2):
        stage.again()
        status, answer, run = stage.perform()
        assert status == 0, status
        assert "result" in answer, answer
        assert not torn(stage), torn(stage)
        seen.append(Undisturbed(tuple(answer["passed"]), digests(stage), server.state(run) if run else None))
    assert not differences(seen[0].files, seen[1].files), differences(seen[0].files, seen[1].files)
    return seen[0]


def try_point(stage, server, expected, point):
    """Kill at a point, start again, and look."""
    stage.again()
    status, _, killed = stage.perform(kill=point)
    problems = [] if status in (0, -9) else [f"the process ended with {status}"]
    problems += torn(stage)
    if status == -9 and killed and point != "answered":
        kind, name = server.state(killed)
        problems += [f"the killed run says {name}"] if kind not in ("PENDING", "RUNNING") else []
    finished = checkpoints(stage)
    status_again, answer, run = stage.perform()
    problems += judge_restart(stage, server, expected, finished, (status_again, answer, run))
    return Trial(stage.scene.name, point, status == -9, tuple(problems), killed if status == -9 else None)


def judge_restart(stage, server, expected, finished, performed):
    """What is wrong after a scene was performed again."""
    status, answer, run = performed
    if status != 0 or answer is None or "result" not in answer:
        said = None if answer is None else answer.get("refusal") or answer.get("error")
        return [f"started again, it ended with {status}: {said}"]
    problems = differences(digests(stage), expected.files) + torn(stage) + misread(answer)
    problems += [f"computed again: {each}" for each in answer["computed"] if each in finished]
    now = checkpoints(stage)
    problems += [f"a finished checkpoint was changed: {key}" for key, data in finished.items() if now.get(key) != data]
    if run and server.state(run) != expected.state:
        problems.append(f"the run started again says {server.state(run)} instead of {expected.state}")
    return problems


def try_scene(scene, part, warm, server, folder, every, first):
    """Trials of one part of a scene's points, every n-th from `first` on, and how many points the whole scene has."""
    stage = Stage(scene, folder / "stage", warm)
    expected = undisturbed(stage, server)
    points = enumerate_points(expected.passed)
    mine = points[first::every][part :: scene.parts]
    return [try_point(stage, server, expected, point) for point in mine], len(points)


def try_all(folder, every=1, first=0, processes=2, scenes=SCENES):
    """Kill at every n-th point of every scene, from number `first` on, one process for each point.

    Returns:
        The trials, and the number of points of every scene.
    """
    jobs = [(scene, part) for scene in scenes for part in range(scene.parts)]
    jobs.sort(key=lambda job: job[0].parts, reverse=True)
    with serving(folder) as server:
        report_lost_runs(server)
        home = {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(folder / "home")}
        with warmed(folder, processes, PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30", **home) as warm:
            free = queue.SimpleQueue()
            for each in warm:
                free.put(each)

            def do(job):
                each = free.get()
                try:
                    return try_scene(*job, each, server, each.folder, every, first)
                finally:
                    free.put(each)

            with ThreadPoolExecutor(processes) as pool:
                done = list(pool.map(do, jobs))
        trials = [trial for found, _ in done for trial in found]
        lost = {trial.killed_run: trial for trial in trials if trial.killed_run and trial.point != "answered"}
        crashed = wait_until_crashed(server, lost)
    trials = [
        replace(trial, problems=(*trial.problems, f"its killed run says {crashed[trial.killed_run]} for ever"))
        if crashed.get(trial.killed_run, "Crashed") != "Crashed"
        else trial
        for trial in trials
    ]
    return trials, {scene.name: count for (scene, _), (_, count) in zip(jobs, done, strict=True)}


def wait_until_crashed(server, runs, seconds=150):
    """Name of the state of killed runs, once the server has found out that they are gone."""
    deadline = time.monotonic() + seconds
    states = {run: "" for run in runs}
    while time.monotonic() < deadline and any(state != "Crashed" for state in states.values()):
        time.sleep(2)
        states |= {run: server.state(run)[1] for run, state in states.items() if state != "Crashed"}
    return states
