"""Agreement of a plate with the other plates on which its perturbations stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.readouts.quality.verdicts import Metric, PlateQuality, informed, judged

_FEWEST_SHARED = 3
_FEWEST_PAIRS = 8
_KEY = ["barcode", "attempt"]


def judge_replicates(
    qualities: Sequence[PlateQuality],
    wells: pd.DataFrame,
    min_correlation: float | None,
    *,
    exclude: frozenset[str] = frozenset(),
) -> list[PlateQuality]:
    """Rank correlation of a plate's samples with the same perturbations on other plates.

    Each pair of plates is ranked by itself, so plate effects cancel whatever they are; the pairs' Spearman correlations
    are averaged, weighted by the perturbations that a pair shares. Compared with plates that have passed so far, never
    with another attempt of the same plate. When two plates disagree nothing here tells which of them is wrong.

    Args:
        qualities: Plates to be judged together.
        wells: Table of wells of all of them [any unit; raw or aligned].
        min_correlation: Smallest correlation (`quality.min_replicate_correlation`); None to inform only.
        exclude: Perturbations whose readouts must not steer anything (hidden audit members): left out.

    Returns:
        The plates in their order, those with samples with the metric replicate_agreement. Fewer than 8 perturbations
        that also stand elsewhere inform only: no repeat of the plate could mend that.
    """
    table = _sample_medians(wells, exclude)
    passed = pd.MultiIndex.from_tuples([(q.barcode, q.attempt) for q in qualities if q.passed] or [("", 0)])
    partners = table[pd.MultiIndex.from_frame(table[_KEY]).isin(passed)].sort_values("perturbation", kind="stable")
    own = dict(iter(table.groupby(_KEY, sort=False)))
    return [
        quality
        if (mine := own.get((quality.barcode, quality.attempt))) is None
        else quality.with_metric(_agreement(_pairs(mine, partners), min_correlation))
        for quality in qualities
    ]


def _sample_medians(wells: pd.DataFrame, exclude: frozenset[str]) -> pd.DataFrame:
    """One row a plate attempt and perturbation: barcode, attempt, code of the perturbation, value (median of wells)."""
    finite = np.isfinite(wells["value"].to_numpy(dtype=np.float64))
    samples = wells.loc[finite & (wells["role"] == "sample") & ~wells["perturbation"].isin(exclude)]
    codes = pd.factorize(samples["perturbation"], sort=True)[0]
    table = samples[[*_KEY, "value"]].assign(perturbation=codes)
    medians: pd.DataFrame = table.groupby([*_KEY, "perturbation"], sort=True)["value"].median().reset_index()
    return medians


def _pairs(mine: pd.DataFrame, partners: pd.DataFrame) -> pd.DataFrame:
    """Each value of a plate beside each value of the same perturbation on another plate: partner, mine, theirs."""
    codes = partners["perturbation"].to_numpy()
    first = np.searchsorted(codes, mine["perturbation"].to_numpy(), "left")
    counts = np.searchsorted(codes, mine["perturbation"].to_numpy(), "right") - first
    there = partners.iloc[_ranges(first, counts)]
    pairs: pd.DataFrame = there[_KEY].assign(theirs=there["value"], mine=np.repeat(mine["value"].to_numpy(), counts))
    elsewhere: pd.DataFrame = pairs[pairs["barcode"] != mine["barcode"].iloc[0]].reset_index(drop=True)
    return elsewhere


def _ranges(first: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """first[0], first[0] + 1, …, first[1], …: counts[i] numbers from first[i] on."""
    ends = np.cumsum(counts)
    return np.asarray(np.arange(ends[-1]) + np.repeat(first - (ends - counts), counts), dtype=np.int64)


def _agreement(pairs: pd.DataFrame, min_correlation: float | None) -> Metric:
    """Weighted mean of the Spearman correlations of a plate with each of its partners."""
    name, groups = "replicate_agreement", [pairs[key] for key in _KEY]
    ranks = pairs.groupby(_KEY)[["mine", "theirs"]].rank()
    ranks -= ranks.groupby(groups).transform("mean")
    sums = pd.DataFrame(
        {"n": 1.0, "xy": ranks["mine"] * ranks["theirs"], "xx": ranks["mine"] ** 2, "yy": ranks["theirs"] ** 2}
    )
    sums = sums.groupby(groups).sum()
    sums = sums[(sums["n"] >= _FEWEST_SHARED) & (sums["xx"] > 0) & (sums["yy"] > 0)]
    n = int(sums["n"].sum())
    if n < _FEWEST_PAIRS:
        reason = f"{n} perturbations also stand on other plates that passed, {_FEWEST_PAIRS} needed"
        return informed(name, None, n, reason)
    each: pd.Series[float] = sums["xy"] / np.sqrt(sums["xx"] * sums["yy"])
    value = float(np.clip((each * sums["n"]).sum() / n, -1.0, 1.0))
    plates = "1 other plate" if len(sums) == 1 else f"{len(sums)} other plates"
    note = f": rank correlation with the replicates of {n} samples on {plates}"
    if min_correlation is not None and value < min_correlation:
        note += "; which of the plates is wrong it cannot tell"
    return judged(name, value, n, min_correlation, at_least=True, note=note)
