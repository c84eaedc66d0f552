"""`bench rerun`: a round with nothing new, computed again as a command would, and what it asks of its storage.

A campaign of made-up plates is opened, measured and computed once; then its round is computed again, twice, each time
in a fresh process, which first starts Prefect with a flow that does nothing: the floor. What comes after it, imports
and all, is the rerun. The same with a quarter of the plates tells how requests grow. The processes share a Prefect
database of their own, or use the server of `PREFECT_API_URL`.

    python -m flows.bench_rerun FUNCTION ARGUMENTS ANSWER

is such a process: a function below, its arguments as JSON, and the file for its answer.
"""

import json
import math
import statistics
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flows.bench import Measured, Stopwatch
from flows.processes import Family
from tasks.checkpoints.progress import current_listener
from tasks.errors import HybridScreenError, UserError

DEFAULTS = {"plates": 100, "wells": 384, "storage": ""}
_TURNS = 2
_PARTS = 4  # the smaller campaign has one plate for so many of the larger one

Turn = dict[str, Any]


def run(folder: Path, sizes: dict[str, Any]) -> Measured:
    """Compute rounds of made-up plates once, and again.

    Args:
        folder: Where campaigns and Prefect's database go.
        sizes: plates (of round 0), wells (of a plate: 96 or 384), storage (empty: the folder; else an fsspec URL or a
            folder, below which the campaigns stay).

    Raises:
        UserError: Too few plates for a quarter of them, or another format.
        HybridScreenError: A rerun computed something, or its process failed.
    """
    plates, wells = sizes["plates"], sizes["wells"]
    if plates < _PARTS or wells not in (96, 384):
        got, expected = f"{plates} plates of {wells} wells", f"{_PARTS} plates or more, of 96 or 384 wells"
        raise UserError("bench rerun: no such campaign", got=got, expected=expected)
    base = _base(sizes["storage"], folder)
    done, total = 0, 2 * (1 + _TURNS)
    turns: dict[int, list[Turn]] = {}
    with Family(folder / "logs", {"PREFECT_HOME": str(folder / "prefect")}) as family:
        for count in (plates // _PARTS, plates):
            where, turns[count] = folder / str(count), []
            storage = f"{base}/{count}"
            for function, *args in [("compute", wells, count, storage), *[("recompute",)] * _TURNS]:
                turns[count].append(_answer(family, done, function, [str(where), *args]))
                done += 1
                current_listener().advanced("rerun", done, total)
    return _measured(turns, plates, base if sizes["storage"] else None)


def _base(storage: str, folder: Path) -> str:
    """Where the campaigns go."""
    name = f"bench-rerun-{uuid.uuid4().hex[:8]}"
    if not storage:
        return str(folder / "campaigns")
    return f"{storage.rstrip('/')}/{name}" if "://" in storage else str(Path(storage).resolve() / name)


def _answer(family: Family, number: int, function: str, args: list[Any]) -> Turn:
    """What a function gives in a process of its own."""
    name, where = f"{number}-{function}", Path(args[0])
    where.mkdir(parents=True, exist_ok=True)
    answer = where / f"{name}.json"
    family.start(name, [sys.executable, "-m", "flows.bench_rerun", function, json.dumps(args), str(answer)])
    status = family.wait(name)
    if status or not answer.exists():
        raise HybridScreenError(f"bench rerun: {family.last_line(name) or f'a process ended with {status}'}")
    found: Turn = json.loads(answer.read_text(encoding="utf-8"))
    return found


def _measured(turns: Mapping[int, list[Turn]], plates: int, kept: str | None) -> Measured:
    """Medians over turns; a rerun that computed something is none."""
    for count, (_, *again) in turns.items():
        for turn in again:
            if turn["computed"] or turn["status"] != "unchanged":
                which = ", ".join(turn["computed"][:3]) or turn["status"]
                raise HybridScreenError(
                    f"bench rerun: with {count} plates and nothing new, {len(turn['computed'])} of {turn['steps']} "
                    f"steps were computed: {which}"
                )
    few, many = (turns[count][1:] for count in sorted(turns))
    start, beyond, cpu = (statistics.median(turn[what] for turn in many) for what in ("start", "beyond", "cpu"))
    asked = many[-1]["asked"]
    facts: dict[str, Any] = {
        "steps": many[-1]["steps"],
        "computed": 0,
        "seconds_beyond_start": round(beyond, 3),
        **asked,
        "quarter": {
            "plates": min(turns),
            "steps": few[-1]["steps"],
            "seconds_beyond_start": round(statistics.median(turn["beyond"] for turn in few), 3),
            **few[-1]["asked"],
        },
        "growth_of_requests": growth(few[-1]["asked"]["requests"], asked["requests"], plates / min(turns)),
        "growth_of_bytes": growth(few[-1]["asked"]["bytes_received"], asked["bytes_received"], plates / min(turns)),
        "first_time_seconds": round(turns[max(turns)][0]["beyond"], 1),
    }
    if kept:
        facts["kept"] = kept
    return Measured(
        seconds=start + beyond,
        cpu_seconds=cpu,
        peak_rss_gib=max(turn["peak_rss_gib"] for turn in many),
        floor_seconds=start,
        facts=facts,
    )


def growth(few: float, many: float, times: float) -> float:
    """Exponent with which a count grows: 1 if it is proportional to what became `times` as many."""
    return round(math.log(many / few) / math.log(times), 3)


def compute(folder: str, wells: int, plates: int, storage: str) -> Turn:
    """Open a campaign, let the lab measure, and compute its round for the first time."""
    from tasks.labs.many_plates import many_plates_lab, write_campaign

    path = write_campaign(Path(folder), plates, wells, storage)

    def before() -> None:
        from flows.campaign import open_campaign
        from tasks.campaigns.ledger import Ledger
        from tasks.campaigns.reading import read_config
        from tasks.labs.rounds import answer_round

        open_campaign(str(path))
        answer_round(Ledger.of(read_config(path)).storage, many_plates_lab(plates, wells), 0)

    return _timed(str(path), before)


def recompute(folder: str) -> Turn:
    """Compute the round again."""
    return _timed(str(Path(folder) / "campaign.yaml"))


def _timed(path: str, before: Callable[[], None] = lambda: None) -> Turn:
    """Start Prefect, then compute the newest round; `before` is not timed."""
    watch = Stopwatch()
    with watch.of("start"):
        start_prefect()
    before()
    with watch.of("imports"):
        from flows.round import run_round
        from tasks.campaigns.reading import read_config
        from tasks.checkpoints.counting import counted
        from tasks.checkpoints.manifest import peak_rss_gib
    with counted(read_config(path).campaign.storage) as asked, watch.of("round"):
        result = run_round(path)
    return {
        "status": result.status,
        "steps": len(result.events),
        "computed": [event.node for event in result.computed],
        "start": watch.wall["start"],
        "beyond": watch.wall["imports"] + watch.wall["round"],
        "cpu": sum(watch.cpu.values()),
        "asked": asked.told(),
        "peak_rss_gib": peak_rss_gib(),
    }


def start_prefect() -> None:
    """Run a flow that does nothing."""
    from prefect import flow

    flow(name="nothing", persist_result=False)(_nothing)()


def _nothing() -> None:
    """The least that a flow can do."""


def _serve_one(function: str, args: str, answer: str) -> None:
    from flows.cli import prepare_environment

    prepare_environment()
    try:
        found = compute(*json.loads(args)) if function == "compute" else recompute(*json.loads(args))
    except HybridScreenError as error:
        sys.exit(str(error))
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    _serve_one(*sys.argv[1:])
