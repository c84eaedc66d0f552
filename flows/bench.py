"""Benchmarks of this machine: each beside the least that could do the job, in the same run."""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.checkpoints.manifest import package_versions
from tasks.errors import UserError

_GIB = 2.0**30


class BenchResult(BaseModel):
    """What a benchmark measured.

    `floor_seconds` is the least that could do the job (said in the benchmark's docstring), timed in the same run;
    `ratio_to_floor` is what a user waits for, the noise of the machine divided out. `peak_rss_gib` is the whole
    process's, imports and all.
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


Bench = Callable[[Path, dict[str, int], Stopwatch], None]


def run_bench(name: str, sizes: dict[str, int]) -> BenchResult:
    """Run one benchmark in a temporary folder.

    Args:
        name: Which one.
        sizes: Its sizes; those not given have the benchmark's defaults.

    Raises:
        UserError: Unknown benchmark, or a size that it does not have.
    """
    known = benches()
    if name not in known:
        raise UserError("unknown benchmark", got=repr(name), expected=" or ".join(sorted(known)))
    defaults, bench = known[name]
    strange = sorted(set(sizes) - set(defaults))
    if strange:
        options = ", ".join(f"--{size}" for size in defaults)
        raise UserError(f"bench {name} has no size --{strange[0]}", expected=options)
    parameters, watch = {**defaults, **sizes}, Stopwatch()
    with tempfile.TemporaryDirectory(prefix="hybridscreen-bench-") as folder:
        bench(Path(folder), parameters, watch)
    floor = watch.wall["floor"]
    return BenchResult(
        name=name,
        parameters=parameters,
        seconds=round(watch.wall["work"], 4),
        cpu_seconds=round(watch.cpu["work"], 4),
        peak_rss_gib=round(_peak_rss_bytes() / _GIB, 4),
        floor_seconds=round(floor, 4),
        ratio_to_floor=round(watch.wall["work"] / floor, 2),
        peers={},
        versions=package_versions(),
    )


def benches() -> dict[str, tuple[dict[str, int], Bench]]:
    """Benchmarks by name: default sizes, and the function."""
    from flows.bench_ingest import DEFAULTS, bench_ingest

    return {"ingest": (DEFAULTS, bench_ingest)}


def _peak_rss_bytes() -> int:
    """Largest resident memory of this process so far; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
