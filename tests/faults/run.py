"""Everything that may go wrong goes wrong, and the figures of what became of it.

    python tests/faults/run.py [--every N] [--only kills stores races losses] [--record]

Prints a table and writes JSON; with `--record` beside this file, as `results.json`.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE.parents[1]), str(HERE.parent), str(HERE.parent / "ensembles")]  # the product, helpers, clusters
PACKAGES = ("prefect", "distributed", "s3fs", "botocore", "numpy", "torch", "anndata", "zarr")
PARTS = ("kills", "stores", "races", "losses")


def kills(folder, every):
    """Kill at every n-th boundary."""
    from kill_points import try_all

    trials, counts = try_all(folder, every)
    found = [(f"kill: {each.scene}", each.point, each.problems) for each in trials if each.reached or each.problems]
    return found, {"points": counts, "points_tried": len(trials), "points_reached": sum(t.reached for t in trials)}


def part(name, folder, every):
    """Outcomes of a part: what was tried, where, and what was wrong with it."""
    if name == "kills":
        return kills(folder, every)
    module = __import__({"stores": "store_faults", "races": "races", "losses": "losses"}[name])
    return module.try_all(folder, every), {}


def table(outcomes):
    """Lines of the figures."""
    passed, all_of = Counter(), Counter()
    for what, _, problems in outcomes:
        all_of[what] += 1
        passed[what] += not problems
    width = max(map(len, all_of), default=5)
    rows = [f"| {'what':{width}} | tried | passed | failed |", f"|{'-' * (width + 2)}|------:|-------:|-------:|"]
    for what in [*all_of]:
        rows.append(f"| {what:{width}} | {all_of[what]:5} | {passed[what]:6} | {all_of[what] - passed[what]:6} |")
    total, good = all_of.total(), passed.total()
    return [*rows, f"| {'all':{width}} | {total:5} | {good:6} | {total - good:6} |"]


def main():
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="try every n-th kill point only")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--record", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    outcomes, facts, seconds = [], {}, {}
    for name in asked.only:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
            found, more = part(name, Path(folder), asked.every)
        outcomes += found
        facts |= more
        seconds[name] = round(time.monotonic() - begun)
    failed = [{"what": what, "where": where, "problems": list(wrong)} for what, where, wrong in outcomes if wrong]
    counts = Counter(what for what, _, _ in outcomes)
    told = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "every": asked.every,
        "seconds": seconds,
        "tried": len(outcomes),
        "passed": len(outcomes) - len(failed),
        "failed": failed,
        "by_kind": dict(counts),
        **facts,
    }
    sys.stdout.write("\n".join([*table(outcomes), "", json.dumps(told)]) + "\n")
    if asked.record:
        (HERE / "results.json").write_text(json.dumps(told, indent=1) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
