"""Is the certificate right, and what does it cost? Simulated campaigns by counts and masks, in a dozen worlds.

    make stopping            1,000 campaigns a cell, results to tests/benchmarks/results/stopping.csv, table and figure

The project's own rules, evidence and risk; only measurements and models are made up. N = 20,000 in 41 looks, N = 2,000
in 21. Round 0 draws an audit of 8% and 2% to train on; every batch is 2.4% (N = 2,000: 4.9%), 5% of it the random arm.
The strategy takes the least confident first (but in `random order`). Picked audit members are released, at no well.

A model is a probability of error for each perturbation, e = 0.5·exp(−6·rate·measured share), rate lognormal (sd 1),
and one uniform number each that says when it is wrong: errors fall and stay where they are. `said` is what the model
says of its errors: what strategies and the lemma go by. Worlds:

calibrated        said is true
constant          e = 0.1 everywhere, whatever is measured; said is true
wrong tail        10% are always wrong and said to be right in 99%
adversarial       the least accurate are the most confident: said is e turned upside down, of the same mean
noisy labels      5% of all measurements are of the other class, fixed in advance
plate noise       each plate (320 wells; N = 2,000: 80) is bad with probability 10%: 30% of its measurements are wrong
random order      picks at random; the lemma does not apply
vetoes            0.5% are vetoed before round 1, those with the largest errors
abandoned         each plate is lost with probability 2%: its perturbations are chosen or hidden, and never measured
multi-output      5 outputs, each with a share of the error; right where 4 of them are
knife edge        each look has another model whose errors keep the truth just below γ: the risk is at stake every time
shuffled          30% can not be learnt (e = 0.67) and the model knows; the rest are soon right (for the cost alone)

A certificate is false when the true system accuracy is below γ at that look. True: a measured perturbation is right; of
the others, a prediction that agrees with the noise-free class. `false_measured` counts it by what the lab would measure
instead, noise and all. Audit and lemma are judged in the same campaigns; the campaign goes on until both have certified
and the oracle has stopped, or nothing is left.

Cost: wells of the audit's stop over those of an oracle that sees the true accuracy in every round and has the same
audit wells, in percent of N; a campaign that never certifies costs all that it measures. `equal`: the audit again,
its risk spent in equal shares instead of by what the model says of its own errors.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cells
import numpy as np
from stopping_report import draw, tables

from tasks.campaigns.membership import Membership
from tasks.campaigns.stopping_settings import StoppingSection
from tasks.stopping import audit_rule
from tasks.stopping.audit import audit_bound
from tasks.stopping.decision import decide
from tasks.stopping.evidence import Forecast, Look, PickEvidence, Wells, gather_evidence
from tasks.stopping.outputs import jointly_right
from tasks.stopping.risk import equal_share, risk_of_look
from tasks.stopping.rules import RULES

CASES = (
    "calibrated", "constant", "wrong tail", "adversarial", "noisy labels", "plate noise", "random order", "vetoes",
    "abandoned", "multi-output", "knife edge", "shuffled",
)  # fmt: skip
SIZES, GAMMAS, BLOCK, RISK = (2000, 20000), (0.9, 0.95, 0.99), 50, 0.05
ROUNDS = {2000: 20, 20000: 40}
PLATE = {2000: 80, 20000: 320}
AUDIT, INITIAL, ARM = 0.08, 0.02, 0.05
WAYS = ("audit", "lemma", "equal")
COLUMNS = (
    "case", "size", "gamma", "block", "campaigns", "oracle_wells",
    *(f"{way}_{what}" for way in WAYS for what in ("certified", "false", "false_measured", "wells")), "seconds",
)  # fmt: skip
RESULTS = Path(__file__).parent / "results" / "stopping.csv"
FIGURE = Path(__file__).parent / "figures" / "stopping.svg"


class World:
    """What the model gets wrong, and what it says of it.

    Attributes:
        n: Perturbations.
        order: (N,) uniform numbers; who is wrong is who is below its probability of error.
        shift: (N,) the noise of measurements that is fixed in advance: True where the other class is measured.
    """

    def __init__(self, case: str, n: int, gamma: float, rng: np.random.Generator) -> None:
        self.case, self.n, self.gamma, self.rng = case, n, gamma, rng
        self.rate = np.exp(rng.standard_normal(n))
        self.order = rng.random(n)
        self.outputs = rng.random((n, 5)) if case == "multi-output" else None
        self.tail = rng.random(n) < (0.3 if case == "shuffled" else 0.1)
        self.shift = rng.random(n) < 0.05 if case == "noisy labels" else np.zeros(n, dtype=bool)

    def model(self, chosen, hidden):
        """(N,) who is wrong, and what the model says of it, after these were chosen."""
        share = chosen.sum() / self.n
        error = 0.5 * np.exp(-6 * self.rate * share)
        if self.case == "constant":
            error = np.full(self.n, 0.1)
        if self.case == "shuffled":
            error = np.where(self.tail, 0.67, 0.9 * np.exp(-80 * self.rate * share))
        if self.case == "knife edge":
            return self.edge(chosen, hidden), error
        if self.outputs is not None:
            each = error / 2
            return ~jointly_right(self.outputs >= each[:, None], 0.8), error
        said = error
        if self.case == "wrong tail":
            error, said = np.where(self.tail, 1.0, error), np.where(self.tail, 0.01, error)
        if self.case == "adversarial":
            said = error.max() + error.min() - error
            said = said * (error.mean() / said.mean())
        return self.order < error, said

    def edge(self, chosen, hidden):
        """Errors anywhere among what is not chosen, just as many as keep the truth below γ."""
        left = np.flatnonzero(~chosen)
        wrong = np.zeros(self.n, dtype=bool)
        need = int(np.floor((1 - self.gamma) * self.n)) + 1  # errors among those neither chosen nor hidden
        unhidden = int((~chosen & ~hidden).sum())
        if need <= unhidden:
            count = min(len(left), round(need * len(left) / unhidden))
            wrong[self.rng.choice(left, count, replace=False)] = True
            free = np.flatnonzero(~chosen & ~hidden)
            short = need - int(wrong[free].sum())
            if short > 0:  # a few more, anywhere, until the truth is below γ
                rest = self.rng.permutation(np.flatnonzero(~chosen & ~wrong))
                among = np.cumsum(~hidden[rest])
                wrong[rest[: int(np.searchsorted(among, short)) + 1]] = True
        return wrong


class Lab:
    """Measures what is asked for, plate by plate, and remembers."""

    def __init__(self, world: World) -> None:
        self.world, self.rng = world, world.rng
        self.measured = np.zeros(world.n, dtype=bool)
        self.shifted = world.shift.copy()

    def measure(self, rows):
        """A batch on plates of its own, in random positions."""
        case, size = self.world.case, PLATE[self.world.n]
        rows = self.rng.permutation(rows)
        plate = np.arange(len(rows)) // size
        arrived = np.ones(len(rows), dtype=bool)
        if case == "abandoned":
            arrived = (self.rng.random(plate.max() + 1 if len(rows) else 1) >= 0.02)[plate]
        if case == "plate noise":
            bad = (self.rng.random(plate.max() + 1 if len(rows) else 1) < 0.1)[plate]
            self.shifted[rows] = bad & (self.rng.random(len(rows)) < 0.3)
        self.measured[rows[arrived]] = True


@dataclass
class Judged:
    """How one way of certifying did in a campaign; the first certificate is what counts."""

    spent: list
    wells: int | None = None
    false: bool = False
    false_measured: bool = False


def campaign(case: str, n: int, gamma: float, seed: int):
    """Play one campaign: wells of the oracle, and what became of each way of certifying."""
    rng = np.random.default_rng([CASES.index(case), n, round(100 * gamma), seed])
    world = World(case, n, gamma, rng)
    lab, rounds = Lab(world), ROUNDS[n]
    stopping = StoppingSection(gamma=gamma, risk=RISK, max_rounds=rounds, rule="audit")
    batch = round(n * (1 - INITIAL) / rounds)
    arm = max(1, round(ARM * batch))
    order = rng.permutation(n)
    chosen, hidden, vetoed = (np.zeros(n, dtype=bool) for _ in range(3))
    audit, initial = round(AUDIT * n), round(INITIAL * n)
    hidden[order[:audit]] = True
    chosen[order[audit : audit + initial]] = True
    lab.measure(np.flatnonzero(chosen | hidden))
    wells, oracle, picks = audit + initial, None, None
    judged = {way: Judged([]) for way in WAYS}
    strategies = ("random",) if case == "random order" else ("least-confidence",)  # the lemma reads only the latter
    for t in range(rounds + 1):
        wrong, said = world.model(chosen, hidden)
        apart = wrong ^ lab.shifted  # prediction and measurement differ; of the unmeasured: would, noise being fixed
        unmeasured = ~lab.measured
        truth = 1 - (wrong & unmeasured).sum() / n
        as_measured = 1 - expected_apart(world, wrong, unmeasured) / n
        if oracle is None and truth >= gamma:
            oracle = wells
        members = Membership(chosen | vetoed, hidden & ~vetoed)
        look = Look(
            round_index=t,
            audit=gather_evidence(members, lab.measured, ~apart),
            wells=Wells(used=wells, full=n),
            picks=picks,
        )
        pool = ~chosen & ~vetoed
        for way, state in judged.items():
            if state.wells is not None:
                continue
            if way == "audit":
                mean = float(np.clip(said[pool].mean(), 0, 1)) if pool.any() else 0.0
                counts = look.audit.model_dump(exclude={"measured", "errors"})
                risk = risk_of_look(stopping, t, state.spent, Forecast(**counts, expected_errors=mean))
            else:
                risk = equal_share(stopping, t, state.spent)
            if RULES["lemma" if way == "lemma" else "audit"].find(look, stopping, risk).stop:
                state.wells, state.false, state.false_measured = wells, truth < gamma, as_measured < gamma
                if way == "audit":
                    record = decide(look, stopping, state.spent, risk)
                    assert record.certified
            state.spent.append((t, risk))
        if t == rounds or (oracle is not None and all(state.wells is not None for state in judged.values())):
            break
        if case == "vetoes" and t == 0:
            vetoed[np.argsort(-np.where(pool, wrong + said, -1))[: round(0.005 * n)]] = True
        score = rng.random(n) if case == "random order" else said + 1e-9 * rng.random(n)
        candidates = np.flatnonzero(~chosen & ~vetoed)
        candidates = candidates[np.argsort(-score[candidates])]
        cost = np.cumsum(~hidden[candidates])
        taken = candidates[: int(np.searchsorted(cost, batch - arm)) + 1]
        new = taken[~hidden[taken]]
        chosen[taken] = True
        rest = np.flatnonzero(~chosen & ~hidden & ~vetoed)
        drawn = rng.choice(rest, min(arm, len(rest)), replace=False)
        hidden[drawn] = True
        lab.measure(np.concatenate([new, drawn]))
        wells += len(new) + len(drawn)
        right = lab.measured[taken] & ~(wrong ^ lab.shifted)[taken]
        picks = PickEvidence(strategies=strategies, picks=len(taken), right=int(right.sum()))
        hidden &= ~chosen
    return oracle or wells, {way: (state.wells or wells, state) for way, state in judged.items()}


def expected_apart(world: World, wrong, unmeasured) -> float:
    """Of the unmeasured, predictions that differ from what would be measured (plate noise: in expectation)."""
    if world.case == "plate noise":
        flipped = 0.1 * 0.3
        e = (wrong & unmeasured).sum()
        return float(e * (1 - flipped) + (unmeasured.sum() - e) * flipped)
    return float(((wrong ^ world.shift) & unmeasured).sum())


def play(cell):
    """One line of the table: a block of campaigns."""
    case, n, gamma, block = cell
    started = time.process_time()
    played = [campaign(case, n, gamma, seed) for seed in range(block * BLOCK, (block + 1) * BLOCK)]
    row = {"case": case, "size": n, "gamma": gamma, "block": block, "campaigns": BLOCK}
    row["oracle_wells"] = f"{np.mean([oracle for oracle, _ in played]):.2f}"
    for way in WAYS:
        states = [ways[way][1] for _, ways in played]
        row[f"{way}_certified"] = sum(state.wells is not None for state in states)
        row[f"{way}_false"] = sum(state.false for state in states)
        row[f"{way}_false_measured"] = sum(state.false_measured for state in states)
        row[f"{way}_wells"] = f"{np.mean([ways[way][0] for _, ways in played]):.2f}"
    return row | {"seconds": f"{time.process_time() - started:.1f}"}


def remember_bounds() -> None:
    """Campaigns of a cell ask for the same bounds again and again."""
    audit_rule.audit_bound = lru_cache(maxsize=200_000)(audit_bound)


def waiting(blocks, cases, sizes, out):
    """Cells that are not in the table yet, one block of all of them after the other."""
    done = {(row["case"], int(row["size"]), float(row["gamma"]), int(row["block"])) for row in cells.read(out)}
    every = [(case, n, gamma, block) for block in range(blocks) for n in sizes for case in cases for gamma in GAMMAS]
    return [cell for cell in every if cell not in done]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--campaigns", type=int, default=1000, help="a cell; a multiple of 50")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--sizes", nargs="+", type=int, choices=SIZES, default=SIZES)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    given = parser.parse_args()
    left = waiting(-(-given.campaigns // BLOCK), given.cases, given.sizes, given.out)
    with ProcessPoolExecutor(given.jobs, initializer=remember_bounds) as pool:
        for row in pool.map(play, left):
            cells.append(given.out, COLUMNS, row)
    rows = cells.read(given.out)
    sys.stdout.write(tables(rows) + "\n")
    draw(rows, given.figure)
