"""What the commands cost on large inboxes, many campaigns, many rounds and large libraries, and how that grows.

    make load                                              the table, to results/load.csv
    python tests/benchmarks/load.py --axis rounds --sizes 20,50

Each command is called in a process of its own, on a state that was written as files (load_states.py). `seconds` are of
the process's processors without imports; requests are those to the campaign's folder, counted by kind; `outside` are
paths that a command has asked for outside of its campaign. Growth is the exponent between the smallest and the largest
size: 1 is proportional.
"""

from __future__ import annotations

import argparse
import csv
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from load_states import State

from flows.collection import collect_campaign
from flows.comparison import compare_published
from flows.inspection import campaign_status, list_plates
from flows.verifying import verify_campaign
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.reading import read_config
from tasks.checkpoints.counting import counted
from tasks.checkpoints.manifest import peak_rss_gib
from tasks.checkpoints.storage import Storage

SIZES = {
    "inbox": (100, 1_000, 10_000),
    "campaigns": (5, 50, 500),
    "rounds": (20, 60, 200),
    "library": (10_000, 100_000, 1_000_000, 10_000_000),
}
#: Commands that an axis can matter for. What a plan costs beyond `uploads`: `make rerun`.
COMMANDS = ("status", "plates", "look", "uploads", "verify", "gc", "diff")
FIELDS = (
    "axis",
    "size",
    "command",
    "seconds",
    "wall",
    "peak_rss_mib",
    "requests",
    "get",
    "list",
    "head",
    "mb_read",
    "outside",
)


def build(axis: str, size: int, folder: Path) -> Path:
    """Write a state; the path of the campaign's file."""
    if axis == "campaigns":
        other = State(folder, "other").build(library=100, rounds=0)
        for number in range(size - 2):
            shutil.copytree(other.root, other.root.with_name(f"other{number:03d}"))
    given = {} if axis == "campaigns" else {axis: size}
    if axis in ("inbox", "library", "campaigns"):
        given["rounds"] = 2
    if axis == "rounds":
        given["library"] = 200
    return State(folder).build(**given).path


def answer(command: str, config: CampaignConfig) -> object:
    """What a command does, without starting Prefect and without printing."""
    ledger = Ledger.of(config)
    calls: dict[str, Callable[[], object]] = {
        "status": lambda: campaign_status(config),
        "plates": lambda: list_plates(config),
        "look": ledger.sign,
        "uploads": ledger.uploads,
        "verify": lambda: verify_campaign(config).problems,
        "gc": lambda: collect_campaign(config, 7, delete=False),
        "diff": lambda: compare_published(config, 1, 2),
    }
    return calls[command]()


def one(command: str, path: Path) -> dict[str, Any]:
    """Call a command in this process, and tell what it took."""
    outside: list[str] = []
    full, root = Storage._full, str(path.parent / "bucket" / "load")

    def watched(self: Storage, name: str) -> str:
        found = full(self, name)
        if not found.startswith(root):
            outside.append(found)
        return found

    Storage._full = watched  # type: ignore[method-assign]
    before, since, wall = peak_rss_gib(), time.process_time(), time.perf_counter()
    with counted(str(path)) as asked:
        found = answer(command, read_config(path))
    if command == "verify" and found:
        raise SystemExit(f"verify: {found}")
    told = asked.told()
    return {
        "seconds": round(time.process_time() - since, 3),
        "wall": round(time.perf_counter() - wall, 2),
        "peak_rss_mib": round(1024 * (peak_rss_gib() - before), 1),
        **{kind: told[kind] for kind in ("requests", "get", "list", "head")},
        "mb_read": round(told["bytes_received"] / 1e6, 2),
        "outside": len(outside),
    }


def measure(axis: str, size: int, commands: tuple[str, ...]) -> list[dict[str, Any]]:
    """All commands on one state."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(1, get_context("fork")) as pool:
            path = pool.submit(build, axis, size, Path(folder)).result()
        for command in commands:
            with ProcessPoolExecutor(1, get_context("fork")) as pool:  # its own memory, and nothing to import
                found = pool.submit(one, command, path).result()
            lines.append({"axis": axis, "size": size, "command": command, **found})
    return lines


def growth(lines: list[dict[str, Any]], what: str) -> str:
    """Exponent between the smallest and the largest size; empty where nothing grows from nothing."""
    first, last = lines[0], lines[-1]
    few, many = float(first[what]), float(last[what])
    if few <= 0 or many <= 0 or first["size"] == last["size"]:
        return ""
    return f"{math.log(many / few) / math.log(float(last['size']) / float(first['size'])):.2f}"


def main() -> None:
    """Measure, write the CSV, print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--axis", choices=tuple(SIZES))
    options.add_argument("--sizes", help="Instead of the usual ones, as 100,1000.")
    options.add_argument("--commands", help="Some of them, as status,gc.")
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "load.csv")
    given = options.parse_args()
    commands = tuple(given.commands.split(",")) if given.commands else COMMANDS
    kept = []
    if given.out.exists():
        with given.out.open(encoding="utf-8", newline="") as file:
            kept = list(csv.DictReader(file))
    for axis in [given.axis] if given.axis else SIZES:
        for size in [int(size) for size in given.sizes.split(",")] if given.sizes else SIZES[axis]:
            new = measure(axis, size, commands)
            same = {(line["axis"], str(line["size"]), line["command"]) for line in new}
            kept = [line for line in kept if (line["axis"], str(line["size"]), line["command"]) not in same] + new
            with given.out.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(kept)
    report(kept)


def report(lines: list[dict[str, Any]]) -> None:
    """The table: figures at the largest size, and the exponents."""
    for axis in SIZES:
        for command in COMMANDS:
            mine = sorted(
                (line for line in lines if (line["axis"], line["command"]) == (axis, command)),
                key=lambda x: int(x["size"]),
            )
            if mine:
                last = mine[-1]
                exponents = ", ".join(
                    f"{what} {growth(mine, what)}" for what in ("seconds", "requests", "peak_rss_mib", "mb_read")
                )
                asked = f"{last['get']} GET, {last['list']} list, {last['head']} HEAD | {last['mb_read']} MB"
                cost = f"{last['seconds']} s | {last['peak_rss_mib']} MiB | {asked}"
                sys.stdout.write(f"| {axis} {last['size']} | {command} | {cost} | {exponents} | {last['outside']} |\n")


if __name__ == "__main__":
    main()
