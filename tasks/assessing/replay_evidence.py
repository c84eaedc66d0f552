"""What the replay inside the observed labels says: which order wins, whether there is signal, and of uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.assessing.findings import Pair
from tasks.assessing.intervals import mean_of_repeats, rank_correlation, ratio
from tasks.batches.pool import Kind
from tasks.ensembles.estimates import Estimate, share_of

_NORMAL_90 = 1.6448536269514722  # half of the 90% interval of a standard normal value
_LEAST = 1e-12  # below this a root mean square is rounding
_MOST = float(np.log(10.0))  # a strategy that would measure all of a small test is not infinitely better


@dataclass(frozen=True)
class Evidence:
    """Figures of the replay; each is None, with the reason, where it could not be had.

    Attributes:
        pairs: One a repeat.
        difference: Mean difference of the pairs: of the hybrid screen's error.
        model: The same of the model's own error.
        agreement: Rank correlation of the operator's diagonal with the squared error of the model that it belongs to.
        uncertainty: The same of the predicted sd.
        coverage: Share of measurements inside 90% intervals.
        signal: R² against the mean of the labels learnt; of classes, of their probabilities (Brier skill).
        labels: Labels that the models behind the signal had learnt.
    """

    pairs: tuple[Pair, ...]
    difference: Estimate
    model: Estimate
    agreement: Estimate
    uncertainty: Estimate
    coverage: Estimate
    signal: Estimate
    labels: int


def weigh(tested: pd.DataFrame, kind: Kind, total: int, seed: int) -> Evidence:
    """Evidence from all repeats.

    Tests of two repeats have no perturbation in common, so the bootstrap draws perturbations. Agreement is of the first
    models, which the strategy chose with; the others are of the models with labels in random order.

    Args:
        tested: Tables of `replay_once`, one below the other.
        kind: Kind of the readout.
        total: Labels that there are.
        seed: Of the bootstrap.
    """
    squared = np.square(tested["measured"] - tested["predicted"])
    table = tested.assign(squared=squared, flat=np.square(tested["measured"] - tested["baseline"]))
    start, learnt = (table[table["arm"] == arm] for arm in ("start", "random"))
    pairs = _pairs(table, kind)
    repeats = max(int(table["repeat"].nunique()), 2)
    # Repeats that take a small part of many labels have little in common.
    common = min(1.0, float(learnt["labels"].median()) * 2 / (total * (1 - 1 / repeats)))
    hybrid, model = (
        mean_of_repeats(np.array(values), common / repeats) if pairs else Estimate(None, why="random alone")
        for values in ([pair.difference for pair in pairs], [pair.model_difference for pair in pairs])
    )
    known = learnt[learnt["sd"].notna()]
    distance = np.sqrt(known["squared"].to_numpy(float))
    held = int((distance <= _NORMAL_90 * known["sd"]).sum())
    classes = "classes have no interval"
    return Evidence(
        pairs=pairs,
        difference=hybrid,
        model=model,
        agreement=rank_correlation(start["informativeness"].to_numpy(float), start["squared"].to_numpy(float), seed),
        uncertainty=Estimate(None, why=classes)
        if known.empty
        else rank_correlation(known["sd"].to_numpy(float), known["squared"].to_numpy(float), seed),
        coverage=Estimate(None, why=classes) if known.empty else share_of(0.9, held, len(known)).share,
        signal=ratio(learnt["squared"].to_numpy(float), learnt["flat"].to_numpy(float), seed),
        labels=int(learnt["labels"].median()),
    )


def _pairs(table: pd.DataFrame, kind: Kind) -> tuple[Pair, ...]:
    found = []
    for repeat, rows in table.groupby("repeat", sort=True):
        arms = {str(arm): part for arm, part in rows.groupby("arm")}
        if "active" not in arms:
            continue
        error = {arm: _error(part, kind) for arm, part in arms.items()}
        hybrid = {arm: _error(part, kind, part["left"]) for arm, part in arms.items()}
        found.append(
            Pair(
                repeat=int(str(repeat)),
                labels=int(arms["active"]["labels"].iloc[0]),
                tested=len(arms["active"]),
                start=error["start"],
                active=hybrid["active"],
                random=hybrid["random"],
                model_active=error["active"],
                model_random=error["random"],
                difference=_difference(hybrid, kind),
                model_difference=_difference(error, kind),
            )
        )
    return tuple(found)


def _difference(error: dict[str, float], kind: Kind) -> float:
    """Active against random: of logarithms, but of classes plain."""
    if kind != "continuous":
        return error["active"] - error["random"]
    ratio = max(error["active"], _LEAST) / max(error["random"], _LEAST)
    return float(np.clip(np.log(ratio), -_MOST, _MOST))


def _error(part: pd.DataFrame, kind: Kind, left: pd.Series | float = 1.0) -> float:
    """Root mean square, or the share of wrong classes; an error counts as far as it is left."""
    if kind == "continuous":
        return float(np.sqrt((part["squared"] * left).mean()))
    return float((((part["predicted"] >= 0.5) != (part["measured"] >= 0.5)) * left).mean())
