"""Are variance components right on average, and as sharp as they can be? Simulated screens with known components.

    make components          200 screens a design, results to tests/benchmarks/results/variance_components.csv

Components: 50 plates, wells of variance 1, plates of 2, runs of 4; the ideal spread is that of a sample variance of the
plates (runs) themselves, √(2/df). Offsets: one run of 48 plates with 1, 4 or 16 negative controls; the error of each
plate's offset, in units of a well's variance, beside what the alignment says of it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.campaigns.config import AlignmentSection, ControlWells, PlatesSection
from tasks.readouts.alignment import fit_alignment
from tasks.readouts.variance_components import variance_components

TRUTH = {"well": 1.0, "plate": 2.0, "run": 4.0}
SCREENS = 200
#: name -> runs, plates a run, what the wells hold, share of wells that are grossly wrong.
DESIGNS = {
    "controls, 1 run of 50 plates, 2 to 16 wells": (1, 50, "controls", 0.0),
    "controls, 10 runs of 5 plates, 2 to 16 wells": (10, 5, "controls", 0.0),
    "the same, 2% of the wells off by 50 sds": (10, 5, "controls", 0.02),
    "replicates, 10 runs of 5 plates, 500 perturbations on 3 plates": (10, 5, "replicates", 0.0),
}
#: name -> negative controls of each plate, samples of each plate, alignment.
OFFSETS = {
    "1, 4, 16 controls, shrunk": ([1, 4, 16] * 16, 0, {"shrinkage": True}),
    "1, 4, 16 controls, not shrunk": ([1, 4, 16] * 16, 0, {"shrinkage": False, "on_too_few": "run"}),
    "4 controls, shrunk": ([4] * 48, 0, {"shrinkage": True}),
    "16 controls, shrunk": ([16] * 48, 0, {"shrinkage": True}),
    "1 control, shrunk, anchored on samples": ([1] * 48, 100, {"shrinkage": True, "anchors": ("samples",)}),
}
BETWEEN = (0.25, 4.0)


def _wells(plate, role, perturbation, value, runs):
    """Table of wells; plate is an index."""
    name = np.char.add("P", np.char.zfill(plate.astype(str), 3))
    table = pd.DataFrame({"barcode": name, "attempt": 1, "run": runs, "role": role, "perturbation": perturbation})
    place = table.groupby("barcode").cumcount()
    return table.assign(value=value, well=place.astype(str).str.zfill(3), row=place // 24, column=place % 24, round=0)


def screen(seed, runs, per_run, holds, wrong):
    """Wells of one simulated screen."""
    rng = np.random.default_rng(seed)
    plates = runs * per_run
    run = np.repeat(np.arange(runs), per_run)
    effect = rng.normal(0, np.sqrt(TRUTH["run"]), runs)[run] + rng.normal(0, np.sqrt(TRUTH["plate"]), plates)
    if holds == "controls":
        plate = np.repeat(np.arange(plates), rng.choice([2, 4, 8, 16], plates))
        role, content, mean = "negcon", "", np.full(len(plate), 7.0)
    else:
        plate = np.concatenate([rng.choice(plates, 3, replace=False) for _ in range(500)])
        content = np.repeat([f"x{i}" for i in range(500)], 3)
        role, mean = "sample", np.repeat(rng.normal(0, 5, 500), 3)
    value = mean + effect[plate] + rng.normal(0, np.sqrt(TRUTH["well"]), len(plate))
    value += np.where(rng.random(len(plate)) < wrong, rng.choice([-50.0, 50.0], len(plate)), 0.0)
    return _wells(plate, role, content, value, np.char.add("R", run[plate].astype(str)))


def components(screens):
    """Mean over truth and spread over ideal of each component, for each design."""
    rows = []
    for name, (runs, per_run, holds, wrong) in DESIGNS.items():
        found = [variance_components(screen(seed, runs, per_run, holds, wrong), "value") for seed in range(screens)]
        ideal_df = {"well": None, "plate": runs * (per_run - 1), "run": runs - 1}
        for part, truth in TRUTH.items():
            parts = [getattr(each, part) for each in found]
            if parts[0] is None:
                continue
            values = np.array([each.untruncated for each in parts])
            df = ideal_df[part] or np.mean([each.df for each in parts])
            spread = values.std(ddof=1) / truth / np.sqrt(2 / df)
            stated = np.mean([each.standard_error for each in parts]) / values.std(ddof=1)
            rows.append((name, part, values.mean() / truth, spread, stated))
    return pd.DataFrame(
        rows, columns=["design", "quantity", "mean_over_truth", "spread_over_ideal", "error_over_spread"]
    )


def offsets(screens):
    """Stated over true error variance of plate offsets, for each number of controls."""
    layout = PlatesSection(negcon=ControlWells(wells=("A01:H01",), nominal=0.0))
    rows = []
    for between in BETWEEN:
        for name, (counts, samples, settings) in OFFSETS.items():
            counts = np.array(counts)
            alignment = AlignmentSection(min_controls=1, **settings)
            said, found = np.zeros(len(counts)), np.zeros(len(counts))
            for seed in range(screens):
                true, wells = _run(seed, counts, samples, between)
                fit = fit_alignment(wells, alignment, layout)
                found += [(offset - plate.offset) ** 2 for offset, plate in zip(true, fit.plates, strict=True)]
                said += [(plate.offset_variance + fit.run_offset_variance) * plate.scale**2 for plate in fit.plates]
            for n in sorted(set(counts)):
                these = counts == n
                design, truth = f"{name}, variance between plates {between}", found[these].mean() / screens
                rows.append((design, f"offset, {n} controls", said[these].sum() / found[these].sum(), truth))
    return pd.DataFrame(rows, columns=["design", "quantity", "said_over_truth", "truth"])


def _run(seed, counts, samples, between):
    """True offsets and wells of one run."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, np.sqrt(between), len(counts))
    control, sample = np.repeat(np.arange(len(counts)), counts), np.repeat(np.arange(len(counts)), samples)
    plate = np.concatenate([control, sample])
    role = np.repeat(["negcon", "sample"], [len(control), len(sample)])
    content = [""] * len(control) + [f"x{i}" for i in range(len(sample))]
    mean = np.where(role == "sample", rng.normal(1.0, 1.5, len(plate)), 0.0)
    return true, _wells(plate, role, content, true[plate] + mean + rng.standard_normal(len(plate)), "R0")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--screens", type=int, default=SCREENS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "variance_components.csv")
    given = parser.parse_args()
    table = pd.concat([components(given.screens), offsets(given.screens)], ignore_index=True)
    table.to_csv(given.out, index=False, float_format="%.3f")
    sys.stdout.write(table.to_string(index=False, float_format="%.3f") + "\n")
