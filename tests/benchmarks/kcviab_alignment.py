"""Alignments with one control a plate: KcViab, and what each does when samples are chosen.

    HYBRIDSCREEN_DATA=… python tests/benchmarks/kcviab_alignment.py     results to results/kcviab_alignment.csv

57 plates, twice, log2 of the luminescence; one negative control (B01) a plate, flagged wells left out. Nothing is
random but the samples that are kept at random (seed 0).

whole screen   One run of 114 plates.
    r          Correlation, without its sign, of the mean aligned value of the two replicates with score2003.
    error      sd over plates of offset − median of the plate's samples [log2], around its mean.
    stated     What the fit says of that: √(mean own error variance of the offsets) [log2].
chosen         Plates 1-28 (run A) keep a share of their samples at random, plates 29-57 (run B) the same share of the
               lowest or highest scores on each plate, as a screen that goes after hits would.
    drift      Mean over plates of offset − median of all of the plate's samples, run B less run A [log2].
    r          As above, over the samples that are kept.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.campaigns.config import AlignmentSection, ControlWells, PlatesSection
from tasks.readouts.alignment import AlignmentFit, apply_alignment, fit_alignment

LAYOUT = PlatesSection(negcon=ControlWells(wells=("B01",)))
ROLES = {"neg": "negcon", "pos": "poscon", "sample": "sample", "other": "other"}
METHODS = ("none", "negcon", "negcon shrunk", "bridges", "samples", "bridges, samples", "plate-median", "b-score")
SHARES = (1.0, 0.7, 0.5, 0.3)
COLUMNS = ("screen", "method", "r", "error", "stated", "drift")


def read_wells(data: Path) -> pd.DataFrame:
    """The screen as a table of wells, with score2003."""
    raw = pd.read_parquet(data / "kcviab" / "kcviab.parquet")
    raw = raw[~raw["flagged"]]
    plate = raw["plate"].astype(str).str.zfill(2)
    return pd.DataFrame(
        {
            "barcode": plate + "-" + raw["replicate"].astype(str),
            "attempt": 1,
            "run": "KcViab",
            "well": raw["well"],
            "row": raw["well"].str[0].map(lambda letter: ord(letter) - ord("A")),
            "column": raw["well"].str[1:].astype(int) - 1,
            "role": raw["control"].map(ROLES),
            "perturbation": (plate + raw["well"]).where(raw["control"] == "sample", ""),
            "replicate": raw["replicate"],
            "value": np.log2(raw["value"].astype(float)),
            "score": raw["score2003"],
        }
    ).reset_index(drop=True)


def section(method: str = "negcon", **settings: object) -> AlignmentSection:
    """Settings of one control a plate."""
    return AlignmentSection.model_validate({"method": method, "min_controls": 1, **settings})


def fit(wells: pd.DataFrame, method: str) -> AlignmentFit | None:
    """Fit one run; None leaves the values as they are.

    A control alone on its plate tells no noise. "negcon" and "negcon shrunk" look at controls only, with the noise and
    the run's level as the replicates told them: the settings of a fit with bridges, without its plates.
    """
    if method == "none":
        return None
    if method in ("plate-median", "b-score"):
        return fit_alignment(wells, section(method), LAYOUT)
    if method.startswith("negcon"):
        told = fit_alignment(wells, section(anchors=("bridges",)), LAYOUT).model_copy(update={"plates": ()})
        return fit_alignment(wells, section(shrinkage=method == "negcon shrunk"), LAYOUT, known=told)
    return fit_alignment(wells, section(anchors=tuple(method.split(", "))), LAYOUT)


def correlation(aligned: pd.DataFrame) -> float:
    """|r| of the mean over replicates with the published score."""
    samples = aligned[aligned["role"] == "sample"]
    means = samples.groupby("perturbation").agg(value=("aligned", "mean"), score=("score", "first")).dropna()
    return abs(float(np.corrcoef(means["value"], means["score"])[0, 1]))


def sample_medians(wells: pd.DataFrame) -> pd.Series[float]:
    """Median of the samples of each plate [log2]."""
    return wells[wells["role"] == "sample"].groupby("barcode")["value"].median()


def errors(found: AlignmentFit | None, medians: pd.Series[float]) -> pd.Series[float]:
    """Offset less the median of all samples, for each plate [log2]."""
    offsets = {} if found is None else {plate.barcode: plate.offset for plate in found.plates}
    return pd.Series({barcode: offsets.get(barcode, 0.0) - median for barcode, median in medians.items()})


def align(wells: pd.DataFrame, found: AlignmentFit | None) -> pd.DataFrame:
    """Aligned wells; without a fit the values themselves."""
    return wells.assign(aligned=wells["value"]) if found is None else apply_alignment(wells, found)


def whole_screen(wells: pd.DataFrame, method: str) -> dict[str, object]:
    """One row of the table: all plates, all samples, one run."""
    found = fit(wells, method)
    stated = (
        np.nan if found is None else np.mean([plate.offset_variance * plate.scale**2 for plate in found.plates]) ** 0.5
    )
    error = errors(found, sample_medians(wells)).std()
    return {
        "screen": "whole",
        "method": method,
        "r": correlation(align(wells, found)),
        "error": error,
        "stated": stated,
    }


def choose(wells: pd.DataFrame, share: float, which: str) -> pd.DataFrame:
    """Keep a share of each plate's samples: at random in run A, the lowest or highest scores in run B."""
    samples = wells["role"] == "sample"
    late = wells["barcode"].str[:2].astype(int) > 28
    by_gene = wells[samples].groupby("perturbation")["score"].first()
    chance = pd.Series(np.random.default_rng(0).random(len(by_gene)), index=by_gene.index)
    wanted = by_gene.fillna(0.0) if which == "lowest" else -by_gene.fillna(0.0)
    order = wells["perturbation"].map(wanted).where(late, wells["perturbation"].map(chance))
    rank = order[samples].groupby(wells["barcode"]).rank(pct=True, method="first")
    kept = ~samples | (rank.reindex(wells.index) <= share)
    return wells.assign(run=np.where(late, "B", "A"))[kept]


def chosen_screen(wells: pd.DataFrame, share: float, which: str, method: str) -> dict[str, object]:
    """One row of the table: two runs, of which the second was chosen."""
    kept, medians, aligned, mean = choose(wells, share, which), sample_medians(wells), [], {}
    for run, rows in kept.groupby("run"):
        found = fit(rows, method)
        aligned.append(align(rows, found))
        mean[run] = errors(found, medians[medians.index.isin(rows["barcode"])]).mean()
    name = f"{share:.0%} {which}"
    return {"screen": name, "method": method, "r": correlation(pd.concat(aligned)), "drift": mean["B"] - mean["A"]}


def main() -> None:
    """Every row, to a CSV."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "kcviab_alignment.csv")
    given = parser.parse_args()
    wells = read_wells(Path(os.environ["HYBRIDSCREEN_DATA"]))
    rows = [whole_screen(wells, method) for method in METHODS]
    screens = [(share, "lowest") for share in SHARES] + [(0.3, "highest")]
    rows += [chosen_screen(wells, *screen, method) for screen in screens for method in METHODS]
    table = pd.DataFrame(rows, columns=COLUMNS).round(4)
    table.to_csv(given.out, index=False)
    sys.stdout.write(table.to_string(index=False) + "\n")


if __name__ == "__main__":
    main()
