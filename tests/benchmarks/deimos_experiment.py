"""DEIMOS's experiments that need no lost data: the 1-D example, and MNIST 7 against 9.

    make deimos              10 seeds (1-D: 30), results to tests/benchmarks/results/deimos.csv, then tables and figures

Needs HYBRIDSCREEN_DATA. Nagpal & Knowles, "Active learning in CNNs via expected improvement maximization" (arXiv
2011.14015), sections 5.1 and 5.3. Theirs unless said otherwise.

1-D       Truth: a random dense network, 32 and 32 units, normal weights and biases (ours: tanh, and outputs scaled to a
          standard deviation of 1; noise sd 0.1). Model: dense network of 256, 256 and 256 units, dropout 0.2, decay
          0.0005, 50 masks shared by all points. Ours: 150 epochs with the project's rates (the best fit to the labels
          of four settings looked at), 60 labels, 3 of them in [−2.5, 2.5], 20 below and 37 above, none
          in [−10, −7]; 401 candidates on [−10, 10]; 5 acquired at once. Error: mean squared, against the noise-free
          truth over all candidates, after a new fit. τ⁻¹: 0.15 of the mean variance (theirs: 0.1 to 0.2). The seed of
          the figure is 0, not chosen.
MNIST     10 labels at random, 5 of each digit; acquisition 1 or 25 at a time; 50 masks; 2,500 candidates drawn anew for
          every acquisition (ours: 1,000, and no separate validation images, as the project stops on held-out labels).
          Theirs is a convolutional network. The project has none: gradient-orientation histograms of the images (8
          orientations in 7 × 7 cells) stand in for the convolutions, under the dense layer of 50 units with dropout
          0.15 (preset `deimos`, 100 epochs instead of 300). Numbers of acquisitions cannot be compared with the
          paper's, only the strategies' order. Test: 2,601 sevens and nines that are in no pool (those of the 3,000 test
          images at hand, and 2,000 training images). τ_s⁻¹: 0.005 of the mean variance (theirs: 0.001 to 0.01).
          One at a time: 200 acquisitions (random: 500), tested after every 5th. Batches of 25: 500 acquisitions.

Strategies, the project's own: random; maximum-entropy; batch-bald, which is BALD for one; k-centre on the leading
features of the network (theirs: robust k-centre on its last layer); expected-improvement (DEIMOS; equation 5 in 1-D,
equation 6 for classes). In one dimension random, top-variance and expected-improvement.

Columns of the results: errors (1-D) or accuracies (MNIST) at each test, by acquisitions, and the seconds of CPU.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cells
import numpy as np
from deimos_report import draw_line, draw_mnist, tables

from tasks.batches.pool import PoolView
from tasks.batches.registry import STRATEGIES
from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import DropoutSettings
from tasks.ensembles import Target, TrainingSet, fit_ensemble, predict
from tasks.operators import eigenmodes, member_factor

LINE = ("random", "top-variance", "expected-improvement")
MNIST = ("random", "maximum-entropy", "batch-bald", "k-centre", "expected-improvement")
BATCHES = {1: (200, 5), 25: (500, 25)}  # acquisitions, and after how many each the test is asked
RANDOM_LAST = 500  # acquisitions of random: nothing is fitted but for the tests
FIRST, CANDIDATES, TEST = 10, 1000, 2000
LINE_SETTINGS = DropoutSettings(
    model="mc-dropout", members=50, hidden=(256, 256, 256), activation="relu", dropout=0.2, epochs=150,
    weight_decay=5e-4, clip=None, ranks=False,
)  # fmt: skip
MNIST_SETTINGS = DropoutSettings(model="mc-dropout", preset="deimos", epochs=100)
OPERATORS = OperatorsSection(within="none", features=32)
COLUMNS = ["experiment", "strategy", "seed", "acquisitions", "figures", "cpu_seconds"]
HERE = Path(__file__).parent
TRUTH, POINTS, PICK, TESTED, DIGITS, CANDIDATE = range(1, 7)  # what a generator is for


def main():
    """Play the cells that are missing, then print the tables and draw the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--out", type=Path, default=HERE / "results" / "deimos.csv")
    options.add_argument("--figures", type=Path, default=HERE / "figures")
    options.add_argument("--report-only", action="store_true", help="play nothing")
    given = options.parse_args()
    if not given.report_only:
        play_all(given.seeds, given.out)
    rows, order = cells.read(given.out), dict.fromkeys((*LINE, *MNIST))
    rows.sort(key=lambda row: (row["experiment"], list(order).index(row["strategy"]), int(row["seed"])))
    cells.rewrite(given.out, COLUMNS, rows)
    sys.stdout.write(tables(rows, LINE, MNIST) + "\n")
    draw_line(play_line("expected-improvement", 0)[0], given.figures / "deimos_line.svg")
    draw_mnist(rows, MNIST, given.figures / "deimos_mnist.svg")


def play_all(seeds, out):
    """Play the cells that are missing."""
    for seed in range(3 * seeds):  # these cost little
        for strategy in LINE:
            _cell(out, "1-D", strategy, seed, lambda *key: play_line(*key)[1])
    for seed in range(seeds):
        for batch in reversed(BATCHES):
            for strategy in MNIST:
                _cell(out, f"MNIST, {batch}", strategy, seed, lambda *key, batch=batch: play_mnist(*key, batch))


def _cell(out, experiment, strategy, seed, play):
    """One line of the results, unless it is there."""
    done = {(row["experiment"], row["strategy"], row["seed"]) for row in cells.read(out)}
    if (experiment, strategy, str(seed)) in done:
        return
    started = time.process_time()
    acquisitions, figures = play(strategy, seed)
    row = {"experiment": experiment, "strategy": strategy, "seed": seed}
    row["acquisitions"] = " ".join(str(number) for number in acquisitions)
    row["figures"] = " ".join(f"{figure:.5f}" for figure in figures)
    cells.append(out, COLUMNS, row | {"cpu_seconds": f"{time.process_time() - started:.1f}"})


@dataclass(frozen=True)
class Line:
    """The 1-D example before and after one acquisition; `score` is expected improvement at the candidates."""

    grid: np.ndarray
    truth: np.ndarray
    points: np.ndarray
    readouts: np.ndarray
    before: np.ndarray
    after: np.ndarray
    score: np.ndarray
    picked: np.ndarray
    acquired: np.ndarray


def play_line(strategy, seed):
    """The 1-D example: what the figure shows, and the errors before and after."""
    rng = np.random.default_rng([TRUTH, seed])
    network = [(rng.standard_normal((i, o)), rng.standard_normal(o)) for i, o in ((1, 32), (32, 32), (32, 1))]
    grid = np.linspace(-10, 10, 401)[:, None]
    rng = np.random.default_rng([POINTS, seed])
    spans = ((-7.0, -2.5, 20), (-2.5, 2.5, 3), (2.5, 10.0, 37))
    points = np.concatenate([rng.uniform(low, high, count) for low, high, count in spans])[:, None]
    mean, unit = _network(network, grid).mean(), _network(network, grid).std()
    truth = (_network(network, grid) - mean) / unit
    readouts = (_network(network, points) - mean) / unit + 0.1 * rng.standard_normal(len(points))
    acquired = truth + 0.1 * rng.standard_normal(len(grid))

    before = _fit_line(points, readouts, seed).members_at(grid)
    factor = member_factor(before.astype(np.float64))
    pool = _pool(factor, before, np.ones(len(grid), dtype=bool), 0.15)
    options = {"target": "measurement"} if strategy == "expected-improvement" else {}
    picked = STRATEGIES[strategy].pick(pool, 5, np.random.default_rng([PICK, seed]), **options).rows
    grown = np.concatenate([points, grid[picked]]), np.concatenate([readouts, acquired[picked]])
    after = _fit_line(*grown, seed).members_at(grid)
    errors = [float(np.mean(np.square(said.mean(axis=1) - truth))) for said in (before, after)]
    score = expected_improvement(before, float(pool.noise[0]))
    line = Line(grid[:, 0], truth, points[:, 0], readouts, before, after, score, picked, acquired)
    return line, ([0, 5], errors)


def expected_improvement(members, noise):
    """(N,) what the paper's equation 5 gives for each candidate, by the dense covariance."""
    covariance = np.cov(members.astype(np.float64)) + noise * np.eye(len(members))
    return np.square(covariance).sum(axis=0) / np.diag(covariance)


def _network(layers, x):
    for weights, biases in layers[:-1]:
        x = np.tanh(x @ weights + biases)
    weights, biases = layers[-1]
    return (x @ weights + biases)[:, 0]


@dataclass(frozen=True)
class _Fitted:
    ensemble: object

    def members_at(self, x):
        return predict(self.ensemble, x).members


def _fit_line(points, readouts, seed):
    train = TrainingSet(points, readouts, np.zeros(len(readouts)))
    return _Fitted(fit_ensemble(train, Target(), LINE_SETTINGS, OPERATORS, seed))


def play_mnist(strategy, seed, batch):
    """MNIST 7 against 9: acquisitions and accuracy at each test."""
    features, nines, test, pool = digits()
    x_test, y_test = features[test], nines[test]
    order = np.random.default_rng([POINTS, seed]).permutation(pool)
    chosen = [*order[nines[order] == 0][: FIRST // 2], *order[nines[order] == 1][: FIRST // 2]]
    last, every = BATCHES[batch]
    if strategy == "random":
        last, batch = RANDOM_LAST, every
    acquisitions, accuracies = [], []
    for acquired in range(0, last + 1, batch):
        train = TrainingSet(features[chosen], nines[chosen], np.zeros(len(chosen)))
        ensemble = fit_ensemble(train, Target("binary"), MNIST_SETTINGS, OPERATORS, 1000 * seed + acquired)
        if acquired % every == 0:
            acquisitions.append(acquired)
            accuracies.append(np.mean((predict(ensemble, x_test).mean > 0.5) == y_test))
        if acquired < last:
            chosen += _acquire(strategy, ensemble, features, pool, chosen, batch, [seed, acquired])
    return acquisitions, accuracies


def _acquire(strategy, ensemble, features, pool, chosen, batch, key):
    """Rows of the images that a strategy picks among candidates drawn at random."""
    rest = np.setdiff1d(pool, chosen)
    sample = np.random.default_rng([CANDIDATE, *key]).choice(rest, CANDIDATES, replace=False)
    library = np.concatenate([sample, chosen])
    said = predict(ensemble, features[library])
    factor = member_factor(said.members.astype(np.float64))
    if strategy == "k-centre":
        factor = type(factor)(said.features.astype(np.float64))
    view = _pool(factor, said.members, np.arange(len(library)) < CANDIDATES, 0.005, kind="binary")
    return library[STRATEGIES[strategy].pick(view, batch, np.random.default_rng([PICK, *key])).rows].tolist()


def _pool(factor, members, open_, tau, kind="continuous"):
    """The pool in the eigenspace of a factor, with τ⁻¹ as noise."""
    modes = eigenmodes(factor)
    return PoolView(
        coordinates=modes.coordinates(factor),
        eigenvalues=modes.values[: modes.positive],
        variance=factor.diagonal(),
        predictions=members.mean(axis=1, dtype=np.float64),
        members=members,
        noise=np.full(len(members), tau * float(members.var(axis=1, ddof=1).mean())),
        open=open_,
        kind=kind,
    )


@cache
def digits():
    """Histograms (n, 392) of all sevens and nines, whether each is a nine, and rows of the test and of the pool."""
    data = os.environ.get("HYBRIDSCREEN_DATA")
    if not data:
        sys.exit("HYBRIDSCREEN_DATA is not set: this benchmark reads mnist/ below it")
    stored = np.load(Path(data) / "mnist" / "mnist_63k.npz")
    images = np.concatenate([stored["X_test"], stored["X_train"]]).reshape(-1, 28, 28) / 255.0
    labels = np.concatenate([stored["y_test"], stored["y_train"]])
    wanted = np.isin(labels, (7, 9))
    first = int(np.isin(stored["y_test"], (7, 9)).sum())
    training = first + np.random.default_rng(DIGITS).permutation(int(wanted.sum()) - first)
    test, pool = np.concatenate([np.arange(first), training[:TEST]]), np.sort(training[TEST:])
    return orientations(images[wanted]), (labels[wanted] == 9).astype(np.int64), test, pool


def orientations(images, cell=4, bins=8):
    """(n, bins·cells) root of the share of the gradient in each cell and orientation (after Dalal & Triggs 2005)."""
    down, right = np.gradient(images, axis=(1, 2))
    turn = np.arctan2(down, right) / (2 * np.pi) * bins % bins
    low = np.floor(turn)
    size = images.shape[1] // cell
    parts = []
    for number in range(bins):
        share = np.where(low == number, 1 - (turn - low), np.where((low + 1) % bins == number, turn - low, 0.0))
        weight = np.hypot(down, right) * share
        parts.append(weight.reshape(-1, size, cell, size, cell).sum(axis=(2, 4)).reshape(len(images), -1))
    whole = np.concatenate(parts, axis=1)
    return np.sqrt(whole / whole.mean(axis=1, keepdims=True))


if __name__ == "__main__":
    main()
