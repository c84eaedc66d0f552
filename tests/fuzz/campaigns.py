"""Runs fuzz campaigns, a process for each parser, and tells what came of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
HANGS = 120  # seconds by the clock after which a case counts as hanging
MOST_SECONDS, MOST_MIB = 5.0, 1024


def share_out(cases: int, shares: dict[str, float]) -> dict[str, int]:
    """Cases of each parser, so many in all at least."""
    whole = sum(shares.values())
    return {name: max(20, -int(-cases * share // whole)) for name, share in shares.items()}


def run_parser(name: str, cases: int, seed: int, folder: Path) -> dict:
    """Figures of one parser; a process that dies or hangs is one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(HERE / "worker.py"), name, str(cases), str(seed), str(folder)]
    with (folder / "out").open("w") as out, (folder / "errors").open("w") as errors:
        child = subprocess.Popen(command, stdout=out, stderr=errors)
        last, since = "", time.monotonic()
        while child.poll() is None:
            time.sleep(0.2)
            at = (folder / "at").read_text() if (folder / "at").exists() else ""
            if at != last:
                last, since = at, time.monotonic()
            elif time.monotonic() - since > HANGS:
                child.kill()
                child.wait()
    if child.returncode == 0:
        return json.loads((folder / "out").read_text().splitlines()[-1])
    told = (folder / "errors").read_text()[-1000:]
    broken = [f"case {last.strip()}: the process ended with {child.returncode}: {told}"]
    nothing = dict.fromkeys(("accepted", "kinds", "slowest_s", "slowest_case", "memory_mib", "child_mib", "seconds"), 0)
    return {"parser": name, "cases": int(last or 0), **nothing, "broken": broken}


def run_all(shares: dict[str, float], cases: int, seed: int, folder: Path, processes: int) -> list[dict]:
    """Figures of all parsers, some of which run at once."""
    counts = share_out(cases, shares)
    with ThreadPoolExecutor(processes) as pool:
        futures = [
            pool.submit(run_parser, name, counts[name], seed, folder / str(at))
            for at, name in enumerate(sorted(counts))
        ]
        return [future.result() for future in futures]


def failures(found: dict) -> list[str]:
    """Why a parser's campaign failed; nothing where it passed."""
    said = list(found["broken"])
    if found["slowest_s"] > MOST_SECONDS:
        said.append(f"case {found['slowest_case']} took {found['slowest_s']} s of computing")
    if max(found["memory_mib"], found["child_mib"]) > MOST_MIB:
        said.append(f"memory: {found['memory_mib']} MiB more, a child {found['child_mib']} MiB")
    return said


def lines(figures: Sequence[dict]) -> list[str]:
    """The figures as a table for people."""
    head = ("parser", "cases", "accepted", "refusals", "slowest s", "memory MiB", "child MiB", "failed")
    rows = [
        (
            f["parser"],
            f["cases"],
            f["accepted"],
            f["kinds"],
            f["slowest_s"],
            f["memory_mib"],
            f["child_mib"],
            len(failures(f)),
        )
        for f in figures
    ]
    every = ("all", sum(r[1] for r in rows), sum(r[2] for r in rows), sum(r[3] for r in rows))
    every += (max(r[4] for r in rows), max(r[5] for r in rows), max(r[6] for r in rows), sum(r[7] for r in rows))
    return ["| " + " | ".join(map(str, row)) + " |" for row in (head, ("---",) * len(head), *rows, every)]
