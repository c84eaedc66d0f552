"""Assesses a past screen."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.assessing.ceiling import noise_ceiling
from tasks.assessing.conclude import conclude
from tasks.assessing.findings import Assessment
from tasks.assessing.inner_replay import Replayed, replay_once
from tasks.assessing.observed import Observed, Way
from tasks.assessing.pool import look_at_pool
from tasks.assessing.replay_evidence import weigh
from tasks.batches.pool import ExhaustedStrategy
from tasks.checkpoints.keys import derive_seed
from tasks.checkpoints.pieces import cores


def assess_screen(
    observed: Observed,
    library: npt.NDArray[np.floating],
    way: Way,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Assessment:
    """Whether active selection would have been worth it in a past screen.

    Args:
        observed: What was measured.
        library: (N, d) features of the library.
        way: How a campaign would learn and choose.
        seed: Of every random choice.
        progress: Called with (repeats done, repeats).

    Raises:
        UserError: Too few labels.
    """
    pool = look_at_pool(library, derive_seed(seed, "pool"))
    level = float(observed.variances.mean())
    missing, replayed = "", []

    def one(number: int) -> Replayed:
        return replay_once(observed, way, lambda said: np.full(len(said), level), number, seed)

    try:
        with ThreadPoolExecutor(min(cores(), way.repeats)) as threads:
            for number, each in enumerate(threads.map(one, range(way.repeats))):
                replayed.append(each)
                if progress is not None:
                    progress(number + 1, way.repeats)
    except ExhaustedStrategy as error:
        missing, replayed = f"Not known: {error}.", []
    evidence = weigh(pd.concat([one.tested for one in replayed]), way.kind, len(observed), seed) if replayed else None
    ceiling = noise_ceiling(observed.values, observed.variances, way.kind, derive_seed(seed, "ceiling"))
    spread = replayed[0].spread if replayed else None
    return conclude("past screen", None, way, evidence, missing, ceiling, spread, pool, len(observed))
