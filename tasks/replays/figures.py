"""What each round of a replayed campaign is judged by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from tasks.campaigns.membership import BoolArray
from tasks.replays.screens import Screen
from tasks.replays.settings import ReadoutSettings

Array = npt.NDArray[np.float64]

_NORMAL_90 = 1.6448536269514722  # half of the 90% interval of a standard normal value


def judge_errors(mean: Array, sd: Array, truth: Array, readout: ReadoutSettings) -> dict[str, float]:
    """Errors of predictions of n perturbations that the model had not seen.

    Args:
        mean: (n,) predictions, or probabilities of class 1.
        sd: (n,) standard deviation of a new readout; empty for classes.
        truth: (n,) what they should be.
        readout: Kind, and tolerance.

    Returns:
        Continuous, in the screen's sds: `rmse`, `mae`, `error_99` (99% quantile of |error|), `error_max`; `accuracy`
        (share within the tolerance), `coverage_90`, `coverage_gap` (how far that is from 90%), and `rank_correlation`
        of sd and |error| (Spearman's). Binary: `rmse` (root of the Brier score), `mae`, and `accuracy`. Empty where
        n = 0.
    """
    if not len(truth):
        return {}
    error = np.abs(mean - truth)
    found = {"rmse": float(np.sqrt(np.square(error).mean())), "mae": float(error.mean())}
    if readout.kind == "binary":
        return found | {"accuracy": float(((mean > 0.5) == (truth > 0.5)).mean())}
    found |= {"error_99": float(np.quantile(error, 0.99)), "error_max": float(error.max())}
    found["accuracy"] = float((error <= readout.tolerance).mean())
    if sd.size:
        found["coverage_90"] = float((error <= _NORMAL_90 * sd).mean())
        found["coverage_gap"] = abs(found["coverage_90"] - 0.9)
        constant = np.ptp(sd) == 0 or np.ptp(error) == 0
        found["rank_correlation"] = float("nan") if constant else float(spearmanr(sd, error).statistic)
    return found


def judge_screen(mean: Array, pool: Screen, measured: BoolArray, readout: ReadoutSettings) -> dict[str, float]:
    """The hybrid screen over the pool (N,): measured values beside predictions.

    Returns:
        `hits_found`: share of the hits that were measured. `system_accuracy`: measured, or predicted correctly.
        `inference_accuracy`: of those not measured, the share that is predicted correctly.
    """
    if readout.kind == "binary":
        right = (mean > 0.5) == (pool.truth > 0.5)
    else:
        right = np.abs(mean - pool.truth) <= readout.tolerance
    left = right[~measured]
    hits = hits_of(pool.truth, readout)
    return {
        "hits_found": float(measured[hits].mean()) if hits.any() else float("nan"),
        "system_accuracy": float((right | measured).mean()),
        "inference_accuracy": float(left.mean()) if len(left) else float("nan"),
    }


def hits_of(truth: Array, readout: ReadoutSettings) -> BoolArray:
    """(N,) who is a hit: the most extreme share of the truth, ties by position; of classes all of class 1 (low: 0).

    Source: GeneDisco (Mehrjou et al. 2021), hit ratio: floor(5%) of the pool by |y|.
    """
    if readout.kind == "binary":
        return truth <= 0.5 if readout.tail == "low" else truth > 0.5
    count = int(readout.hits * len(truth))
    key = {"high": truth, "low": -truth, "both": np.abs(truth)}[readout.tail]
    chosen = np.zeros(len(truth), dtype=bool)
    chosen[np.argsort(-key, kind="stable")[:count]] = True
    return chosen
