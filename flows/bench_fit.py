"""`bench fit`: an ensemble trained as a campaign trains it in one process, beside the same members in plain torch.

Every contender has a process of its own, and they take turns: times are medians over the turns, so that what else the
machine does meets all alike. It does not meet them alike where a contender's threads wait for each other: on a busy
machine plain torch on all cores loses far more than its share, so it is timed on one thread too. The floor is the
matrix products alone, at the rate of large products in the same turns. On a GPU all is done once more in mixed
precision.
"""

import statistics
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows.bench import Measured, Stopwatch
from flows.bench_child import Child

DEFAULTS = {"members": 16, "features": 512, "hidden": 512, "labels": 10_000, "epochs": 3, "peers": True}
PEER = "plain torch, one member after another"
ONE_THREAD = "the same on one thread"
_OURS = "hybridscreen"
_TURNS = 3
_WARM_UP = {"labels": 200, "members": 4, "epochs": 1}


@dataclass(frozen=True)
class Turn:
    """One turn of a contender: seconds of wall and of processors, peak memory [GiB], mean held-out loss."""

    seconds: float
    cpu_seconds: float
    peak_rss_gib: float
    loss: float


@dataclass(frozen=True)
class Plan:
    """What follows from the sizes: device, labels a step, steps of a member, operations of all matrix products."""

    device: str
    batch: int
    steps: int
    operations: int


def run(folder: Path, sizes: dict[str, int]) -> Measured:
    """Train members on made-up labels.

    Args:
        folder: Not used.
        sizes: members, features, hidden (width of each of the two hidden layers), labels, epochs, peers (whether they
            are timed).
    """
    asked = {name: size for name, size in sizes.items() if name != "peers"}
    with ExitStack() as stack:
        floor = stack.enter_context(Child())
        plan = floor.call(describe, asked)
        peers = [PEER] if plan.device == "cuda" else [PEER, ONE_THREAD]
        names = [_OURS, *peers] if sizes["peers"] else [_OURS]
        contenders = {name: stack.enter_context(Child()) for name in names}
        measured = _compare(floor, contenders, asked, plan.operations, mixed=False)
        measured.facts |= asdict(plan)
        if plan.device == "cuda":
            mixed = _compare(floor, contenders, asked, plan.operations, mixed=True)
            measured.facts["mixed precision"] = asdict(mixed)
    return measured


def _compare(
    floor: Child, contenders: dict[str, Child], asked: dict[str, int], operations: int, *, mixed: bool
) -> Measured:
    """Medians over turns of all contenders."""
    rates, turns = [], {name: list[Turn]() for name in contenders}
    for _ in range(_TURNS):
        rates.append(floor.call(rate, mixed=mixed))
        for name, child in contenders.items():
            turns[name].append(child.call(train, name, asked, mixed=mixed))
    rates.append(floor.call(rate, mixed=mixed))
    found = {name: _median(those) for name, those in turns.items()}
    ours = found.pop(_OURS)
    facts: dict[str, Any] = {
        "products_gflops": round(statistics.median(rates) / 1e9, 1),
        "held_out_loss": round(ours.loss, 4),
    }
    if found:
        facts["peers_cpu_seconds"] = {name: round(peer.cpu_seconds, 4) for name, peer in found.items()}
        facts["peers_peak_rss_gib"] = {name: peer.peak_rss_gib for name, peer in found.items()}
    return Measured(
        seconds=ours.seconds,
        cpu_seconds=ours.cpu_seconds,
        peak_rss_gib=ours.peak_rss_gib,
        floor_seconds=operations / statistics.median(rates),
        peers={name: round(peer.seconds, 4) for name, peer in found.items()},
        facts=facts,
    )


def _median(turns: list[Turn]) -> Turn:
    """Of each figure on its own; memory only grows from turn to turn."""
    wall, cpu = (statistics.median(values) for values in zip(*((t.seconds, t.cpu_seconds) for t in turns), strict=True))
    return Turn(wall, cpu, turns[-1].peak_rss_gib, turns[-1].loss)


def describe(asked: dict[str, int]) -> Plan:
    """What follows from the sizes, in the process that measures the floor."""
    from tasks.ensembles.bench_fit import training

    this = training(**asked)
    return Plan(this.device.type, this.batch, this.steps * this.settings.epochs, this.operations())


def rate(*, mixed: bool) -> float:
    """Additions and multiplications a second of large products."""
    from tasks.ensembles.bench_fit import product_rate

    return product_rate(mixed=mixed)


def train(name: str, asked: dict[str, int], *, mixed: bool) -> Turn:
    """One turn of a contender, in its own process; few members on few labels first, which are not timed."""
    from tasks.checkpoints.manifest import peak_rss_gib
    from tasks.ensembles.bench_fit import train_on_one_thread, train_one_by_one, train_together, training

    function = {_OURS: train_together, PEER: train_one_by_one, ONE_THREAD: train_on_one_thread}[name]
    function(training(**{**asked, **_WARM_UP}).in_precision(mixed=mixed))
    this, watch = training(**asked).in_precision(mixed=mixed), Stopwatch()
    with watch.of("work"):
        losses = function(this)
    return Turn(watch.wall["work"], watch.cpu["work"], peak_rss_gib(), statistics.mean(losses))
