"""How fast are batches chosen? Every row of the table beside its floor and its peers, and how time grows.

    make select                                        the table, the growth and the workers, to results/select.csv
    python tests/benchmarks/select_speed.py --only table

What stands in the CSV already is not measured again, so it can be interrupted; delete lines to measure them anew. The
case of 10 million needs 6 GB of disk (TMPDIR). Each case is what `hybridscreen bench select` says of it; one line a
contender. Peers are timed where they are installed: pip install bmdal_reg; pip install --no-deps batchbald_redux toma.

growth    Exponent a of seconds of processors ~ size^a: slope of log seconds on log size, one size varied at a time.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flows.bench import BenchResult, run_bench
from flows.bench_select import DEFAULTS

SIZES = ("strategy", "pool", "members", "batch", "observed", "labels", "features", "from_disk", "workers")
FIGURES = ("seconds", "cpu_seconds", "peak_rss_gib", "held_gib", "floor_seconds", "same_picks", "digest", "said")
FIELDS = ("part", *SIZES, "contender", *FIGURES)
MILLION = 1_000_000

TABLE: list[dict[str, Any]] = [
    {"strategy": "eigenmodes-alone", "pool": MILLION},
    {"strategy": "eigenmodes-alone", "pool": 10 * MILLION, "from_disk": True},
    {"strategy": "expected-improvement", "pool": MILLION, "peers": True},
    {"strategy": "expected-improvement", "pool": 10_000, "batch": 100, "peers": True},
    {"strategy": "expected-improvement-backward", "pool": 10_000, "batch": 100, "peers": True},
    {"strategy": "max-determinant", "pool": MILLION, "peers": True},
    {"strategy": "eigenspace-clusters", "pool": MILLION, "peers": True},
    {"strategy": "d2-sampling", "pool": MILLION, "peers": True},
    {"strategy": "batch-bald", "pool": 10_000, "batch": 10, "members": 20, "peers": True},
    {"strategy": "cobias", "pool": MILLION},
]
WORKERS: list[dict[str, Any]] = [
    {"strategy": "expected-improvement", "pool": 10 * MILLION, "from_disk": True, "workers": workers}
    for workers in (0, 1, 2)
]
GROWING = ("eigenmodes", "expected-improvement", "max-determinant", "eigenspace-clusters", "d2-sampling")
BASE = {"pool": 100_000, "batch": 300, "members": 50}
VARIED = {"pool": (10_000, 30_000, 100_000, 300_000, MILLION), "batch": (100, 300, 1000), "members": (13, 25, 50, 100)}

Line = dict[str, str]


def main() -> None:
    """Measure what is missing, then print the table and the exponents."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", choices=("table", "growth", "workers"))
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "select.csv")
    given = options.parse_args()
    growth = [{"strategy": name, **BASE, size: value} for name in GROWING for size in VARIED for value in VARIED[size]]
    parts = {"table": TABLE, "workers": WORKERS, "growth": growth}
    for part, cases in parts.items():
        if given.only in (None, part):
            for case in cases:
                _measure(given.out, part, case)
    for line in _summary(_read(given.out)):
        print(line)  # noqa: T201


def _measure(out: Path, part: str, case: dict[str, Any]) -> None:
    """Add the lines of a case, unless they are there."""
    asked = {size: str({**DEFAULTS, **case}[size]) for size in SIZES}
    if any(asked.items() <= line.items() and line["part"] == part for line in _read(out)):
        return
    lines = _lines(part, run_bench("select", case))
    new = not out.exists()
    with out.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        writer.writerows(lines)
    print(*(line for line in _summary(lines)), sep="\n", flush=True)  # noqa: T201


def _lines(part: str, found: BenchResult) -> list[Line]:
    """One a contender."""
    said = found.parameters
    sizes = {"part": part, **{size: str(said[size]) for size in SIZES}}
    ours = {name: getattr(found, name) for name in ("seconds", "cpu_seconds", "peak_rss_gib", "floor_seconds")}
    ours |= {"held_gib": said["held_gib"], "digest": said["digest"], "same_picks": said["picked"]}
    lines = [{"contender": "hybridscreen", **ours}]
    for peer, seconds in found.peers.items():
        of_peer = {"seconds": seconds, "cpu_seconds": said["peers_cpu_seconds"][peer]}
        of_peer |= {"peak_rss_gib": said["peers_peak_rss_gib"][peer], "same_picks": said["peers_same_picks"][peer]}
        lines.append({"contender": peer, **of_peer, "said": said.get("peers_said", {}).get(peer, "")})
    lines += [{"contender": peer, "said": why} for peer, why in said.get("peers_left_out", {}).items()]
    return [sizes | {name: str(value) for name, value in line.items()} for line in lines]


def _read(out: Path) -> list[Line]:
    if not out.exists():
        return []
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def _summary(lines: list[Line]) -> Iterable[str]:
    """In words: cases beside floor and peers, then exponents."""
    growing: dict[str, dict[str, dict[float, float]]] = {}
    ours: Line = {}
    for line in lines:
        if line["contender"] == "hybridscreen":
            ours = line
            if line["part"] != "growth":
                where = " from disk" if line["from_disk"] == "True" else ""
                workers = f", {line['workers']} workers" if line["workers"] != "0" else ""
                case = f"{line['strategy']}, N {line['pool']}, b {line['batch']}, M {line['members']}{where}{workers}"
                ratio = float(line["seconds"]) / float(line["floor_seconds"])
                yield f"{case}: {line['seconds']} s ({line['cpu_seconds']} s), {ratio:.2f} of the floor"
            for size in BASE:
                if line["part"] == "growth" and all(line[o] == str(b) for o, b in BASE.items() if o != size):
                    of_size = growing.setdefault(line["strategy"], {}).setdefault(size, {})
                    of_size[float(line[size])] = float(line["cpu_seconds"])
        elif line.get("seconds"):
            times = float(line["cpu_seconds"]) / float(ours["cpu_seconds"])
            same = f"{line['same_picks']} picks the same"
            yield f"  {line['contender']}: {line['cpu_seconds']} s of processors, {times:.1f} times as many; {same}"
    for strategy, sizes in growing.items():
        exponents = [f"{size} {_slope(points):.2f}" for size, points in sizes.items() if len(points) > 1]
        if exponents:
            yield f"growth of {strategy}: " + ", ".join(exponents)


def _slope(points: dict[float, float]) -> float:
    return statistics.linear_regression([math.log(x) for x in points], [math.log(y) for y in points.values()]).slope


if __name__ == "__main__":
    main()
