"""Features as the networks see them: scaled and softly clipped values, and normal scores beside them.

Names of the tensors (d features, k ranked ones, Q knots): center, scale (d,); clip (), infinite when off; ranked (k,)
columns; knots, scores (k, Q).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri

from tasks.campaigns.ensemble_settings import NetworkSettings

Tensors = Mapping[str, torch.Tensor]

_KNOTS = 257
_TAIL = 1e-3  # ranks nearer to 0 or 1 than this are not told apart: a normal score ends at 3.1


def fit_encoding(features: npt.NDArray[np.float32], settings: NetworkSettings) -> dict[str, torch.Tensor]:
    """Encoding of features (n, d), from the labels alone.

    With a clip, values are centred on the median and scaled by the interquartile range (half of the range where that is
    0); without, by mean and standard deviation. A feature with more than two values is ranked.

    Source:
        Robust scaling and smooth clipping: Holzmüller, Grinsztajn & Steinwart, Better by default, NeurIPS 2024,
        section 3. Normal scores beside the values are ours: a network resolves a skewed feature by rank, and keeps its
        size.
    """
    values = features.astype(np.float64)
    constant = (values == values[0]).all(axis=0)
    if settings.clip is None:
        center, scale = values.mean(axis=0), values.std(axis=0)
    else:
        low, center, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
        scale = np.where(high > low, high - low, (values.max(axis=0) - values.min(axis=0)) / 2)
    scale[constant] = math.inf  # a constant column becomes 0, wherever it goes
    ranked = [j for j in range(values.shape[1]) if settings.ranks and _has_ranks(values[:, j])]
    pairs = [_knots(values[:, j]) for j in ranked]
    empty = np.zeros((0, _KNOTS))
    return {
        "center": _float(center),
        "scale": _float(scale),
        "clip": torch.tensor(math.inf if settings.clip is None else settings.clip),
        "ranked": torch.tensor(ranked, dtype=torch.int64),
        "knots": _float(np.stack([knots for knots, _ in pairs]) if pairs else empty),
        "scores": _float(np.stack([scores for _, scores in pairs]) if pairs else empty),
    }


def encode(tensors: Tensors, features: torch.Tensor) -> torch.Tensor:
    """Encoded features (n, d + k): clipped values z/√(1 + (z/c)²), then normal scores of the ranked features."""
    z = (features - tensors["center"]) / tensors["scale"]
    clip = float(tensors["clip"])
    z = z if math.isinf(clip) else z / torch.sqrt(1 + (z / clip) ** 2)
    if not len(tensors["ranked"]):
        return z
    return torch.cat([z, _normal_scores(tensors, features)], dim=1)


def _normal_scores(tensors: Tensors, features: torch.Tensor) -> torch.Tensor:
    knots, scores = tensors["knots"], tensors["scores"]
    x = features[:, tensors["ranked"]].T.contiguous()
    x = torch.minimum(torch.maximum(x, knots[:, :1]), knots[:, -1:])
    left = (torch.searchsorted(knots, x, right=True) - 1).clamp(0, knots.shape[1] - 2)
    start, end = knots.gather(1, left), knots.gather(1, left + 1)
    # The division is by 1 where it does not count: 0/0 there would be no number in a gradient.
    share = torch.where(end > start, (x - start) / torch.where(end > start, end - start, 1.0), 0.0)
    low, high = scores.gather(1, left), scores.gather(1, left + 1)
    return (low + share * (high - low)).T


def _has_ranks(column: npt.NDArray[np.float64]) -> bool:
    """More than two values: ranks of two say nothing that the value does not."""
    return not np.isin(column, (column.min(), column.max())).all()


def _knots(column: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Values and normal scores at Q quantiles; ties get their middle rank, the last pair is repeated to fill up."""
    ranks = np.linspace(0.0, 1.0, _KNOTS)
    # As float32, as features come: two knots that differ only beyond it would be one.
    values, where = np.unique(np.quantile(column, ranks).astype(np.float32), return_inverse=True)
    middle = np.bincount(where, weights=ranks) / np.bincount(where)
    scores = ndtri(middle.clip(_TAIL, 1 - _TAIL))
    fill = _KNOTS - len(values)
    return np.pad(values.astype(np.float64), (0, fill), mode="edge"), np.pad(scores, (0, fill), mode="edge")


def _float(values: npt.NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
