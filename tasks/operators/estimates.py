"""From labels and predictions in storage to the small estimates that Ω is made of: plain functions, one a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.campaigns.config import OperatorsSection
from tasks.checkpoints.lazy import read_names
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import CheckpointStore
from tasks.ensembles.recipe import plates_of
from tasks.operators.calibrated import FEWEST, calibrate_error
from tasks.operators.cobias import Cobias, cobias_stability, quadratic_delta
from tasks.operators.difference import difference_stability, estimate_difference, paired_residuals
from tasks.operators.direct import DirectCobias, direct_delta, direct_stability
from tasks.operators.epistemic import mean_factor
from tasks.operators.factors import Factor, Float64
from tasks.operators.history import ResidualSet
from tasks.operators.linear import Operator
from tasks.operators.stored_rows import StoredRows
from tasks.operators.sums import noise_operator
from tasks.readouts.noise import NoiseModel
from tasks.readouts.sigma_y import sigma_y
from tasks.threads import one_blas_thread

Kind = Literal["continuous", "binary"]
Refs = Mapping[str, Ref]

_FEWEST = 2  # residuals of a round


@dataclass(frozen=True)
class Measured:
    """Labels of a round, with what their noise is made of.

    Attributes:
        training: Labels (table).
        incidence: Plates that they stand on (table).
        noise: Noise of the readout (JSON).
        kind: Kind of the readout.
    """

    training: Ref
    incidence: Ref
    noise: Ref
    kind: Kind

    def covariance(self, store: CheckpointStore, perturbations: Sequence[str]) -> Operator:
        """Σ_Y of some labels, in the order asked for."""
        labels, incidence = store.load(self.training), store.load(self.incidence)
        model = NoiseModel.model_validate(store.load(self.noise))
        return noise_operator(sigma_y(labels, incidence, model, list(perturbations), kind=self.kind))


@one_blas_thread()
def estimate_cobias(
    store: CheckpointStore,
    measured: Measured,
    rounds: Sequence[tuple[int, Refs]],
    features: Sequence[Ref],
    settings: OperatorsSection,
    seed: int,
) -> dict[str, Payload]:
    """Δ from the forward residuals of the newest rounds, as they stand by today's labels.

    Args:
        store: Where everything lies.
        measured: Labels.
        rounds: Age (0 the newest) and forward residuals of each round that counts.
        features: Of the reference ensemble over the library, chunk by chunk.
        settings: Estimator, ridge, decay.
        seed: Of the halves.

    Returns:
        `cobias`: tensor `root` (p, k), k = 0 where there is nothing to estimate from. `facts`: what it rests on.
    """
    library = StoredRows.of_refs(store, features)
    found = [_residual_set(store, measured, forward, library, age) for age, forward in rounds]
    sets = [one for one in found if one is not None]
    if not any(one.age == 0 for one in sets):
        empty = {"root": np.zeros((library.shape[1], 0))}
        return {"cobias": Payload("tensors", empty), "facts": Payload("json", _left_out("new forward residuals"))}
    made: Cobias | DirectCobias
    if settings.cobias == "direct":
        made = direct_delta(sets, settings.ridge, settings.decay)
        stability = direct_stability(sets, settings.ridge, settings.decay, seed)
        own = {"mean_square": made.mean_square, "upward_bias": made.upward_bias}
    else:
        made = quadratic_delta(sets, settings.ridge, settings.decay)
        stability = cobias_stability(sets, settings.ridge, settings.decay, seed)
        own = {"clipped_share": made.clipped_share}
    facts = {
        "estimator": settings.cobias,
        "residuals": made.n_residuals,
        "effective_residuals": made.effective_n,
        "rounds": made.rounds,
        "rank": made.rank,
        "stability": asdict(stability),
        **own,
    }
    return {"cobias": Payload("tensors", {"root": made.root}), "facts": Payload("json", facts)}


@one_blas_thread()
def estimate_change(
    store: CheckpointStore,
    measured: Measured,
    forward: Refs,
    older: Sequence[Refs],
    seen: Ref,
    settings: OperatorsSection,
    seed: int,
) -> dict[str, Payload]:
    """Δ_older − Δ_newer from the newest labels, which neither of the last two ensembles had seen.

    Args:
        store: Where everything lies.
        measured: Labels.
        forward: Forward residuals of the newer ensemble on them.
        older: Predictions of the older ensemble over the library, chunk by chunk.
        seen: Labels that the older ensemble had seen.
        settings: Ridge.
        seed: Of the halves.

    Returns:
        `difference`: tensors `root` (p, k), `signs` (k,), `remaining` (1,), the mean squared error that the newer
        ensemble shows there, which is missing where labels are too few; `facts`: what it rests on.
    """
    table, kept = _still_labelled(store, measured, forward)
    kept = kept & ~table["perturbation"].isin(store.load(seen)["perturbation"]).to_numpy(bool)
    features = store.load(forward["features"]).astype(np.float64)
    if kept.sum() < _FEWEST:
        empty = {"root": np.zeros((features.shape[1], 0)), "signs": np.zeros(0)}
        facts: dict[str, Any] = _left_out("labels that neither of the last two ensembles had seen")
        return {"difference": Payload("tensors", empty), "facts": Payload("json", facts)}
    table, rows = table[kept], table["row"].to_numpy(np.int64)[kept]
    members, within = (StoredRows.of_refs(store, [said[name] for said in older], keep=0).take(rows) for name in _SPREAD)
    noise = measured.covariance(store, table["perturbation"].tolist())
    value = table["measured"].to_numpy(np.float64)
    newer = value - table["predicted"].to_numpy(np.float64)
    pairs = paired_residuals(
        features[kept],
        value - members.mean(axis=1, dtype=np.float64),
        newer,
        (mean_factor(members, within), _mean_factor(store, forward, kept)),
        noise,
        plates_of(table["perturbation"], store.load(measured.incidence)),
    )
    made = estimate_difference([pairs], settings.ridge)
    square = float(np.square(newer).mean())
    remaining = max(square - float(noise.diagonal().mean()), 0.02 * square)
    facts = {
        "residuals": made.n_residuals,
        "effective_residuals": made.effective_n,
        "rank": made.rank,
        "negative_share": made.negative_share,
        "stability": asdict(difference_stability([pairs], settings.ridge, 0.0, seed)),
    }
    tensors = {"root": made.root, "signs": made.signs, "remaining": np.array([remaining])}
    return {"difference": Payload("tensors", tensors), "facts": Payload("json", facts)}


@one_blas_thread()
def calibrate(
    store: CheckpointStore, library: Ref, measured: Measured, ensemble: Ref, chunks: Sequence[Refs], seed: int
) -> dict[str, Payload]:
    """ê from the out-of-fold residuals of this round's ensemble.

    Those of the few members that had not seen a label are larger than those of all members' mean, by
    σ²_F(1/m − 1/M): that is subtracted with the noise. σ²_F is the spread of all members at the label, times what the
    spread of those that had not seen theirs exceeds it by on average.

    Args:
        store: Where everything lies.
        library: For the rows of the labels.
        measured: Labels; in their order the ensemble's tensors know them.
        ensemble: Tensors of the ensemble.
        chunks: Its predictions over the library, chunk by chunk.
        seed: Of the folds.

    Returns:
        `calibration`: tensors of the model, and `noise` (1,), the labels' mean noise. Without a model where fewer than
        20 labels have an out-of-fold residual. `facts`: what it rests on.
    """
    labels, tensors = store.load(measured.training), store.load(ensemble)
    rows = read_names(store, library).get_indexer(pd.Index(labels["perturbation"]))
    mean = tensors["out_of_fold.mean"].astype(np.float64)[:, 0]
    known = np.isfinite(mean)
    noise = measured.covariance(store, labels["perturbation"].tolist()).diagonal()
    kept: dict[str, npt.NDArray[Any]] = {"noise": np.array([noise.mean()])}
    if known.sum() < FEWEST:
        facts: dict[str, Any] = {"left out": f"{known.sum()} out-of-fold residuals, {FEWEST} are needed"}
        return {"calibration": Payload("tensors", kept), "facts": Payload("json", facts)}
    features, members = (
        StoredRows.of_refs(store, [said[name] for said in chunks], keep=0).take(rows[known])
        for name in ("features", "members")
    )
    made = calibrate_error(
        features,
        np.square(labels["value"].to_numpy(np.float64)[known] - mean[known]),
        noise[known] + _of_few_members(tensors, members, known),
        plates_of(labels["perturbation"], store.load(measured.incidence))[known],
        seed,
    )
    facts = {
        "residuals": made.residuals,
        "effective_residuals": made.effective_n,
        "noise_share": made.noise_share,
        "floored_share": made.floored_share,
        "slope": made.model.slope,
        "correlation": made.correlation,
        "folds": made.by,
        "stability": asdict(made.stability),
    }
    return {"calibration": Payload("tensors", {**made.model.to_tensors(), **kept}), "facts": Payload("json", facts)}


_SPREAD = ("members", "within")


def _residual_set(
    store: CheckpointStore, measured: Measured, forward: Refs, library: StoredRows, age: int
) -> ResidualSet | None:
    """Forward residuals of a round by today's labels; None where fewer than two are left."""
    table, kept = _still_labelled(store, measured, forward)
    if kept.sum() < _FEWEST:
        return None
    table = table[kept]
    value = store.load(measured.training).set_index("perturbation")["value"].loc[table["perturbation"]]
    return ResidualSet(
        features=library.take(table["row"].to_numpy(np.int64)).astype(np.float64),
        values=value.to_numpy(np.float64) - table["predicted"].to_numpy(np.float64),
        noise=measured.covariance(store, table["perturbation"].tolist()) + _mean_factor(store, forward, kept),
        plates=plates_of(table["perturbation"], store.load(measured.incidence)),
        age=age,
    )


def _still_labelled(
    store: CheckpointStore, measured: Measured, forward: Refs
) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """Table of forward residuals, and which of its perturbations have a label today: an earlier one's may be gone."""
    table: pd.DataFrame = store.load(forward["table"])
    return table, table["perturbation"].isin(store.load(measured.training)["perturbation"]).to_numpy(bool)


def _mean_factor(store: CheckpointStore, forward: Refs, kept: npt.NDArray[np.bool_]) -> Factor:
    members, within = (store.load(forward[name])[kept] for name in _SPREAD)
    return mean_factor(members, within)


def _of_few_members(
    tensors: Mapping[str, npt.NDArray[Any]], members: npt.NDArray[Any], known: npt.NDArray[np.bool_]
) -> Float64:
    """σ²_F(1/m − 1/M) of the labels (k,) that are known; 0 where the whole ensemble told them without the label."""
    if "loo.mean" in tensors:
        return np.zeros(len(members))
    count = tensors["out_of_fold.count"].astype(np.float64)[known]
    spread: Float64 = np.asarray(members.var(axis=1, ddof=1, dtype=np.float64))
    honest = tensors["out_of_fold.variance"].astype(np.float64)[known, 0]
    told = np.isfinite(honest)
    if told.any() and spread[told].mean() > 0:
        spread = spread * (honest[told].mean() / spread[told].mean())
    return np.asarray(spread * np.maximum(1.0 / count - 1.0 / members.shape[1], 0.0))


def _left_out(what: str) -> dict[str, Any]:
    return {"left out": f"there are no {what}"}
