"""Puts the evidence together: of a past screen, and of a round of a campaign."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.assessing.ceiling import noise_ceiling
from tasks.assessing.findings import Assessment
from tasks.assessing.informativeness import Spread
from tasks.assessing.inner_replay import REPEATS, Replayed, replay_once
from tasks.assessing.observed import Observed, Way
from tasks.assessing.pool import PoolFacts, look_at_pool
from tasks.assessing.replay_evidence import Evidence, weigh
from tasks.assessing.verdict import findings_of, judge
from tasks.batches.pool import ExhaustedStrategy
from tasks.checkpoints.keys import derive_seed
from tasks.checkpoints.pieces import cores
from tasks.ensembles.estimates import Estimate


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
        with ThreadPoolExecutor(min(cores(), REPEATS)) as threads:
            for number, each in enumerate(threads.map(one, range(REPEATS))):
                replayed.append(each)
                if progress is not None:
                    progress(number + 1, REPEATS)
    except ExhaustedStrategy as error:
        missing, replayed = f"Not known: {error}.", []
    evidence = weigh(pd.concat([one.tested for one in replayed]), way.kind, len(observed), seed) if replayed else None
    ceiling = noise_ceiling(observed.values, observed.variances, way.kind, derive_seed(seed, "ceiling"))
    spread = replayed[0].spread if replayed else None
    return conclude("past screen", None, way, evidence, missing, ceiling, spread, pool, len(observed))


def conclude(
    source: str,
    round_index: int | None,
    way: Way,
    evidence: Evidence | None,
    missing: str,
    ceiling: Estimate,
    spread: Spread | None,
    pool: PoolFacts,
    labels: int,
) -> Assessment:
    """Findings, verdict and record from the evidence. `missing`: why there is no evidence of a replay."""
    classes = way.kind != "continuous"
    findings = findings_of(evidence, missing, ceiling, spread, pool, way.name, classes)
    verdict, why = judge(findings)
    return Assessment.model_validate(
        {
            "source": source,
            "round": round_index,
            "strategy": way.name,
            "measure": "error rate" if classes else "log RMSE",
            "labels": labels,
            "library": pool.size,
            "verdict": verdict,
            "why": why,
            "difference": Estimate(None, why=missing) if evidence is None else evidence.difference,
            "findings": findings,
            "pairs": () if evidence is None else evidence.pairs,
        }
    )


def pieces(repeats: int = REPEATS, size: int = 2) -> Sequence[range]:
    """Repeats that are done together: one piece of work."""
    return [range(start, min(start + size, repeats)) for start in range(0, repeats, size)]
