"""What does `hybridscreen assess` say of a screen before a campaign, and do replays bear it out?

    make assessed            results to tests/benchmarks/results/assessed_sets.csv

Sets of `replay_experiments.py`: genome-wide screens of GeneDisco (donors as replicates) and regression sets. Of each
set `labels` perturbations are drawn at random (seeds 0 to 4): the past screen that somebody has. Default predictors,
strategy and operator. Columns: R² against the mean and the ceiling that noise leaves it, and log RMSE of the hybrid
screen less that of random order, with their 95% intervals; verdict; seconds of CPU.
Needs HYBRIDSCREEN_DATA. It goes on where it was left.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import cells
import numpy as np
from replay_sets import GENES, UCI, stored_screen

from flows.assessing import assess_past_screen

COLUMNS = ("set", "labels", "seed", "signal", "signal_low", "signal_high", "ceiling", "difference", "difference_low",
           "difference_high", "verdict", "cpu_seconds")  # fmt: skip
SIZES = (512, 2048)
HERE = Path(__file__).parent


def assessed(name, labels, seed):
    """A line of the table."""
    whole = stored_screen(name)
    rows = np.sort(np.random.default_rng([seed, labels]).choice(len(whole), labels, replace=False))
    values = [column for column in whole.obs if column.startswith("measured")]
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "screen.h5ad")
        whole[rows].copy().write_h5ad(path)
        told = assess_past_screen(str(path), values, seed=seed).assessment
    found = {finding.name: finding.figures for finding in told.findings}
    signal, ceiling = found["signal"]["signal"], found["noise ceiling"]["ceiling"].value
    numbers = {
        "signal": signal.value, "signal_low": signal.low, "signal_high": signal.high, "ceiling": ceiling,
        "difference": told.difference.value, "difference_low": told.difference.low,
        "difference_high": told.difference.high,
    }  # fmt: skip
    row = {name: "" if value is None else f"{value:.4f}" for name, value in numbers.items()}
    spent = f"{time.process_time() - started:.0f}"
    return {"set": name, "labels": labels, "seed": seed, **row, "verdict": told.verdict, "cpu_seconds": spent}


def main():
    """Assess what is missing, then print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--sets", nargs="+", default=[*GENES, *UCI])
    options.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    options.add_argument("--out", type=Path, default=HERE / "results" / "assessed_sets.csv")
    given = options.parse_args()
    done = {(row["set"], int(row["labels"]), int(row["seed"])) for row in cells.read(given.out)}
    for seed in range(given.seeds):
        for labels in given.sizes:
            for name in given.sets:
                if (name, labels, seed) not in done:
                    cells.append(given.out, COLUMNS, assessed(name, labels, seed))
    rows = sorted(cells.read(given.out), key=lambda row: (row["set"], int(row["labels"]), int(row["seed"])))
    cells.rewrite(given.out, COLUMNS, rows)
    for row in rows:
        sys.stdout.write("  ".join(f"{row[name]:>9}" for name in COLUMNS) + "\n")


if __name__ == "__main__":
    main()
