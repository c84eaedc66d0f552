"""Inference set design's experiments: active against random on MNIST, three ways, and on the gaps of QM9.

    make inference-set       3 seeds (QM9: 5), results to tests/benchmarks/results/inference_set.csv, tables and figure

Needs HYBRIDSCREEN_DATA. Neporozhnii et al., "Efficient biological data acquisition through inference set design" (arXiv
2410.19631), sections 4.1 and 4.2. Theirs unless said otherwise; where paper and code
(ineporozhnii/inference_set_design) differ, the code.

mnist, plain      The 60,000 training images are the library, 1,000 are measured a round. Test: 3,000 of the test images
                  (theirs: 5,000 of 10,000, and as many to stop training on; here members stop on held-out labels).
mnist, cropped    The upper 10 of 28 rows alone are seen, in library and test.
mnist, shuffled   Every 6, 8 and 9 is labelled with one of the three at random, in library and test.
qm9               Is the HOMO-LUMO gap above the median? 42,598 of the paper's 133,885 molecules, 15% of them the test
                  (theirs: 5% more to stop on). 1,000 a round (theirs: 50).
                  Hard to predict: see `hard_to_predict` (theirs: single models, the same rule).

Ours: an ensemble of 4 perceptrons with one hidden layer of 128 units, on 50 principal components of the pixels or 128
of the roots of the counts of a Morgan fingerprint (radius 1, 1,024 bits); 6 to 30 epochs, about 100,000 labels seen
where that allows (theirs: one ResMLP of two or three layers of 512 on pixels or ECFP, up to 1,000 epochs). Everything
is trained anew in every round, as theirs is.

A campaign is the project's: round 0 draws an audit of 5% and 1,000 labels to train on; of the 1,000 wells of a round 50
are the random arm, which joins the audit (theirs: neither). Hidden members are in the pool; one that is picked is
released, at no well. Models are trained on `Membership.chosen` alone. Both kinds of wells count as measured. After the
least number of rounds (`EXPERIMENTS`) a campaign ends when every way that applies has certified both γ; the risk is
split over the most.

Strategies, the project's own: random, least-confidence, and on QM9 query-by-committee (paper: on data not played here).

Columns of the results, each a list with a number a round:
wells             Measured so far.
system            (Measured + rightly predicted) / N. Right is what agrees with what measuring would say.
inference         Share of right predictions of all that is not measured.
test              Accuracy on the test.
picks_right       Share of the newest strategic picks predicted rightly before they were measured; nan in round 0.
hard_share        Of all measured, how many are hard (shuffled 6, 8, 9; hard to predict). nan where nobody is.
hard_found        Of the hard ones, how many are measured. nan where nobody is.
bound             The audit's bound of the system accuracy, equal shares of the risk.
Single numbers: wells at which each way first certified γ (0.9 and 0.95), or at which the true system accuracy reached
it (`oracle`), empty if never; ways: `audit` (a risk of 0.05, spent by the model's forecast), `equal` (the audit, the
risk in equal shares), `lemma` (which does not apply to random). `…_false`: 1 if the true accuracy was below γ then.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import cells
import numpy as np
from inference_set_figure import draw
from inference_set_libraries import fit, mnist, qm9
from inference_set_report import claims, needed, tables

from tasks.batches.compose import compose, initial_batch
from tasks.batches.pool import ExhaustedStrategy, PoolView
from tasks.campaigns.batch_settings import Slot
from tasks.campaigns.membership import read_membership
from tasks.campaigns.stopping_settings import StoppingSection
from tasks.ensembles import predict
from tasks.stopping.evidence import Forecast, Look, PickEvidence, Wells, gather_evidence
from tasks.stopping.lemma import ORDERED
from tasks.stopping.risk import equal_share, risk_of_look
from tasks.stopping.rules import RULES

BOTH, ALL = ("random", "least-confidence"), ("random", "least-confidence", "query-by-committee")
EXPERIMENTS = {  # rounds after round 0: at most, at least; seeds; strategies
    "mnist, plain": (45, 20, 3, BOTH),
    "mnist, cropped": (45, 30, 3, BOTH),
    "mnist, shuffled": (45, 30, 3, BOTH),
    "qm9": (28, 15, 5, ALL),
}
BATCH, INITIAL, AUDIT, ARM, RISK, GAMMAS = 1000, 1000, 0.05, 0.05, 0.05, (0.9, 0.95)
WAYS = ("audit", "equal", "lemma")
SERIES = ("wells", "system", "inference", "test", "picks_right", "hard_share", "hard_found", "bound")
COLUMNS = [
    "experiment", "strategy", "seed", *SERIES,
    *(f"{way}_{gamma}" for gamma in GAMMAS for way in ("oracle", *WAYS)),
    *(f"{way}_{gamma}_false" for gamma in GAMMAS for way in WAYS), "cpu_seconds",
]  # fmt: skip
HERE = Path(__file__).parent


@dataclass
class Judged:
    """The ways of certifying one γ in one campaign; of each the first certificate counts."""

    stopping: StoppingSection
    wells: dict = field(default_factory=dict)
    false: dict = field(default_factory=dict)
    spent: dict = field(default_factory=lambda: {way: [] for way in WAYS})

    def judge(self, look, forecast, truth):
        """Look with every way that has not certified yet; the audit's bound, whether it has or not."""
        if truth >= self.stopping.gamma:
            self.wells.setdefault("oracle", look.wells.used)
        for way in WAYS:
            if way in self.wells:
                continue
            if way == "audit":
                risk = risk_of_look(self.stopping, look.round_index, self.spent[way], forecast)
            else:
                risk = equal_share(self.stopping, look.round_index, self.spent[way])
            self.spent[way].append((look.round_index, risk))
            if RULES["lemma" if way == "lemma" else "audit"].find(look, self.stopping, risk).stop:
                self.wells[way], self.false[way] = look.wells.used, int(truth < self.stopping.gamma)
        equal = self.stopping.risk / (self.stopping.max_rounds + 2)
        return RULES["audit"].find(look, self.stopping, equal).bound

    def settled(self, strategy):
        """Whether every way that applies has certified."""
        return all(way in self.wells for way in WAYS if way != "lemma" or strategy in ORDERED)


def accuracies(right, measured):
    """System accuracy and that of the inference set, from (N,) whose prediction is right and who is measured."""
    inference = right[~measured].mean() if not measured.all() else np.nan
    return float((right | measured).mean()), float(inference)


def play(screen, strategy, most, least, seed):
    """One campaign: the columns of its line."""
    n = len(screen.classes)
    ids = [str(row) for row in range(n)]
    judged = {g: Judged(StoppingSection(gamma=g, risk=RISK, max_rounds=most)) for g in GAMMAS}
    audit = round(AUDIT * n)
    designs = [initial_batch(n, ids, audit, audit + INITIAL, seed)]
    series, picks = {name: [] for name in SERIES}, None
    for t in range(most + 1):
        members = read_membership(ids, designs)
        measured = members.chosen | members.hidden
        ensemble = fit(screen, np.flatnonzero(members.chosen), 1000 * seed + t)
        said = predict(ensemble, screen.features)
        right, doubt = judge_predictions(said.mean, screen.classes)
        figures = figures_of(screen, ensemble, right, measured)
        evidence = gather_evidence(members, measured, right)
        look = Look(round_index=t, audit=evidence, wells=Wells(used=figures["wells"], full=n), picks=picks)
        known = evidence.model_dump(include={"library", "chosen", "pending", "audit"})
        forecast = Forecast(**known, expected_errors=float(doubt[~members.chosen].mean()))
        bounds = [each.judge(look, forecast, figures["system"]) for each in judged.values()]
        share = picks.right / picks.picks if picks else np.nan
        for name, value in (figures | {"picks_right": share, "bound": bounds[-1]}).items():
            series[name].append(value)
        if t == most or (t >= least and all(each.settled(strategy) for each in judged.values())):
            break
        pool = pool_view(said, screen.target.kind, ~members.chosen)
        try:
            batch = compose(pool, members.hidden, [Slot(strategy=strategy, share=1)], BATCH, ARM, 1000 * seed + t, ids)
        except ExhaustedStrategy:
            break  # nothing is left that the members disagree on
        designs.append(batch)
        taken = batch.loc[batch["arm"] == "strategy", "perturbation"].astype(int).to_numpy()
        picks = PickEvidence(strategies=(strategy,), picks=len(taken), right=int(right[taken].sum()))
    line = {name: " ".join(_short(value) for value in values) for name, values in series.items()}
    for gamma, found in judged.items():
        line |= {f"{way}_{gamma}": wells for way, wells in found.wells.items()}
        line |= {f"{way}_{gamma}_false": false for way, false in found.false.items()}
    return line


def figures_of(screen, ensemble, right, measured):
    """The columns that say how well an ensemble and its campaign do, from (N,) whose prediction is right."""
    system, inference = accuracies(right, measured)
    test = judge_predictions(predict(ensemble, screen.test_features).mean, screen.test_classes)[0].mean()
    found = {"wells": int(measured.sum()), "system": system, "inference": inference, "test": float(test)}
    if not screen.hard.any():
        return found | {"hard_share": np.nan, "hard_found": np.nan}
    return found | {"hard_share": screen.hard[measured].mean(), "hard_found": measured[screen.hard].mean()}


def judge_predictions(mean, classes):
    """(n,) whose most probable class was measured, and (n,) the probability of another, as the ensemble says it."""
    if mean.ndim == 1:
        mean = np.stack([1 - mean, mean], axis=1)
    return mean.argmax(axis=1) == classes, 1 - mean.max(axis=1)


def pool_view(said, kind, open_):
    """What strategies about classes see. None of them looks at the eigenspace: there is none here."""
    n = len(open_)
    return PoolView(
        coordinates=np.zeros((n, 1)), eigenvalues=np.zeros(1), variance=np.zeros(n), predictions=said.mean,
        members=said.members, open=open_, kind=kind,
    )  # fmt: skip


def _short(value):
    return str(value) if isinstance(value, int) else f"{value:.5f}"


def play_all(out, most):
    """Play cells that are missing, so many at most: all of a seed before the next seed, the committee last."""
    done = {(row["experiment"], row["strategy"], int(row["seed"])) for row in cells.read(out)}
    every = [
        (experiment, strategy, seed)
        for seed in range(max(seeds for _, _, seeds, _ in EXPERIMENTS.values()))
        for experiment, (_, _, seeds, strategies) in EXPERIMENTS.items()
        for strategy in (strategies if seed < seeds else ())
    ]
    every.sort(key=lambda cell: cell[1] == ALL[-1])
    for experiment, strategy, seed in [cell for cell in every if cell not in done][:most]:
        started = time.process_time()
        screen = qm9() if experiment == "qm9" else mnist(experiment.removeprefix("mnist, "), seed)
        row = {"experiment": experiment, "strategy": strategy, "seed": seed}
        row |= play(screen, strategy, *EXPERIMENTS[experiment][:2], seed)
        cells.append(out, COLUMNS, row | {"cpu_seconds": f"{time.process_time() - started:.1f}"})


def main():
    """Play the cells that are missing, then print the tables and draw the figure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cells", type=int, help="play so many at most (a cell takes a minute or two)")
    options.add_argument("--out", type=Path, default=HERE / "results" / "inference_set.csv")
    options.add_argument("--figure", type=Path, default=HERE / "figures" / "inference_set.svg")
    options.add_argument("--report-only", action="store_true", help="play nothing")
    given = options.parse_args()
    if not given.report_only:
        play_all(given.out, given.cells)
    rows = cells.read(given.out)
    order = list(EXPERIMENTS)
    rows.sort(key=lambda row: (order.index(row["experiment"]), ALL.index(row["strategy"]), int(row["seed"])))
    cells.rewrite(given.out, COLUMNS, rows)
    sys.stdout.write("\n\n".join((tables(rows), needed(rows), claims(rows))) + "\n")
    draw(rows, given.figure)


if __name__ == "__main__":
    main()
