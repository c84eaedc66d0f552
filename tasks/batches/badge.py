"""Strategy `badge`: diverse and large gradients of the last layer."""

from __future__ import annotations

from functools import partial
from typing import Any

import array_api_compat
import numpy as np

from tasks.batches.d2_sampling import draw_by_square
from tasks.batches.nearest import Nearest
from tasks.batches.pointwise import picks
from tasks.batches.pool import FloatArray, Picks, PoolView, check_supply, needed
from tasks.operators.rows import MemoryRows, Rows
from tasks.operators.views import SideBySide, Transformed
from tasks.threads import one_blas_thread

NAME = "badge"


def pick_badge(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """k-means++ seeding on the gradients that the last layer would get if the label were what the ensemble guesses.

    A gradient is long where the ensemble is unsure and points where the features do, so the draw follows uncertainty
    and keeps apart. A class is guessed as the likeliest one. A number is guessed as one draw from N(ŷ, 1), as no
    residual is known: there the length is chance times the length of the features. Who is chosen already but not in the
    model yet counts as picked; observed perturbations play no part.

    Formula:
        p(x) ∝ min over picks c of ‖g(x) − g(c)‖², the first uniform; g = a ⊗ h with h the ensemble features and a =
        p − e_argmax p (classes), p − 1[p ≥ ½] (binary), ε ~ N(0, 1) for each output (continuous)
    Cost:
        O((n_pending + n) N C q) multiply-adds with C classes or outputs and q features, less where the triangle
        inequality spares rows; memory some vectors of N and a chunk of gradients
    Fails:
        For numbers it knows nothing of the uncertainty. Says at which pick everything left has the gradient of
        something chosen, as where the ensemble is certain of all classes
    Source:
        Ash et al. 2020, "Deep batch active learning by diverse, uncertain gradient lower bounds"; for numbers GeneDisco
        (Mehrjou et al. 2021). The code of both takes the longest gradient first; k-means++, which the papers name,
        draws the first one uniformly: here from those whose gradient is not 0

    Raises:
        ExhaustedStrategy: If n > P, or if every gradient left coincides with one chosen.
        UserError: The pool view has no embedding.
    """
    check_supply(pool, n, NAME)
    gradients = gradient_embedding(needed(pool.embedding, "embedding", NAME), hallucinated(pool, rng))
    with one_blas_thread():
        near = Nearest(pool, gradients, np.flatnonzero(pool.pending))
        rows, square = draw_by_square(near, n, rng, NAME, (near.square > 0).astype(np.float64))
    distance = np.sqrt(square)
    return picks(rows, distance, tuple(f"gradient {d:.3g} away from those chosen before" for d in distance.tolist()))


def hallucinated(pool: PoolView, rng: np.random.Generator) -> FloatArray:
    """(N, C) derivative of the loss by the last layer's outputs at the guessed label; one column if there is one."""
    said = pool.predictions[:, None] if pool.predictions.ndim == 1 else pool.predictions
    if pool.kind == "continuous":
        return rng.standard_normal(said.shape)
    likeliest = np.arange(said.shape[1]) == said.argmax(axis=1)[:, None]
    guessed = said >= 0.5 if pool.kind == "binary" else likeliest
    return np.asarray(said - guessed, dtype=np.float64)


def gradient_embedding(embedding: Rows, outer: FloatArray) -> Rows:
    """(N, C q) rows a ⊗ h of a (N, C) and h (N, q), made chunk by chunk."""
    beside = MemoryRows(outer.astype(embedding.dtype))
    columns = outer.shape[1] * embedding.shape[1]
    return Transformed(SideBySide([embedding, beside]), partial(_products, split=embedding.shape[1]), columns)


def _products(chunk: Any, split: int) -> Any:
    xp = array_api_compat.array_namespace(chunk)
    return xp.reshape(chunk[:, split:, None] * chunk[:, None, :split], (chunk.shape[0], -1))
