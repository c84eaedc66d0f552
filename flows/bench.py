"""Benchmarks of this machine: each beside the least that could do the job, in the same run."""

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.checkpoints.manifest import package_versions
from tasks.errors import UserError


class BenchResult(BaseModel):
    """What a benchmark measured.

    `floor_seconds` is the least that could do the job (said in the benchmark's docstring), timed in the same run;
    `ratio_to_floor` is what a user waits for, the noise of the machine divided out. `peak_rss_gib` is the whole
    process's, imports and all. `parameters` are the sizes, and behind them what else was found.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    parameters: dict[str, Any]
    seconds: float
    cpu_seconds: float
    peak_rss_gib: float
    floor_seconds: float
    ratio_to_floor: float
    peers: dict[str, float]
    versions: dict[str, str]


@dataclass
class Stopwatch:
    """Adds up wall and processor time of what is inside its `with` blocks [s]."""

    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Time a block under a name."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall[what] = self.wall.get(what, 0.0) + time.perf_counter() - wall
            self.cpu[what] = self.cpu.get(what, 0.0) + time.process_time() - cpu


@dataclass
class Measured:
    """What a benchmark answers with; the seconds, the peak memory [GiB] and `facts` go into its result.

    `facts` are what follows from the sizes or was measured besides; they stand among the result's parameters.
    """

    seconds: float
    cpu_seconds: float
    peak_rss_gib: float
    floor_seconds: float
    peers: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


#: A benchmark is a module with DEFAULTS (sizes by name) and `run(folder, sizes)`, which gives a `Measured`.
BENCHES = {
    "fit": "flows.bench_fit",
    "ingest": "flows.bench_ingest",
    "predict": "flows.bench_predict",
    "rerun": "flows.bench_rerun",
    "select": "flows.bench_select",
}


def run_bench(name: str, sizes: dict[str, Any]) -> BenchResult:
    """Run one benchmark in a temporary folder.

    Args:
        name: Which one.
        sizes: Its sizes; those not given have the benchmark's defaults.

    Raises:
        UserError: Unknown benchmark, or a size that it does not have.
    """
    if name not in BENCHES:
        raise UserError("unknown benchmark", got=repr(name), expected=" or ".join(sorted(BENCHES)))
    bench = import_module(BENCHES[name])
    strange = sorted(set(sizes) - set(bench.DEFAULTS))
    if strange:
        option, *options = (f"--{size.replace('_', '-')}" for size in (strange[0], *bench.DEFAULTS))
        raise UserError(f"bench {name} has no size {option}", expected=", ".join(options))
    parameters = {**bench.DEFAULTS, **sizes}
    with _termination_as_exit(), tempfile.TemporaryDirectory(prefix="hybridscreen-bench-") as folder:
        measured: Measured = bench.run(Path(folder), parameters)
    return BenchResult(
        name=name,
        parameters={**parameters, **measured.facts},
        seconds=round(measured.seconds, 6),
        cpu_seconds=round(measured.cpu_seconds, 6),
        peak_rss_gib=round(measured.peak_rss_gib, 4),
        floor_seconds=round(measured.floor_seconds, 6),
        ratio_to_floor=round(measured.seconds / measured.floor_seconds, 2),
        peers=measured.peers,
        versions=package_versions(),
    )


@contextmanager
def _termination_as_exit() -> Iterator[None]:
    """Let SIGTERM end the process as Ctrl-C does: the folder, which may be large, goes, and so do the children."""

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def bench_lines(found: BenchResult) -> list[str]:
    """A result in words."""
    plain = {name: value for name, value in found.parameters.items() if not isinstance(value, dict)}
    return [
        f"{found.name}: " + ", ".join(f"{name} {value}" for name, value in plain.items()),
        f"  {_s(found.seconds)} ({_s(found.cpu_seconds)} of processors), at most {found.peak_rss_gib:.2f} GiB",
        f"  floor {_s(found.floor_seconds)}{_beyond(found)}",
        *(f"  {peer}: {_s(s)}, {s / found.seconds:.2f} times as long" for peer, s in found.peers.items()),
    ]


def _beyond(found: BenchResult) -> str:
    """What the floor says of the time; a floor above it was measured while something else ran."""
    if found.floor_seconds > found.seconds:
        return ": above the time measured; the machine was busy"
    return f"; {1.0 - found.floor_seconds / found.seconds:.1%} of the time is beyond it"


def _s(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.3g} s"
