"""Does active selection beat random? Replays of finished screens, each experiment with its own arms.

    make regression, make regression-full, make ablations, make noise, make genes, make genedisco
                             results to tests/benchmarks/results/NAME.csv, then tables and figure

Need HYBRIDSCREEN_DATA; regression also bmdal_reg 3.0.2 for one arm (without it that arm is left out, saying so). Each
campaign is a cell of `hybridscreen replay` (tasks/replays/cell.py), with the project's default ensemble where the arm
(replay_arms.py) says nothing else: 20% of a set are the test, drawn anew for each seed; 256 labels at random, then
batches of 256 to 2,304. All arms of a seed share split, first labels and the seeds of the networks.

regression   bike, elevators, pol, kin40k, gaps of QM9, without noise. The default was chosen on bike, pol and kin40k
             with seeds 100 and 101 (results/regression_search.csv); here are other seeds, and elevators and qm9 were
             not looked at before.
regression-full  The same sets to 4,352 labels in 16 batches: the default beside random.
ablations    The default with one part exchanged: the operator, how Δ is estimated, the pick rule, or half of the wells
             drawn at random.
noise        Four of them with noise that is not there in the data. Type II: sd of a well 0.3 of the set's, times
             exp(0.5·z), z the value in sds (at most 3). Type III: sd 0.3, and plates of 64 wells with offsets of sd 0.5
             that two controls of each kind take away badly. Two wells a perturbation. Truth: without the noise. That
             the default weighs errors by the noise of a label was decided on bike and pol, Type II, with seeds 100 to
             103, after seed 0 of the arm "noise ignored" had been seen.
genes        Screens of GeneDisco with the project's ensemble. Donors are replicates, so their difference tells the
             noise (tau has one). Hits: the top 5% by |value|, as GeneDisco counts them.
genedisco    GeneDisco's nine functions with its two models (presets genedisco-bnn and genedisco-forest) on IL-2, donors
             averaged. Features are not GeneDisco's, so figures cannot be compared with its tables.

Columns of the results: set, arm, seed, then figures by round, and the seconds of CPU. They go on where they were left;
`--processes` plays so many campaigns at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import cells
from replay_arms import EXPERIMENTS
from replay_sets import stored_screen
from replay_tables import draw, tables

from tasks.checkpoints.checkpointer import Checkpointer
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.replays.cell import Cell, play
from tasks.replays.settings import NoiseSection, ReplayConfig

FIGURES = ("labels", "rmse", "mae", "error_99", "error_max", "coverage_90", "hits_found")
COLUMNS = ["set", "arm", "seed", *FIGURES, "cpu_seconds"]
HERE = Path(__file__).parent


def settings(experiment, arm):
    """The replay that an arm is part of."""
    told = dict(EXPERIMENTS[experiment].arms[arm])
    ensemble = told.pop("ensemble", {})
    operators = {"within": "none", "gradients": 0} if ensemble else {}
    return ReplayConfig.model_validate(
        {
            "replay": {"name": experiment},
            "screens": [{"name": "screen", "uri": "screen.h5ad", "value": ["value"]}],
            "arms": [{"name": "arm", **told}],
            "protocol": {"preset": "regression", "rounds": EXPERIMENTS[experiment].rounds},
            "ensemble": ensemble,
            "operators": operators,
            "compute": {"device": "cpu"},
        }
    )


def play_cell(key):
    """One campaign: its line."""
    experiment, name, arm, seed = key
    started, config = time.process_time(), settings(experiment, arm)
    stored, added = EXPERIMENTS[experiment].sets[name]
    noise = None if added is None else NoiseSection(**added)
    with tempfile.TemporaryDirectory() as folder:
        cp = Checkpointer(CheckpointStore(Storage(folder), verify="size"))
        payload = Payload("anndata", stored_screen(stored))
        screen = cp.run("screen", Stage("screen", 1), lambda: {"screen": payload}, outputs=("screen",))["screen"]
        table = play(cp.store, "cell", screen, Cell(config, config.arms[0], noise, seed))["figures"].value
    row = {"set": name, "arm": arm, "seed": seed}
    row |= {figure: " ".join(f"{value:.5g}" for value in table.get(figure, [])) for figure in FIGURES}
    return row | {"cpu_seconds": f"{time.process_time() - started:.0f}"}


def play_all(name, out, seeds, processes, names, wanted):
    """Play the cells that are missing."""
    experiment = EXPERIMENTS[name]
    done = {(row["set"], row["arm"], int(row["seed"])) for row in cells.read(out)}
    arms = [arm for arm in experiment.arms if wanted is None or arm in wanted]
    if importlib.util.find_spec("bmdal_reg") is None and "lcmd (bmdal_reg)" in arms:
        sys.stdout.write("bmdal_reg is not installed: its arm is left out\n")
        arms.remove("lcmd (bmdal_reg)")
    every = [(name, one, arm, seed) for seed in seeds for arm in arms for one in names]
    every.sort(key=lambda cell: cell[2] not in experiment.first)
    missing = [cell for cell in every if cell[1:] not in done]
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=8) as pool:
        for row in pool.imap_unordered(play_cell, missing):
            cells.append(out, COLUMNS, row)


def main():
    """Play the cells that are missing, then print the tables and draw the figure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("experiment", choices=EXPERIMENTS)
    options.add_argument("--seeds", type=int, help="campaigns of each arm on each set")
    options.add_argument("--first-seed", type=int, default=0)
    options.add_argument("--sets", nargs="+", help="some of the sets")
    options.add_argument("--arms", nargs="+", help="some of the arms")
    options.add_argument("--processes", type=int, default=os.cpu_count())
    options.add_argument("--out", type=Path)
    options.add_argument("--figure", type=Path)
    options.add_argument("--report-only", action="store_true", help="play nothing")
    given = options.parse_args()
    experiment = EXPERIMENTS[given.experiment]
    out = given.out or HERE / "results" / f"{given.experiment}.csv"
    if not given.report_only:
        seeds = range(given.first_seed, given.first_seed + (given.seeds or experiment.seeds))
        play_all(given.experiment, out, seeds, given.processes, given.sets or list(experiment.sets), given.arms)
    rows, sets, arms = cells.read(out), list(experiment.sets), list(experiment.arms)
    rows.sort(key=lambda row: (sets.index(row["set"]), arms.index(row["arm"]), int(row["seed"])))
    cells.rewrite(out, COLUMNS, rows)
    controls = {arm: arm if arm.startswith("random") else _control(arm, arms) for arm in arms}
    played = {row["arm"] for row in rows}
    versus = experiment.versus if experiment.versus and played.issuperset(experiment.versus) else None
    sys.stdout.write(tables(rows, controls, experiment.figures, versus) + "\n")
    if experiment.curve is not None:
        draw(rows, controls, experiment.curve, given.figure or HERE / "figures" / f"{given.experiment}.svg")


def _control(arm, arms):
    """The random arm that an arm is compared with: that of its own model where there are several."""
    own = "random, " + arm.rpartition(", ")[2]
    return own if own in arms else "random"


if __name__ == "__main__":
    main()
