"""A whole campaign on a real plate screen: KcViab through plate-reader files, 12 plates a round, beside replicate 2.

    HYBRIDSCREEN_DATA=… python tests/benchmarks/kcviab_campaign.py      results to results/kcviab_campaign.csv

Library: the 13,525 dsRNAs that both replicates report, described by 64 components of GO terms and whether the gene has
any (6 of 10 have). The lab is replicate 1. The k-th plate that a campaign designs is read on the k-th real plate: with
that plate's level and its two controls, as the instrument reported them (one B01, one B02; some of them failed), and
with each gene's own deviation from the median of the plate that it really stood on, noise and edge effect with it. A
repeat is read on the next real plate that is left. Files are headerless text, as the instrument's.

Truth: replicate 2, log2, less the median of its real plate: nothing of the pipeline is in it. Hits: its lowest 5%.

r            Correlation of the hybrid screen with the truth, over the library; `r_predicted`: of those not measured.
hits_listed  Share of the hits among the hybrid screen's own lowest 5%; `hits_measured`: among what was measured.
Every round is a run of its own, with a level and a scale told from its controls alone: by both of them (two-point), and
in one arm by the sd of the 12 negative controls.
`replicate 1` is the same for a lab that measures everything: what no hybrid screen of one replicate can beat by much.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import anndata
import cells
import numpy as np
import pandas as pd
import yaml
from replay_sets import data_folder

HITS = 0.05
PLATES = 12
COLUMNS = (
    "arm", "seed", "round", "plates", "repeats", "wells", "bound", "r", "r_predicted", "hits_listed", "hits_measured",
    "cpu_seconds",
)  # fmt: skip
CLUSTERS, RANDOM = ({"strategy": name, "share": 1.0} for name in ("eigenspace-clusters", "random"))
HIT_SLOT = {"strategy": "greedy-hits", "share": 0.5, "options": {"tail": "low"}}
ARMS = {
    "random": {"slots": [RANDOM]},
    "default": {"slots": [CLUSTERS]},
    "default, half hits": {"slots": [CLUSTERS], "hits": HIT_SLOT},
    "random, scale of negcon": {"slots": [RANDOM]},
}


def read_screen(data):
    """Real plates: samples (perturbation, plate, deviation of replicate 1, truth) and levels and controls by plate."""
    raw = pd.read_parquet(data / "kcviab.parquet")
    raw = raw[~raw["flagged"]].assign(value=lambda table: np.log2(table["value"].astype(float)))
    samples = raw[(raw["control"] == "sample") & raw["HFAID"].notna() & raw["GeneID"].notna()]
    level = samples.groupby(["plate", "replicate"])["value"].median().rename("level")
    samples = samples.join(level, on=["plate", "replicate"])
    samples = samples.assign(deviation=samples["value"] - samples["level"])
    both = samples.pivot_table(index=["HFAID", "GeneID"], columns="replicate", values="deviation").dropna()
    table = both.set_axis(["deviation", "truth"], axis=1).reset_index()
    controls = raw[raw["control"].isin(["neg", "pos"])].pivot(
        index=["plate", "replicate"], columns="control", values="value"
    )
    donors = controls.join(level).xs(1, level="replicate")
    return table.rename(columns={"HFAID": "perturbation"}), donors


def make_library(samples, data):
    """The library as AnnData."""
    terms = pd.read_parquet(data / "kcviab_go_svd64.parquet").reindex(samples["GeneID"])
    known = terms.notna().all(axis=1).to_numpy()
    features = np.column_stack([terms.fillna(0.0).to_numpy(), known]).astype(np.float32)
    obs = pd.DataFrame({"gene": samples["GeneID"].to_numpy()}, index=samples["perturbation"].astype(str).to_numpy())
    return anndata.AnnData(X=features, obs=obs)


def configuration(arm, seed):
    """campaign.yaml of an arm."""
    method = "negcon" if arm.endswith("negcon") else "two-point"
    return {
        "campaign": {"name": "kcviab", "storage": "campaigns", "seed": seed},
        "library": {"uri": "library.h5ad"},
        "readout": {
            "tolerance": 3.0 if method == "negcon" else 0.15,
            "transform": "log2",
            "columns": {"plate": 1, "well": 2, "value": 3, "attempt": 4, "run": 5},
        },
        "plates": {
            "format": 384, "negcon": {"wells": ["B01"], "nominal": 0.0}, "poscon": {"wells": ["B02"], "nominal": -1.0},
            "initial": PLATES, "per_round": PLATES,
        },
        "quality": {"min_zprime": None, "min_ssmd": None, "min_gap_share": 0.5, "poscon_reads": "lower"},
        "alignment": {"method": method, "anchors": ["samples"], "min_controls": 1},
        "batch": ARMS[arm],
        "stopping": {"gamma": 0.99, "max_rounds": 2},
    }  # fmt: skip


class RealPlates:
    """The lab: replicate 1, read on real plates one after the other. For `answer_round`."""

    def __init__(self, samples, donors):
        self._deviation = samples.set_index("perturbation")["deviation"]
        self._donors = donors

    def fails(self, *_):
        """Failures are those of the real plates."""
        return False

    def plate_file(self, plate, attempt, run, *, failed=False):
        """Lines plate, well, luminescence, attempt, run; no header."""
        del failed
        barcode = str(plate["barcode"].iloc[0])
        round_, number = (int(part[1:]) for part in barcode.rsplit("-", 2)[1:])
        taken = PLATES * round_ + number - 1 if attempt == 1 else len(self._donors) - number - PLATES * (attempt - 2)
        donor = self._donors.iloc[taken % len(self._donors)]
        used = plate[plate["role"] != "empty"]
        role = used["role"].to_numpy()
        own = donor["level"] + self._deviation.reindex(used["perturbation"]).to_numpy()
        value = np.where(role == "sample", own, np.where(role == "negcon", donor["neg"], donor["pos"]))
        lines = (
            f"{barcode}\t{well}\t{reading}\t{attempt}\t{run[:3]}"
            for well, reading in zip(used["well"], np.round(2**value).astype(int), strict=True)
        )
        return barcode, ("\n".join(lines) + "\n").encode()


def judge(screen, truth):
    """Figures of a hybrid screen, or of replicate 1 alone."""
    count = int(HITS * len(truth))
    hits = truth.nsmallest(count).index
    measured = screen.index[screen["source"] == "measured"]
    value = screen["value"].astype(float)
    left = value.drop(measured)
    return {
        "r": value.corr(truth),
        "r_predicted": left.corr(truth.loc[left.index]) if len(left) else np.nan,
        "hits_listed": len(hits.intersection(value.nsmallest(count).index)) / count,
        "hits_measured": len(hits.intersection(measured)) / count,
    }


def play(arm, seed, samples, donors, library):
    """One campaign: a row a round."""
    from flows.campaign import open_campaign
    from flows.round import run_round
    from tasks.campaigns.ledger import Ledger
    from tasks.campaigns.reading import read_config
    from tasks.labs.rounds import answer_round

    lab, truth = RealPlates(samples, donors), samples.set_index("perturbation")["truth"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "campaign.yaml"
        library.write_h5ad(Path(folder) / "library.h5ad")
        path.write_text(yaml.safe_dump(configuration(arm, seed)))
        open_campaign(str(path))
        storage = Ledger.of(read_config(path)).storage
        stop, number = False, 0
        while not stop:
            started, repeats = time.process_time(), 0
            answer_round(storage, lab, number)
            result = run_round(str(path), number)
            while result.repeats:
                repeats += len(result.repeats)
                answer_round(storage, lab, number)
                result = run_round(str(path), number)
            obs = anndata.read_zarr(f"{result.screen}/screen.zarr").obs
            decision = result.decision
            found = {name: f"{value:.4f}" for name, value in judge(obs, truth).items()}
            yield found | {
                "arm": arm, "seed": seed, "round": number, "plates": result.plates_passed, "repeats": repeats,
                "wells": decision["wells_used"], "bound": f"{decision['bound']:.4f}",
                "cpu_seconds": f"{time.process_time() - started:.0f}",
            }  # fmt: skip
            stop, number = decision["stop"], number + 1


def table(rows, whole):
    """Means over the campaigns that came to a round, with their range, by arm and round."""
    lines = ["| arm | campaigns | wells | bound | r | r, predicted | hits listed | hits measured |", "|---" * 8 + "|"]
    frame = pd.DataFrame(rows).astype({name: float for name in COLUMNS if name != "arm"})
    frame["arm"] = pd.Categorical(frame["arm"], list(ARMS))
    for (arm, _), group in frame.groupby(["arm", "round"], observed=True):
        shown = [_mean(group[name]) for name in ("bound", "r", "r_predicted", "hits_listed", "hits_measured")]
        lines.append(f"| {arm} | {len(group)} | {group['wells'].mean():,.0f} | " + " | ".join(shown) + " |")
    lines.append(f"| replicate 1 | | all | | {whole['r']:.3f} | | {whole['hits_listed']:.3f} | 1 |")
    return "\n".join(lines)


def _mean(column):
    ends = f" ({column.min():.3f}–{column.max():.3f})" if len(column) > 1 else ""
    return "–" if column.isna().all() else f"{column.mean():.3f}{ends}"


def main():
    """Play the campaigns that are missing, then print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "kcviab_campaign.csv")
    given = options.parse_args()
    data = data_folder() / "kcviab"
    samples, donors = read_screen(data)
    library = make_library(samples, data)
    done = {(row["arm"], int(row["seed"])) for row in cells.read(given.out)}
    with tempfile.TemporaryDirectory() as home:
        os.environ["PREFECT_HOME"] = home
        from flows.cli import prepare_environment

        prepare_environment()
        for seed in range(given.seeds):
            for arm in given.arms:
                if (arm, seed) not in done:
                    for row in list(play(arm, seed, samples, donors, library)):
                        cells.append(given.out, list(COLUMNS), row)
    whole = samples.set_index("perturbation").rename(columns={"deviation": "value"}).assign(source="measured")
    sys.stdout.write(table(cells.read(given.out), judge(whole, whole["truth"])) + "\n")


if __name__ == "__main__":
    main()
