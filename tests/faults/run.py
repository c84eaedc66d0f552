"""Everything that may go wrong goes wrong, and the figures of what became of it.

    python tests/faults/run.py [--every N [--first K]] [--only kills stores races losses cases] [--record]

Prints the facts of each part as JSON, and a table. With `--record` they are kept in `results.json`, part by part:
slices of the kill points (`--every 8 --first 3`) are parts of their own, so that all can be tried in several goes.
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
# The product, helpers, clusters, hostile files.
sys.path += [str(HERE.parents[1]), *(str(HERE.parent / room) for room in ("", "ensembles", "fuzz"))]
PACKAGES = ("prefect", "distributed", "s3fs", "botocore", "numpy", "torch", "anndata", "zarr")
PARTS = ("kills", "stores", "races", "losses", "cases")


def kills(folder, every, first):
    """Kill at every n-th boundary."""
    from kill_points import try_all

    trials, counts = try_all(folder, every, first)
    found = [(f"kill: {each.scene}", each.point, each.problems) for each in trials if each.reached or each.problems]
    return found, {"points": counts, "points_tried": len(trials), "points_reached": sum(t.reached for t in trials)}


def cases(folder):
    """20,000 hostile files, by parser."""
    from campaigns import failures, run_all
    from test_fuzz import CASES, SEED, shares

    figures = run_all(shares(), CASES, SEED, folder, os.cpu_count() or 1)
    found = [("hostile files, parsers", each["parser"], failures(each)) for each in figures]
    worst = {name: max(each[name] for each in figures) for name in ("slowest_s", "memory_mib", "child_mib")}
    return found, {"cases": sum(each["cases"] for each in figures), "seed": SEED, **worst}


def part(name, folder, every, first):
    """Outcomes of a part: what was tried, where, and what was wrong with it."""
    if name == "kills":
        return kills(folder, every, first)
    if name == "cases":
        return cases(folder)
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


def facts_of(name, every, first):
    """Run a part; its outcomes, and what is recorded of it."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        outcomes, more = part(name, Path(folder), every, first)
    failed = [{"what": what, "where": where, "problems": list(wrong)} for what, where, wrong in outcomes if wrong]
    return outcomes, {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "seconds": round(time.monotonic() - begun),
        "tried": len(outcomes),
        "passed": len(outcomes) - len(failed),
        "failed": failed,
        "by_kind": dict(Counter(what for what, _, _ in outcomes)),
        **more,
    }


def record(name, facts):
    """Keep the facts of a part, in place of what is known of it; the others stay."""
    path = HERE / "results.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(dict(sorted((known | {name: facts}).items())), indent=1) + "\n")


def main():
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="try every n-th kill point only")
    parser.add_argument("--first", type=int, default=0, help="and begin with this one, counted from 0")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--record", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    every = []
    for name in asked.only:
        outcomes, facts = facts_of(name, asked.every, asked.first)
        every += outcomes
        sys.stdout.write(json.dumps({name: facts}) + "\n")
        if asked.record:
            whole = name != "kills" or asked.every == 1
            record(name if whole else f"kills, {asked.first} of {asked.every}", facts)
    sys.stdout.write("\n".join(table(every)) + "\n")
    sys.exit(1 if any(wrong for _, _, wrong in every) else 0)


if __name__ == "__main__":
    main()
