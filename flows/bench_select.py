"""`bench select`: one strategy on a made-up library, or an operator alone, beside the least that could do it.

The pool is written to a folder by a process of its own, then opened by each contender in one of its own, so that the
peak memory is that of holding the pool and choosing from it. Floor and contender take turns; times are medians over
turns. The floor is one look at the numbers at the bandwidth, and the strategy's unavoidable products at the rate of
products, both measured in the same run; picks that need further looks are beyond it. With `--from-disk` the look is
reading the chunks. Peers get the same pool in memory.
"""

import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.bench import Measured, Stopwatch
from flows.bench_child import Child
from tasks.checkpoints.keys import sha256
from tasks.errors import HybridScreenError, UserError

DEFAULTS = {
    "strategy": "expected-improvement",
    "pool": 1_000_000,
    "members": 50,
    "batch": 1000,
    "observed": 1000,
    "features": 64,
    "labels": 50_000,
    "workers": 0,
    "from_disk": False,
    "peers": False,
}
_TURNS = 3
_ENOUGH = 10.0  # seconds of turns after which no further one is taken
_WARM_UP = {"pool": 500, "observed": 20, "batch": 3, "labels": 200}


@dataclass(frozen=True)
class Plan:
    """What there is to time besides the strategy: peers by name, and why others are left out."""

    peers: tuple[str, ...]
    left_out: dict[str, str]


@dataclass(frozen=True)
class Turn:
    """One turn of a contender.

    Attributes:
        seconds: Of wall time.
        cpu_seconds: Of processors, its workers' included.
        rows: What it picked.
        held_gib: Peak memory before it began: the pool and what was imported [GiB].
        peak_rss_gib: Peak memory afterwards, of the largest of its processes [GiB].
        said: By a peer, about its picks.
    """

    seconds: float
    cpu_seconds: float
    rows: tuple[int, ...]
    held_gib: float
    peak_rss_gib: float
    said: str = ""


def run(folder: Path, sizes: dict[str, Any]) -> Measured:
    """Choose a batch from a made-up pool.

    Args:
        folder: Where the pool goes.
        sizes: strategy (also eigenmodes-alone and cobias), pool (who may be picked), members, batch, observed (measured
            before), features, labels (residuals of cobias), workers (processes of a Dask cluster; 0: the threads of
            one), from_disk, peers.

    Raises:
        UserError: No such strategy, sizes that do not go together, or the disk is too small.
        HybridScreenError: The same pool gave other picks.
    """
    with Child() as child:
        plan = child.call(prepare, folder, sizes)
    with Child() as bare, Child(has_workers=sizes["workers"] > 0) as child:
        floors, turns = [bare.call(least, folder, sizes)], list[Turn]()
        while len(turns) < _TURNS and sum(turn.seconds for turn in turns) < _ENOUGH:
            turns.append(child.call(choose, folder, sizes))
            floors.append(bare.call(least, folder, sizes))
    ours = _median(turns)
    peers = {}
    for name in plan.peers:
        with Child() as child:
            peers[name] = child.call(choose_as_peer, folder, sizes, name)
    return Measured(
        seconds=ours.seconds,
        cpu_seconds=ours.cpu_seconds,
        peak_rss_gib=ours.peak_rss_gib,
        floor_seconds=statistics.median(floors),
        peers={name: round(peer.seconds, 6) for name, peer in peers.items()},
        facts=_facts(ours, len(turns), peers, plan.left_out),
    )


def _facts(ours: Turn, turns: int, peers: dict[str, Turn], left_out: dict[str, str]) -> dict[str, Any]:
    """What was found besides; of peers only where there are any."""
    of_peers = {
        "peers_cpu_seconds": {name: round(peer.cpu_seconds, 6) for name, peer in peers.items()},
        "peers_peak_rss_gib": {name: peer.peak_rss_gib for name, peer in peers.items()},
        "peers_same_picks": {name: sum(row in peer.rows for row in ours.rows) for name, peer in peers.items()},
        "peers_said": {name: peer.said for name, peer in peers.items() if peer.said},
        "peers_left_out": left_out,
    }
    return {
        "turns": turns,
        "picked": len(ours.rows),
        "digest": _digest(ours.rows),
        "held_gib": ours.held_gib,
        **{name: found for name, found in of_peers.items() if found},
    }


def _median(turns: list[Turn]) -> Turn:
    """Of the times, each on its own; memory only grows from turn to turn."""
    if len({turn.rows for turn in turns}) > 1:
        raise HybridScreenError("bench select: the same pool and seed gave other picks in another turn")
    wall, cpu = (statistics.median(values) for values in zip(*((t.seconds, t.cpu_seconds) for t in turns), strict=True))
    return Turn(wall, cpu, turns[0].rows, turns[0].held_gib, turns[-1].peak_rss_gib)


def _digest(rows: tuple[int, ...]) -> str:
    """The same for the same picks in the same order."""
    return sha256(",".join(map(str, rows)).encode())[:16]


def prepare(folder: Path, sizes: dict[str, Any]) -> Plan:
    """Write the pool, and see which peers can be timed.

    Raises:
        UserError: No such strategy, sizes that do not go together, or the disk is too small.
    """
    from tasks.batches.bench_peers import PARTS, PEERS, installed
    from tasks.batches.bench_pool import write_pool
    from tasks.batches.bench_select import job_of

    job = job_of(sizes)
    peers, left_out = [], {}
    if sizes["peers"] and sizes["from_disk"]:
        raise UserError("peers choose from memory", where="bench select", got="--from-disk and --peers")
    for name, peer in PEERS.get(sizes["strategy"], {}).items() if sizes["peers"] else ():
        if not installed(peer):
            left_out[name] = f"{peer.package} is not installed"
        elif peer.largest is not None and sizes["pool"] > peer.largest:
            left_out[name] = f"more than {peer.largest} perturbations"
        else:
            peers.append(name)
    parts = tuple(dict.fromkeys([*job.parts, *(PARTS if peers else ())]))
    _require_disk(folder, job.sizes.disk(parts))
    write_pool(folder, job.sizes, parts)
    return Plan(tuple(peers), left_out)


def least(folder: Path, sizes: dict[str, Any]) -> float:
    """Seconds of the floor."""
    from tasks.batches.bench_select import floor, job_of

    return floor(folder, job_of(sizes))


def choose(folder: Path, sizes: dict[str, Any]) -> Turn:
    """One turn of the strategy, on this process's threads or on workers.

    What is imported on the way is not timed: a small pool comes first, or the whole one where a small one would leave
    some worker idle.
    """
    from tasks.batches.bench_pool import write_pool
    from tasks.batches.bench_select import job_of
    from tasks.checkpoints.manifest import peak_rss_gib

    small = folder / "small"
    with _place(sizes["workers"]) as place:
        warm_up = job_of({**sizes, **_WARM_UP})
        if not small.exists():
            small.mkdir()
            write_pool(small, warm_up.sizes, warm_up.parts)
        warm_up.prepare(small, place.move)()
        if sizes["workers"]:
            job_of(sizes).prepare(folder, place.move)()
        work, watch = job_of(sizes).prepare(folder, place.move), Stopwatch()
        held, spent = peak_rss_gib(), place.cpu_seconds()
        with watch.of("work"):
            rows = work()
        cpu = watch.cpu["work"] + place.cpu_seconds() - spent
        peak = max(peak_rss_gib(), place.peak_rss_gib())
    return Turn(watch.wall["work"], cpu, tuple(rows.tolist()), held, peak)


def choose_as_peer(folder: Path, sizes: dict[str, Any], name: str) -> Turn:
    """One turn of a peer; a small pool first, which is not timed."""
    from tasks.batches.bench_peers import PARTS, PEERS, open_given
    from tasks.batches.bench_pool import write_pool
    from tasks.batches.bench_select import job_of
    from tasks.checkpoints.manifest import peak_rss_gib

    peer, small = PEERS[sizes["strategy"]][name], folder / f"small {name}"
    warm_up = job_of({**sizes, **_WARM_UP}).sizes
    small.mkdir()
    write_pool(small, warm_up, PARTS)
    peer.pick(open_given(small, warm_up), _WARM_UP["batch"])
    given, watch = open_given(folder, job_of(sizes).sizes), Stopwatch()
    held = peak_rss_gib()
    with watch.of("work"):
        rows, said = peer.pick(given, sizes["batch"])
    return Turn(watch.wall["work"], watch.cpu["work"], tuple(rows.tolist()), held, peak_rss_gib(), said)


class _Here:
    """The threads of this process."""

    def move(self, rows: Any) -> Any:
        """Nothing: they are here."""
        return rows

    def cpu_seconds(self) -> float:
        """Of other processes."""
        return 0.0

    def peak_rss_gib(self) -> float:
        """Of other processes."""
        return 0.0


class _Workers:
    """The workers of a cluster.

    Args:
        client: Its client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def move(self, rows: Any) -> Any:
        """Rows that the workers hold or read."""
        from tasks.operators.cluster_rows import ClusterRows

        return ClusterRows(self._client, rows)

    def cpu_seconds(self) -> float:
        """Of all workers so far."""
        return float(sum(self._client.run(time.process_time).values()))

    def peak_rss_gib(self) -> float:
        """Of the largest worker."""
        from tasks.checkpoints.manifest import peak_rss_gib

        return float(max(self._client.run(peak_rss_gib).values()))


@contextmanager
def _place(workers: int) -> Iterator[_Here | _Workers]:
    if not workers:
        yield _Here()
        return
    from tasks.campaigns.compute_settings import ComputeSection
    from tasks.ensembles.cluster import connect

    with connect(ComputeSection(workers=workers)) as client:
        yield _Workers(client)


def _require_disk(folder: Path, needed: int) -> None:
    """Refuse what would fill the disk."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            "the disk is too small for this pool",
            where=str(folder),
            got=f"{free / 1e9:.1f} GB free",
            expected=f"{needed / 1e9:.1f} GB",
            todo="Give a smaller --pool, or set TMPDIR to a folder on a larger disk.",
        )
