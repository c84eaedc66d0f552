"""Do weeks vanish from Cell Painting profiles, and do mechanisms stay? Alignments of several features on BBBC021.

    make profiles            every setting, results to tests/benchmarks/results/profile_alignment.csv

Needs HYBRIDSCREEN_DATA. 632 wells, 55 plates of 10 weeks (the runs), 6 DMSO wells a plate (the negative controls); 513
of the 516 features: three have MAD 0 on every plate of most weeks. Runs are fitted in order of their weeks, each given
the fit before it.

Before anything is measured, every feature is centred on the mean and divided by the sd of all aligned DMSO wells, for
all settings alike, the raw profiles too.

week     The share of DMSO wells whose 5 nearest DMSO wells (Euclidean), those of its own plate left out, say its week:
         most votes, a tie goes to the nearest. Guessing the largest week: 0.11.
week_any The same with the wells of its own plate.
week_new The same among DMSO wells that the alignment has not seen: fitted on three of each plate's six, told on the
         other three, then the other way round. A whitening can make the wells it was fitted on differ as it likes; here
         it cannot.
moa      The share of the 103 treatments (compound and concentration) whose nearest treatment of another compound
         (cosine) has the same mechanism. A treatment is the mean of its wells.
moa_median  The same with the median of the wells.
low, high   95% interval of moa less raw moa, compounds drawn with replacement 10,000 times, seed 0.
gained, lost  Treatments that are right with the setting and wrong raw, and the other way round.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.campaigns.config import AlignmentSection, ControlWells, PlatesSection
from tasks.readouts.alignment.profiles import apply_profiles, fit_profiles

PLATES = PlatesSection(format=96, negcon=ControlWells(wells=("B02", "C02", "D02", "E11", "F11", "G11")))
HALVES = (("B02", "D02", "F11"), ("C02", "E11", "G11"))
CONSTANT = ("Cells_Children_Cytoplasm_Count", "Nuclei_Children_Cells_Count", "Nuclei_Children_Cytoplasm_Count")
OUTPUT = "Nuclei_AreaShape_Area"
#: What the README recommends.
RECOMMENDED = AlignmentSection(method="negcon", scale="common", shrinkage=False, on_too_few="run")
COLUMNS = (
    "method,scale,shrinkage,regularisation,week,week_any,week_new,moa,moa_median,low,high,gained,lost"  # see above
)


def read_wells(data: Path) -> tuple[pd.DataFrame, list[str]]:
    """The table of wells with mechanism and concentration, and the names of its features."""
    raw = pd.read_parquet(data / "bbbc021" / "bbbc021_wells.parquet")
    features = [name for name in raw.columns[7:] if name not in CONSTANT]
    control = raw["compound"] == "DMSO"
    wells = pd.DataFrame(
        {
            "barcode": raw["plate"],
            "attempt": 1,
            "run": raw["batch"],
            "well": raw["well"],
            "row": raw["well"].str[0].map(ord) - ord("A"),
            "column": raw["well"].str[1:].astype(int) - 1,
            "role": np.where(control, "negcon", "sample"),
            "perturbation": np.where(control, "", raw["compound"] + " " + raw["concentration"].astype(str)),
            "replicate": np.where(control, 0, raw["replicate"]),
            "value": raw[OUTPUT].astype(float),
        }
    )
    about = raw[["compound", "moa"]].add_prefix("about_")
    return pd.concat([wells, raw[features].astype(float)], axis=1).join(about), features


def align(wells: pd.DataFrame, features: list[str], alignment: AlignmentSection | None) -> np.ndarray:
    """Aligned profiles, (n, d); without an alignment the raw ones."""
    if alignment is None:
        return wells[features].to_numpy()
    table, known, done = wells.drop(columns=["about_compound", "about_moa"]), None, []
    for run in sorted(set(wells["run"]), key=lambda name: int(name.removeprefix("Week"))):
        of_run = table[table["run"] == run]
        known = fit_profiles(of_run, alignment, PLATES, OUTPUT, known)
        done.append(apply_profiles(of_run, known)[features])
    return pd.concat(done).loc[wells.index].to_numpy()


def week_accuracy(wells: pd.DataFrame, profiles: np.ndarray, *, own_plate: bool) -> float:
    """Share of wells whose 5 nearest tell their week."""
    run, plate = wells["run"].to_numpy(), wells["barcode"].to_numpy()
    squares = (profiles**2).sum(axis=1)
    distance = squares[:, None] + squares - 2.0 * profiles @ profiles.T
    distance[np.eye(len(wells), dtype=bool) if own_plate else plate[:, None] == plate] = np.inf
    nearest = run[np.argsort(distance, axis=1, kind="stable")[:, :5]]
    votes = (nearest[:, :, None] == nearest[:, None, :]).sum(axis=2)
    said = nearest[np.arange(len(wells)), votes.argmax(axis=1)]  # argmax: the nearest of those with most votes
    return float(np.mean(said == run))


def right_mechanisms(wells: pd.DataFrame, profiles: np.ndarray, middle: str) -> pd.Series:
    """Treatment and compound -> whether the nearest treatment of another compound has the same mechanism."""
    samples = (wells["role"] == "sample").to_numpy()
    keys = [wells.loc[samples, name] for name in ("perturbation", "about_compound", "about_moa")]
    treatments = getattr(pd.DataFrame(profiles[samples], index=keys[0].index).groupby(keys), middle)()
    compound, moa = (treatments.index.get_level_values(i).to_numpy() for i in (1, 2))
    unit = treatments.to_numpy() / np.linalg.norm(treatments.to_numpy(), axis=1, keepdims=True)
    similarity = unit @ unit.T
    similarity[compound[:, None] == compound] = -np.inf
    return pd.Series(moa[similarity.argmax(axis=1)] == moa, index=treatments.index.droplevel(2))


def standardised(wells: pd.DataFrame, profiles: np.ndarray) -> np.ndarray:
    """Every feature less the mean of the DMSO wells, over their sd."""
    controls = profiles[(wells["role"] == "negcon").to_numpy()]
    return (profiles - controls.mean(axis=0)) / controls.std(axis=0)


def held_out_week(wells: pd.DataFrame, features: list[str], alignment: AlignmentSection | None) -> float:
    """Week accuracy among DMSO wells that the alignment has not seen."""
    shares = []
    for half in HALVES:
        seen = wells["well"].isin(half) | (wells["role"] == "sample")
        profiles = align(wells.assign(role=wells["role"].where(seen, "sample")), features, alignment)
        unseen = ~seen.to_numpy()
        told = profiles[unseen]
        told = (told - told.mean(axis=0)) / told.std(axis=0)
        shares.append(week_accuracy(wells[unseen], told, own_plate=False))
    return float(np.mean(shares))


def interval(right: pd.Series, raw: pd.Series) -> tuple[float, float]:
    """95% interval of the difference in accuracy, compounds drawn with replacement."""
    by_compound = (right.astype(float) - raw.astype(float)).groupby(level=1).agg(["sum", "size"]).to_numpy()
    draws = np.random.default_rng(0).integers(0, len(by_compound), (10_000, len(by_compound)))
    totals = by_compound[draws].sum(axis=1)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [0.025, 0.975])
    return float(low), float(high)


def measures(wells: pd.DataFrame, features: list[str], alignment: AlignmentSection | None) -> dict[str, object]:
    """week and moa of one setting, and which treatments were right."""
    profiles = standardised(wells, align(wells, features, alignment))
    controls = (wells["role"] == "negcon").to_numpy()
    right = right_mechanisms(wells, profiles, "mean")
    return {
        "week": week_accuracy(wells[controls], profiles[controls], own_plate=False),
        "week_any": week_accuracy(wells[controls], profiles[controls], own_plate=True),
        "moa": float(right.mean()),
        "moa_median": float(right_mechanisms(wells, profiles, "median").mean()),
        "right": right,
    }


def all_settings() -> Iterator[AlignmentSection | None]:
    """Every setting that is measured."""
    yield None
    for scale in ("plate", "common"):
        for shrinkage in (False, True):
            yield AlignmentSection(method="negcon", scale=scale, shrinkage=shrinkage, on_too_few="run")
    for method in ("tvn", "coral"):
        yield AlignmentSection(method=method, scale="plate", on_too_few="run")
        for share in (None, 0.1, 0.3, 0.5, 0.7, 0.9):
            yield AlignmentSection(method=method, scale="common", regularisation=share, on_too_few="run")
        for share in (None, 0.9):
            yield AlignmentSection(
                method=method, scale="common", shrinkage=False, regularisation=share, on_too_few="run"
            )


def run_all(data: Path, out: Path) -> None:
    """Measure every setting; a line each."""
    wells, features = read_wells(data)
    lines, raw = [COLUMNS], None
    for alignment in all_settings():
        found = measures(wells, features, alignment)
        right = found["right"]
        raw = right if raw is None else raw
        low, high = interval(right, raw)
        names = (
            ("raw", "", "", "")
            if alignment is None
            else (
                alignment.method,
                alignment.scale,
                alignment.shrinkage,
                "" if alignment.method == "negcon" else alignment.regularisation or "Ledoit-Wolf",
            )
        )
        numbers = (found["week"], found["week_any"], held_out_week(wells, features, alignment))
        numbers += (found["moa"], found["moa_median"], low, high)
        changed = (int((right & ~raw).sum()), int((~right & raw).sum()))
        lines.append(",".join(map(str, (*names, *(f"{number:.3f}" for number in numbers), *changed))))
        sys.stdout.write(lines[-1] + "\n")
        sys.stdout.flush()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "profile_alignment.csv")
    given = parser.parse_args()
    folder = os.environ.get("HYBRIDSCREEN_DATA")
    if not folder:
        raise SystemExit("HYBRIDSCREEN_DATA is not set: no real screens here")
    run_all(Path(folder), given.out)
