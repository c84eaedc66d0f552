"""The preprint's experiment: do drops of bias and of reducible error say where to measure next?

    make preprint            30 seeds, results to tests/benchmarks/results/preprint.csv, then tables and figure

Scherer, Kirsch & Taylor-King 2025 (arXiv 2509.04363) choose what collapsed between two rounds. Nobody has published
code or numbers, so the protocol below is ours wherever the preprint's is not known; its body was not available to us.

Truth     sin(1.5 x₁)·sin(1.5 x₂) on the 50 × 50 grid over [0, 2π]² (theirs). Error: mean squared difference of the
          ensemble's mean from the noise-free truth over all 2,500 points, measured ones included (theirs).
Noise     I none; II independent; III alike in nearby points of one experiment (theirs in kind). Ours: sd from 0.05 to
          0.45 along x₁ in II and III alike (mean 0.25, half the truth's sd, so that noise matters but 180 labels still
          teach something; heteroskedastic, so that a strategy can be caught chasing noise), correlation length 0.7, a
          third of a bump's width: neighbours share their noise, yet it is not a plain offset. A round is an experiment
          and draws a field of its own.
Model     The project's deep ensemble: 10 perceptrons of 64, 64 and 32 units, each without another tenth of the labels
          (their precursor code: 5 or 10 of this size by 10-fold; sklearn's training there, the project's here).
          Learning rate 0.05 and batches of 32, chosen on random labels alone, before any strategy was run.
Rounds    60 labels at random, 20 more at random, then 5 rounds of 20 by the strategy (2.4% to 7.2% of the grid): two
          rounds to see a change, the third to use it. The first 80 labels and both ensembles are common to all
          strategies of a seed, as is the noise at a point in a round.

Strategies, each the project's own:

random, top-variance (= BALD = least confidence here), eigenmodes, eigenspace-clusters, expected-improvement (DEIMOS,
τ⁻¹ a tenth of the mean variance, as in its paper; `known noise`: plus the true σ²_Y): on Σ_F of the members.

bias-drop, error-drop / true, direct, quadratic / pointwise, eigen
          `bias` is Δ_{k−1} − Δ_k (BiasReduction), `error` is Ω^red_{k−1} − Ω^red_k (PEMSE). True: δ is known everywhere
          ("cheat"). Estimated: residuals of all labels under both ensembles, by members that had not seen them; direct:
          ridge regression of the residual on the newest ensemble's features, then squared; quadratic: regression of the
          products of all pairs (ridge 0.1, and residuals out of fold rather than forward on the newest labels alone:
          by their rank correlation with the true drop, on random labels). Pointwise: the largest drops; eigen: the
          largest loading on each mode of positive drop, modes getting places in proportion to their eigenvalues where
          there are fewer than 20.
error-left / true, quadratic / pointwise, eigen, sampling; error-left, calibrated / sampling, clusters
          The same for Ω^red_k itself: what is left, not what has changed. Sampling: in proportion to its diagonal.
          Calibrated: the project's own estimate (boosted trees on the squared residuals), Σ_F rescaled to it; clusters:
          largest-cluster distance. These and quadratic are given the true Σ_Y to subtract, as replicates would tell it.

Columns of the results: error after each round (by labels); then of the last ensemble over all points rms of σ_F and of
σ_Y, rank correlation of σ_F with σ_Y and with |δ|, share of the truth within ±1.645 σ_F, chance that a new measurement
falls within ±1.645 of the project's predictive sd; then means over the rounds of rank correlations over the points
still open: `drop_foretells` of the last true drop of reducible error with the next one, `left_foretells` and
`variance_foretells` of reducible error and of σ²_F with the next drop, `score_agrees` of an estimated diagonal with
the true one.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cells
import numpy as np
from preprint_operators import State, calibrated, drop, left, members_alone, view
from preprint_report import comparisons, draw, table, uncertainty
from scipy.stats import norm, spearmanr

from tasks.batches.registry import STRATEGIES
from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import MlpSettings
from tasks.ensembles import Target, TrainingSet, fit_ensemble, predict
from tasks.labs.noise_types import NOISE_TYPES, NoisySurface

FIRST, BATCH, ROUNDS = 60, 20, 5
SETTINGS = MlpSettings(
    members=10, hidden=(64, 64, 32), ranks=False, clip=None, batch_size=32, learning_rate=0.05, holdout="labels"
)
OPERATORS = OperatorsSection(within="none", features=16)
LABELS = [FIRST + BATCH * k for k in range(ROUNDS + 2)]
COLUMNS = [
    "noise", "strategy", "seed", *(f"mse_{n}" for n in LABELS), "rms_sigma_f", "rms_sigma_y", "rank_f_y", "rank_f_bias",
    "cover_f", "cover_sd", "drop_foretells", "left_foretells", "variance_foretells", "score_agrees", "cpu_seconds",
]  # fmt: skip
START, NOISE, PICK = 1, 2, 3  # what a generator is for
RESULTS = Path(__file__).parent / "results" / "preprint.csv"
FIGURE = Path(__file__).parent / "figures" / "preprint.svg"


@dataclass(frozen=True)
class Way:
    """A strategy of the project on an operator; `truth` is the operator that it stands for, where it is an estimate."""

    pick: str
    operator: object = members_alone
    truth: object = None
    noise_known: bool = False


def _ways():
    alone = ("random", "top-variance", "eigenmodes", "eigenspace-clusters", "expected-improvement")
    ways = {name: Way(name) for name in alone}
    ways["expected-improvement, known noise"] = Way("expected-improvement", noise_known=True)
    batches = {"pointwise": "top-variance", "eigen": "eigenmodes"}
    for quantity in ("bias", "error"):
        true = partial(drop, quantity=quantity, estimate="true")
        for estimate in ("true", "direct", "quadratic"):
            operator = partial(drop, quantity=quantity, estimate=estimate)
            for batch, pick in batches.items():
                ways[f"{quantity}-drop, {estimate}, {batch}"] = Way(
                    pick, operator, None if estimate == "true" else true
                )
    true = partial(left, estimate="true")
    for estimate in ("true", "quadratic"):
        operator = partial(left, estimate=estimate)
        for batch, pick in (batches | {"sampling": "error-sampling"}).items():
            ways[f"error-left, {estimate}, {batch}"] = Way(pick, operator, None if estimate == "true" else true)
    for batch, pick in (("sampling", "error-sampling"), ("clusters", "eigenspace-clusters")):
        ways[f"error-left, calibrated, {batch}"] = Way(pick, calibrated, true)
    return ways


WAYS = _ways()


def main():
    """Play the cells that are missing, then print the tables and draw the figure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=30)
    options.add_argument("--out", type=Path, default=RESULTS)
    options.add_argument("--figure", type=Path, default=FIGURE)
    options.add_argument("--report-only", action="store_true", help="play nothing")
    given = options.parse_args()
    played = {(row["noise"], row["strategy"], row["seed"]) for row in cells.read(given.out)}
    for seed in range(0 if given.report_only else given.seeds):
        for noise in NOISE_TYPES:
            play(noise, seed, [name for name in WAYS if (noise, name, str(seed)) not in played], given.out)
    rows, order = cells.read(given.out), list(WAYS)
    rows.sort(key=lambda row: (row["noise"], order.index(row["strategy"]), int(row["seed"])))
    cells.rewrite(given.out, COLUMNS, rows)
    said = table(rows, list(WAYS), LABELS[2:]), comparisons(rows, LABELS[2:]), uncertainty(rows)
    sys.stdout.write("\n\n".join(said) + "\n")
    draw(rows, list(WAYS), LABELS, given.figure)


def play(noise, seed, names, out):
    """Play the named strategies on one noise type and seed; each cell is written as soon as it is played."""
    if not names:
        return
    common = State(NoisySurface(noise))
    for rows in _first_rows(seed, len(common.surface)):
        measure(common, rows, seed)
    for name in names:
        started = time.process_time()
        state = State(common.surface, list(common.experiments), list(common.ensembles), list(common.said))
        agreement = [step(state, WAYS[name], seed) for _ in range(ROUNDS)]
        row = {"noise": noise, "strategy": name, "seed": seed} | figures(state) | {"score_agrees": _mean(agreement)}
        cells.append(out, COLUMNS, row | {"cpu_seconds": f"{time.process_time() - started:.2f}"})


def step(state, way, seed):
    """Choose and measure one batch; how well the estimated diagonal agreed with the true one."""
    operator = way.operator(state)
    pool = view(state, operator, pointwise=way.pick == "top-variance", noise_known=way.noise_known)
    rng = np.random.default_rng([PICK, seed, len(state.experiments)])
    options = {"noise": "ignore"} if way.pick == "eigenspace-clusters" else {}  # the operators are what is compared
    rows = STRATEGIES[way.pick].pick(pool, BATCH, rng, **options).rows
    agrees = np.nan
    if way.truth is not None:
        agrees = spearmanr(operator.diagonal()[state.open], way.truth(state).diagonal()[state.open])[0]
    measure(state, rows, seed)
    return agrees


def measure(state, rows, seed):
    """One experiment, and the ensemble after it."""
    number = len(state.experiments)
    noise = np.random.default_rng([NOISE, seed, number])
    state.experiments.append((rows, state.surface.measure(rows, noise)))
    points, readouts = state.surface.points, state.readouts
    train = TrainingSet(points[state.rows], readouts, np.zeros(len(readouts)))
    ensemble = fit_ensemble(train, Target(), SETTINGS, OPERATORS, 1000 * seed + number, size=SETTINGS.members)
    state.ensembles.append(ensemble)
    state.said.append(predict(ensemble, points))


def figures(state):
    """Errors, calibration at the end, and what foretold the next drop."""
    row = {f"mse_{n}": f"{np.mean(state.bias(k) ** 2):.6f}" for k, n in enumerate(LABELS)}
    sigma_f, sigma_y, bias = np.sqrt(state.variance(-1)), state.surface.sd, np.abs(state.bias(-1))
    sd = state.said[-1].sd[:, 0].astype(np.float64)
    row |= {"rms_sigma_f": f"{_rms(sigma_f):.5f}", "rms_sigma_y": f"{_rms(sigma_y):.5f}"}
    row |= {"rank_f_y": _mean([spearmanr(sigma_f, sigma_y)[0]] if sigma_y.any() else [])}
    row |= {"rank_f_bias": _mean([spearmanr(sigma_f, bias)[0]]), "cover_f": f"{np.mean(bias <= 1.645 * sigma_f):.4f}"}
    row["cover_sd"] = f"{_coverage(state.bias(-1), 1.645 * sd, sigma_y):.4f}"
    foretold = {"drop_foretells": [], "left_foretells": [], "variance_foretells": []}
    for k in range(1, ROUNDS + 1):
        open_ = np.ones(len(state.surface), dtype=bool)
        open_[np.concatenate([rows for rows, _ in state.experiments[: k + 2]])] = False
        next_drop = (state.reducible(k) - state.reducible(k + 1))[open_]
        past = (state.reducible(k - 1) - state.reducible(k), state.reducible(k), state.variance(k))
        for name, values in zip(foretold, past, strict=True):
            foretold[name].append(spearmanr(values[open_], next_drop)[0])
    return row | {name: _mean(values) for name, values in foretold.items()}


def _coverage(bias, half, sigma_y):
    """Chance that a new measurement lies within ± half of the prediction, averaged over the points."""
    if not sigma_y.any():
        return float(np.mean(np.abs(bias) <= half))
    return float(np.mean(norm.cdf((bias + half) / sigma_y) - norm.cdf((bias - half) / sigma_y)))


def _first_rows(seed, size):
    order = np.random.default_rng([START, seed]).permutation(size)[: FIRST + BATCH]
    return order[:FIRST], order[FIRST:]


def _rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def _mean(values):
    values = np.asarray(values, dtype=float)
    return "" if not np.isfinite(values).any() else f"{np.nanmean(values):.4f}"


if __name__ == "__main__":
    main()
