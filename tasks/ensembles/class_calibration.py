"""Calibration of classes: are predictions of 80% right eight times in ten, on labels the model had not seen?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.ensembles.estimates import NOTHING, Calibration, Estimate, Floats, area_under_curve, mean_of, share_of
from tasks.errors import NumericalError

BINS = 10
_ROUNDING = 1e-4  # of probabilities that were float32


def calibrate_classes(probability: npt.ArrayLike, measured: npt.ArrayLike) -> Calibration:
    """Judge predicted classes and their probabilities.

    The curve: measurements in ten equal bins of the predicted probability, the mean of a bin against the share that was
    observed. Binary: the probability of class 1. Several classes: of the predicted class, against the share right.

    Args:
        probability: (n,) of class 1, or (n, C) of every class.
        measured: (n,) classes 0 … C − 1 that the model had not seen.

    Returns:
        The calibration. Metrics: `accuracy`; `nll`, mean negative log probability of the measured class [nats];
        `brier`, mean (p − y)², with several classes summed over them; `expected_calibration_error`, mean distance of
        the curve from the diagonal weighted by the bins' sizes, which a small n makes larger; `auroc`, the probability
        that a right prediction is more confident than a wrong one. One that these data cannot give is None and says
        why.

    Raises:
        NumericalError: Shapes that do not agree, values that are no probabilities or no classes.

    Source:
        Bins and expected calibration error: Naeini et al. 2015 (binary), Guo et al. 2017 (several classes). Proper
        scores: Gneiting & Raftery 2007.
    """
    table, classes, binary = _checked(probability, measured)
    n = len(classes)
    confidence = table.max(axis=1, initial=0.0)
    right = table.argmax(axis=1) == classes
    shown, event = (table[:, 1], classes == 1) if binary else (confidence, right)
    bins = np.clip((shown * BINS).astype(int), 0, BINS - 1)
    groups = [bins == index for index in range(BINS) if (bins == index).any()]
    curve = tuple(share_of(float(shown[g].mean()), int(event[g].sum()), int(g.sum())) for g in groups)
    error = sum(point.n * abs(point.observed - point.nominal) for point in curve) / max(n, 1)
    truth = np.eye(table.shape[1])[classes]
    square = ((table - truth) ** 2).sum(axis=1) / (2 if binary else 1)
    metrics = {
        "accuracy": share_of(1.0, int(right.sum()), n).share if n else NOTHING,
        "nll": _nll(table[np.arange(n), classes]),
        "brier": mean_of(square),
        "expected_calibration_error": Estimate(float(error), why="its interval is not computed") if n else NOTHING,
        "auroc": area_under_curve(confidence, right),
    }
    return Calibration("binary" if binary else "multi-class", n, metrics, curve)


def _checked(probability: npt.ArrayLike, measured: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.int64], bool]:
    """Probabilities (n, C), classes (n,), and whether only that of class 1 was given."""
    table, labels = np.asarray(probability, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    binary = table.ndim == 1
    if binary:
        table = np.stack([1.0 - table, table], axis=1)
    if table.ndim != 2 or labels.shape != (len(table),) or table.shape[1] < 2:
        raise NumericalError(f"calibration: probabilities {table.shape} and classes {labels.shape} do not agree")
    if not ((table >= -_ROUNDING) & (table <= 1 + _ROUNDING)).all():
        raise NumericalError("calibration: a probability is not between 0 and 1")
    if not (np.abs(table.sum(axis=1) - 1) < _ROUNDING * table.shape[1]).all():
        raise NumericalError("calibration: the probabilities of a row do not sum to 1")
    if not np.isin(labels, np.arange(table.shape[1])).all():
        raise NumericalError(f"calibration: a class is none of 0 to {table.shape[1] - 1}")
    return np.clip(table, 0.0, 1.0), labels.astype(np.int64), binary


def _nll(probability: Floats) -> Estimate:
    impossible = int((probability == 0).sum())
    if impossible:
        return Estimate(None, why=f"{impossible} measured classes had been given probability 0")
    return mean_of(-np.log(probability))
