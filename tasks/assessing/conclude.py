"""Puts the evidence together: findings, verdict, and the record of both."""

from __future__ import annotations

from typing import Literal

from tasks.assessing.findings import Assessment
from tasks.assessing.informativeness import Spread
from tasks.assessing.observed import Way
from tasks.assessing.pool import PoolFacts
from tasks.assessing.replay_evidence import Evidence
from tasks.assessing.verdict import findings_of, judge
from tasks.ensembles.estimates import Estimate


def conclude(
    source: Literal["campaign", "past screen"],
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
    return Assessment(
        source=source,
        round=round_index,
        strategy=way.name,
        measure="error rate" if classes else "log RMSE",
        labels=labels,
        library=pool.size,
        verdict=verdict,
        why=why,
        difference=Estimate(None, why=missing) if evidence is None else evidence.difference,
        findings=findings,
        pairs=() if evidence is None else evidence.pairs,
    )
