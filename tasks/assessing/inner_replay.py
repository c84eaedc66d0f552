"""A replay inside what has been measured: labels taken in a strategy's order against as many in random order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.assessing.informativeness import Spread, spread
from tasks.assessing.observed import FEWEST, Float64, Observed, Way, light
from tasks.batches.pool import Picks, PoolView, largest_remainder
from tasks.batches.slots import read_slots
from tasks.checkpoints.keys import derive_seed
from tasks.ensembles.ensemble import Ensemble
from tasks.ensembles.fitting import fit_ensemble
from tasks.ensembles.gradient import VarianceGradient
from tasks.ensembles.predicting import predict
from tasks.ensembles.prediction import Prediction
from tasks.ensembles.target import Target
from tasks.ensembles.training_set import TrainingSet
from tasks.errors import UserError
from tasks.operators.calibrated import FEWEST as FEWEST_RESIDUALS
from tasks.operators.calibrated import calibrate_error, rescale
from tasks.operators.eigenmodes import eigenmodes
from tasks.operators.epistemic import epistemic_factor
from tasks.operators.factors import Factor

Ints = npt.NDArray[np.int64]
#: Variance of a new label (k,) of perturbations with these predictions (k,).
NoiseOf = Callable[[Float64], Float64]

MOST_LABELS = 2048
"""Labels that a repeat may learn from: more tell little more of which order is better, and cost time."""
MOST_TESTED = 2048
START, BATCH = 0.25, 0.25
"""Shares of the labels that the first model learns from, and that are then taken in either order."""


@dataclass(frozen=True)
class Replayed:
    """One repeat.

    Attributes:
        tested: One row per test label and model: repeat, arm (start, active, random), labels (n that the model learnt),
            row (of the observed), measured, predicted, sd (of a new label; NaN for classes), informativeness (diagonal
            of the operator of the start; NaN for the others), baseline (mean of the labels learnt), left (probability
            that this order would leave the label to prediction, if it could measure it).
        spread: How uneven the first model's error is over what was to be chosen from.
    """

    tested: pd.DataFrame
    spread: Spread


@dataclass(frozen=True)
class Split:
    """Rows of one repeat: `test` is nobody's to learn from, `start` is learnt first, `rest` is to be chosen from."""

    test: Ints
    start: Ints
    rest: Ints


def split(observed: Observed, number: int, seed: int, repeats: int) -> Split:
    """Rows of a repeat. Tests of two repeats have nothing in common.

    Args:
        observed: n labels.
        number: Of the repeat, from 0.
        seed: Of all repeats.
        repeats: How many there are.

    Raises:
        UserError: Fewer than 60 labels, or fewer than two for each test.
    """
    drawn = np.flatnonzero(observed.drawn)
    if len(observed) < FEWEST or len(drawn) < 2 * repeats:
        expected = f"at least {FEWEST}, and {2 * repeats} drawn at random"
        raise UserError("too few labels to assess selection with", got=f"{len(observed)}, {len(drawn)} drawn at random",
                        expected=expected)  # fmt: skip
    dealt = np.random.default_rng(derive_seed(seed, "tests")).permutation(drawn)
    test = np.sort(dealt[number::repeats][:MOST_TESTED])
    others = np.setdiff1d(np.arange(len(observed)), test)
    order = np.random.default_rng(derive_seed(seed, "start", number)).permutation(others)[:MOST_LABELS]
    start = max(1, round(START * len(order)))
    return Split(test, np.sort(order[:start]), np.sort(order[start:]))


def replay_once(observed: Observed, way: Way, noise_of: NoiseOf, number: int, seed: int) -> Replayed:
    """One repeat: a model of the start, and models with as many labels more in the strategy's and in random order.

    All are fitted with the campaign's settings, fewer members and a quarter of the epochs. The strategy sees what it
    would see in a campaign: predictions of the first model for what is left, its operator, and no label of it. Slots
    that look for hits play no part. The cobias needs rounds and is left out; `difference` is the reducible operator.

    Asked twice, it tells two things: from what may be learnt, what its batch teaches; from that and the test together,
    as large a share of both, which of the test it would rather measure than predict.

    Args:
        observed: n labels.
        way: How the campaign learns and chooses.
        noise_of: Variance of a new label, for strategies that look at it.
        number: Of the repeat, from 0.
        seed: Of all repeats.

    Raises:
        UserError: Too few labels.
        ExhaustedStrategy: The strategy cannot supply its batch.
    """
    parts = split(observed, number, seed, way.repeats)
    count = round(BATCH / (1 - START) * len(parts.rest))
    of_all = round(count / len(parts.rest) * (len(parts.rest) + len(parts.test)))
    first = _fit(observed, way, parts.start, derive_seed(seed, "fit", number, "start"))
    said = predict(first, observed.features[parts.test])
    view = _view(observed, way, first, parts, noise_of)
    of_test = view.variance[_is_test(parts)]
    tables = [_table(observed, parts.test, said, parts.start, "start").assign(informativeness=of_test, left=1.0)]
    left = {"random": np.full(len(parts.test), 1 - of_all / (len(parts.rest) + len(parts.test)))}
    rng = np.random.default_rng(derive_seed(seed, "random", number))
    taken = {"random": np.sort(rng.choice(parts.rest, size=count, replace=False))}
    if not way.is_random:
        pick = derive_seed(seed, "pick", number)
        taken["active"] = _choose(view.forbidding(_is_test(parts)), way, parts, count, pick)
        measured = _choose(view, way, parts, of_all, pick)
        left["active"] = np.where(np.isin(parts.test, measured), 0.0, 1.0)
    for arm, rows in taken.items():
        learnt = np.sort(np.concatenate([parts.start, rows]))
        # The same seed for both: a member begins with the same weights, so that the two differ by their labels alone.
        model = _fit(observed, way, learnt, derive_seed(seed, "fit", number))
        of_model = _table(observed, parts.test, predict(model, observed.features[parts.test]), learnt, arm)
        tables.append(of_model.assign(left=left[arm]))
    tested = pd.concat(tables, ignore_index=True).assign(repeat=number)
    return Replayed(tested, spread(view.variance[view.open], view.eigenvalues))


def _fit(observed: Observed, way: Way, rows: Ints, seed: int) -> Ensemble:
    train = TrainingSet(
        observed.features[rows], observed.values[rows], observed.variances[rows], observed.plates[rows]
    )  # fmt: skip
    return fit_ensemble(train, Target(way.kind), light(way.ensemble), way.operators, seed)


def _choose(view: PoolView, way: Way, parts: Split, count: int, seed: int) -> Ints:
    """Rows that the slots take, one slot after the other, from what is left."""
    orders = read_slots(way.slots, None, way.kind)
    deal, *seeds = np.random.SeedSequence(seed).spawn(len(orders) + 1)
    places = largest_remainder([order.share for order in orders], count, np.random.default_rng(deal))
    taken = np.zeros(len(view), dtype=bool)
    for order, places_of, one in zip(orders, places.tolist(), seeds, strict=True):
        picks: Picks = order.pick(view.without(taken), places_of, np.random.default_rng(one))
        taken[picks.rows] = True
    return np.sort(_rows(parts)[taken])


def _rows(parts: Split) -> Ints:
    """Rows of the observed that the pool of a repeat is made of: the start, which is known, the rest, the test."""
    return np.concatenate([parts.start, parts.rest, parts.test])


def _is_test(parts: Split) -> npt.NDArray[np.bool_]:
    """Who of the pool is the test."""
    return np.arange(len(_rows(parts))) >= len(parts.start) + len(parts.rest)


def _view(observed: Observed, way: Way, first: Ensemble, parts: Split, noise_of: NoiseOf) -> PoolView:
    """What strategies see of start, rest and test."""
    rows = _rows(parts)
    open_ = np.arange(len(rows)) >= len(parts.start)
    needs = {need for order in read_slots(way.slots, None, way.kind) for need in order.needs}
    said = predict(first, observed.features[rows])
    noise = noise_of(said.mean)
    factor = _operator(observed, way, first, parts.start, said, noise)
    modes = eigenmodes(factor, chosen=open_)
    given: dict[str, Any] = {
        "members": said.members,
        "features": np.ascontiguousarray(observed.features[rows], dtype=np.float32),
        "embedding": said.features,
        "gradient": VarianceGradient(first) if "gradient" in needs else None,
    }
    return PoolView(
        coordinates=modes.coordinate_rows(factor),
        eigenvalues=modes.values[: modes.positive],
        variance=factor.diagonal(),
        predictions=said.mean,
        noise=noise,
        open=open_,
        kind=way.kind,
        **{name: part for name, part in given.items() if name in needs},
    )


def _operator(observed: Observed, way: Way, first: Ensemble, start: Ints, said: Prediction, noise: Float64) -> Factor:
    """Σ_F over some rows; rescaled to ê where that is asked for and there are residuals enough.

    Along the gradients where those are asked for and the model has them.
    """
    factor = epistemic_factor(said.members, said.within)
    mean = first.tensors["out_of_fold.mean"].double().numpy()[:, 0]
    known = np.isfinite(mean)
    if way.operator not in ("calibrated", "gradients") or known.sum() < FEWEST_RESIDUALS:
        return factor
    learnt = predict(first, observed.features[start[known]])
    squared = np.square(observed.values[start][known] - mean[known])
    made = calibrate_error(learnt.features, squared, observed.variances[start][known])
    # Noise of a class that is measured is no noise of its probability: there the labels' own mean counts.
    level = noise if way.kind == "continuous" else np.full(len(noise), float(observed.variances[start].mean()))
    along = Factor(said.gradients) if way.operator == "gradients" and said.gradients.shape[1] else factor
    return rescale(along, made.model.grow()(said.features, level))


def _table(observed: Observed, test: Ints, said: Prediction, learnt: Ints, arm: str) -> pd.DataFrame:
    sd = said.sd[:, 0].astype(np.float64) if said.sd.shape[1] else np.full(len(test), np.nan)
    return pd.DataFrame(
        {
            "arm": arm,
            "labels": len(learnt),
            "row": test,
            "measured": observed.values[test],
            "predicted": said.mean,
            "sd": sd,
            "informativeness": np.nan,
            "baseline": float(observed.values[learnt].mean()),
        }
    )
