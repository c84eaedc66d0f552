"""Anchors: what samples say of the differences between the plates of one run, and only of the differences.

A bridge is a perturbation that stands on several plates: its own level is free, so it does not matter which
perturbations were chosen. Sample medians are compared within one design round, whose common level is free: that is
sound only where the round's perturbations were allotted to its plates at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse

from tasks.errors import UserError
from tasks.readouts.robust import mad_sd
from tasks.readouts.two_way import fit_two_way, plate_keys, prepare

Array = npt.NDArray[np.float64]

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Ties:
    """Information on plate offsets b from samples: its log density is −½·bᵀKb + kᵀb.

    Attributes:
        information: K, (P, P), positive semidefinite [1/instrument unit²]. K·s = 0 for the plates' scales s, over all
            plates and over any that are tied to each other only: a common level is never told.
        linear: k, (P,) [1/instrument unit].
        bridges: Perturbations that stood on several plates.
    """

    information: Array
    linear: Array
    bridges: int

    @property
    def any(self) -> bool:
        """Whether anything ties any plates."""
        return bool(self.information.any())

    def counted_from(self, origin: float) -> Ties:
        """The same ties for offsets that count from `origin` [instrument unit]."""
        return replace(self, linear=self.linear - origin * self.information.sum(axis=1))


@dataclass(frozen=True, eq=False)
class Component:
    """Plates that are tied to each other: which, their offsets up to a common level times scale, error variances."""

    plates: npt.NDArray[np.intp]
    offsets: Array
    variances: Array


@dataclass(frozen=True, eq=False)
class Lines:
    """What is known of P plates before they are tied.

    Attributes:
        keys: Plate attempts (barcode.attempt), (P,).
        scale: Raw units per aligned unit, up to a common factor, (P,).
        scale_variance: Error variance of the log of the scale, (P,).
        centre: Offset as the plate's controls have it, (P,) [instrument unit]; NaN where there are none.
    """

    keys: Sequence[str]
    scale: Array
    scale_variance: Array
    centre: Array


def tie_plates(wells: pd.DataFrame, plates: Lines, anchors: Sequence[str], exclude: frozenset[str]) -> Ties:
    """What the chosen anchors say.

    Samples that lie t scales away from the plate's offset tell it with the further variance t²·Var(log scale), the same
    for all of them: a wrong scale takes the offset along. Where sample medians are anchors, t is the round's.

    Args:
        wells: Table of wells of one run; `round`, where it is a column, parts the sample medians into groups.
        plates: The P plates.
        anchors: Any of bridges and samples.
        exclude: Perturbations that are not looked at.

    Raises:
        UserError: The samples of a round have no spread.
    """
    p = len(plates.keys)
    information, linear, bridges = np.zeros((p, p)), np.zeros(p), 0
    samples = _samples(wells, plates, exclude)
    if "bridges" in anchors:
        found, pull, bridges = _bridges(samples, plates.keys)
        information, linear = information + found, linear + pull
    if "samples" in anchors:
        found, pull = _sample_medians(samples, plates.keys)
        information, linear = information + found, linear + pull
    kept = np.linalg.inv(np.eye(p) + information * _doubt(samples, plates, alike="samples" in anchors))
    information, linear = kept @ information, kept @ linear
    information = (information + information.T) / 2
    return Ties(information / np.outer(plates.scale, plates.scale), linear / plates.scale, bridges)


def sample_medians(wells: pd.DataFrame, keys: Sequence[str], exclude: frozenset[str]) -> Array:
    """Median sample of each plate, (P,) [instrument unit]; NaN where there is none.

    Args:
        wells: Table of wells.
        keys: The plates.
        exclude: Perturbations that are not looked at.
    """
    alike = Lines(keys, np.ones(len(keys)), np.zeros(len(keys)), np.zeros(len(keys)))
    medians = _samples(wells, alike, exclude).groupby("key")["x"].median()
    return medians.reindex(list(keys)).to_numpy(dtype=np.float64)


def _doubt(samples: pd.DataFrame, plates: Lines, *, alike: bool) -> Array:
    """Error variance that scales give to what samples say of offsets, (P,) [aligned unit²].

    Where the plates of a round are `alike`, their samples lie equally far from the offset: as far as on the usual
    plate, not as far as one plate's own controls say, which may be wrong.
    """
    middle = samples.groupby("key")["x"].median().reindex(list(plates.keys)).to_numpy(dtype=np.float64)
    away = middle - plates.centre / plates.scale
    if alike:
        group = samples.groupby("key")["group"].first().reindex(list(plates.keys))
        away = pd.Series(away).groupby(group.to_numpy(), dropna=False).transform("median").to_numpy()
    usual = np.median(np.abs(away[np.isfinite(away)])) if np.isfinite(away).any() else 0.0
    away = np.where(np.isnan(away), usual, away)
    return np.asarray(away**2 * plates.scale_variance)


def components(ties: Ties, scale: Array) -> list[Component]:
    """Plates that are tied to each other, with what the ties alone say of them; plates tied to none are left out."""
    size = np.sqrt(np.maximum(np.diagonal(ties.information), 0.0))
    linked = scipy.sparse.csr_array((np.abs(ties.information) > _ROUNDING * np.outer(size, size)).astype(np.int8))
    count, label = scipy.sparse.csgraph.connected_components(linked, directed=False)
    found = []
    for index in range(count):
        plates = np.flatnonzero(label == index)
        if len(plates) < 2:
            continue
        covariance = np.linalg.pinv(
            ties.information[np.ix_(plates, plates)] * np.outer(scale[plates], scale[plates]),
            rcond=_ROUNDING,  # the common level is told by rounding alone
            hermitian=True,
        )
        offsets = scale[plates] * (covariance @ (ties.linear[plates] * scale[plates]))
        found.append(Component(plates, offsets, scale[plates] ** 2 * np.diagonal(covariance)))
    return found


def _samples(wells: pd.DataFrame, plates: Lines, exclude: frozenset[str]) -> pd.DataFrame:
    """Sample wells with a value, as columns of `wells`, `x` = value/scale, and `group`; other rows are dropped."""
    usable = (wells["role"] == "sample") & np.isfinite(wells["value"].to_numpy(dtype=np.float64))
    rows = wells[usable & ~wells["perturbation"].isin(exclude)]
    key = plate_keys(rows)
    rows = rows.assign(key=key, x=rows["value"] / key.map(dict(zip(plates.keys, plates.scale, strict=True))))
    group = rows["round"].astype(str) if "round" in rows else pd.Series("", index=rows.index)
    by_content: pd.DataFrame = rows.assign(group=group).sort_values(["key", "perturbation", "well"], ignore_index=True)
    return by_content


def _bridges(samples: pd.DataFrame, keys: Sequence[str]) -> tuple[Array, Array, int]:
    """Robust two-way fit of perturbations and plates: information on plates, in units of x."""
    p = len(keys)
    on_several = samples.groupby("perturbation")["key"].transform("nunique") > 1
    bridging = samples[on_several]
    fit = fit_two_way(prepare(bridging, "x"))
    if fit.df < 1 or not len(fit.information):
        return np.zeros((p, p)), np.zeros(p), 0
    rounding = 1e-20 * float(np.mean(samples["x"] ** 2))
    weight = fit.information / max(fit.variance, rounding)
    place = np.zeros((p, len(fit.plates)))
    place[[keys.index(key) for key in fit.plates], np.arange(len(fit.plates))] = 1.0
    basis = place @ fit.basis
    return (basis * weight) @ basis.T, basis @ (weight * fit.contrasts), int(bridging["perturbation"].nunique())


def _sample_medians(samples: pd.DataFrame, keys: Sequence[str]) -> tuple[Array, Array]:
    """Medians of each round's plates around the round's free level: W − WWᵀ/Σw for each group, in units of x."""
    p = len(keys)
    information, linear = np.zeros((p, p)), np.zeros(p)
    for name, rows in samples.groupby("group"):
        by_plate = rows.groupby("key")["x"]
        if by_plate.ngroups < 2:  # of one plate nothing is told; rounding would seem to tell something
            continue
        spread = mad_sd((rows["x"] - by_plate.transform("median")).to_numpy(dtype=np.float64))
        if spread == 0.0:
            raise UserError(
                "the samples have no spread (MAD = 0)",
                where=f"run {rows['run'].iloc[0]}" + (f", round {name!s}" if name else ""),
                expected="sample wells that differ",
                todo="Look for a saturated detector or copied values, or take samples out of alignment.anchors.",
            )
        medians = by_plate.median()
        place = [keys.index(key) for key in medians.index]
        # Var(median of n normal values) = π/(2n + π − 2): exact for 1 and for many, within 3% for odd n.
        weight = (2 * by_plate.size().to_numpy(dtype=np.float64) + np.pi - 2) / (np.pi * spread**2)
        block = np.diag(weight) - np.outer(weight, weight) / weight.sum()
        information[np.ix_(place, place)] += block
        linear[place] += block @ medians.to_numpy(dtype=np.float64)
    return information, linear
