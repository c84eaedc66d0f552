"""Which plate each perturbation stands on: plates and strata level, no direction of the batch that goes with plates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.batches.pool import BoolArray, FloatArray, IntArray, PoolView
from tasks.errors import NumericalError
from tasks.threads import one_blas_thread

#: Leading modes that are levelled. Each costs freedom, and a plate's error in a late mode hardly matters.
MODES = 16
#: Sums of squares between plates below this share of a random layout's mean are level enough.
LEVEL = 1e-4
#: Perturbations that one is compared with, at most: a plate layout is to take no longer than choosing its batch.
PARTNERS = 4096


def batch_coordinates(pool: PoolView, rows: IntArray) -> FloatArray:
    """Leading coordinates in the eigenspace of what was picked: (b, at most MODES).

    Args:
        pool: The library.
        rows: (b,) rows of the library.
    """
    return pool.coordinates.take(rows)[:, :MODES].astype(np.float64)


def deal(
    strata: Sequence[IntArray], n_plates: int, replicates: int, per_plate: int, rng: np.random.Generator
) -> IntArray:
    """(count, replicates) plate of every replicate, ascending along a row.

    Each perturbation goes to the `replicates` plates with the most room; of those to the ones that its strata have
    used least, the finest first; ties drawn. So the plates are always level within one well, which strands no
    replicate: `replicates` plates have room as long as that many wells are left. The finest strata, whose members
    come one after the other, are level within one well too. Where plates form whole groups, replicate j stays in
    group j, so that losing a group costs every perturbation one replicate.

    Args:
        strata: Partitions (count,) of the perturbations into 0, 1, …, from coarse to fine; those of one finest stratum
            come one after the other.
        n_plates: Plates.
        replicates: Wells of a perturbation, each on another plate.
        per_plate: Sample wells of a plate.
        rng: Draws ties.
    """
    whole = n_plates % replicates == 0
    groups = np.array_split(np.arange(n_plates), replicates) if whole else [np.arange(n_plates)]
    each = 1 if whole else replicates
    room = np.full(n_plates, per_plate, dtype=np.int64)
    used = [np.zeros((int(stratum.max(initial=0)) + 1, n_plates), dtype=np.int64) for stratum in strata]
    plate_of = np.empty((len(strata[-1]), replicates), dtype=np.int64)
    for row in range(len(plate_of)):
        counts = [table[stratum[row]] for table, stratum in zip(used, strata, strict=True)]
        chosen = []
        for group in groups:
            keys = (rng.random(len(group)), *(count[group] for count in counts), -room[group])
            chosen.append(group[np.lexsort(keys)[:each]])
        plate_of[row] = np.sort(np.concatenate(chosen))
        room[plate_of[row]] -= 1
        for count in counts:
            count[plate_of[row]] += 1
    return plate_of


def level_plates(plate_of: IntArray, coordinates: FloatArray, strata: Sequence[IntArray]) -> IntArray:
    """Let perturbations change places until the plates' means agree in every coordinate.

    Two perturbations exchange all their plates, so that plates stay as full and replicates as far apart as they were.
    One after the other takes the partner with which the sum of squares between plates, over all coordinates in units
    of their spread, falls most; only partners with which no stratum gets less level. It ends where no exchange helps,
    or the sum is `LEVEL` of what a random layout has in the mean. The same input gives the same layout.

    Args:
        plate_of: (count, replicates) plates as dealt.
        coordinates: (count, k) in the eigenspace [readout unit].
        strata: Partitions (count,) of the perturbations into 0, 1, ….

    Returns:
        (count, replicates), rows of `plate_of` in another order.

    Raises:
        NumericalError: Coordinates of another number of perturbations, or not finite.
    """
    if len(coordinates) != len(plate_of) or not np.isfinite(coordinates).all():
        raise NumericalError(f"layout: coordinates of shape {coordinates.shape} for {len(plate_of)} perturbations")
    plates, number = np.unique(plate_of, return_inverse=True)  # only those with a well
    count, n_plates = len(plate_of), len(plates)
    points = _standardised(coordinates)
    if n_plates < 2 or not points.shape[1]:
        return plate_of
    random = (n_plates - 1) * points.shape[1] * count / max(count - 1, 1)
    with one_blas_thread():
        layout = _Exchange(points, _indicators(number.reshape(plate_of.shape), n_plates), strata)
        moved = True
        while moved and layout.between() > LEVEL * random:
            moved = False
            for row in range(count):
                moved |= layout.improve(row)
                if layout.between() <= LEVEL * random:
                    break
    return plate_of[layout.order]


def plate_correlation(plate_of: IntArray, coordinates: FloatArray) -> FloatArray:
    """(plates, k) correlation, over the batch, of standing on a plate with each coordinate; 0 where either is constant.

    Args:
        plate_of: (count, replicates) plate of every replicate.
        coordinates: (count, k) in the eigenspace.
    """
    indicators = _standardised(_indicators(plate_of, int(plate_of.max(initial=0)) + 1), keep=True)
    correlation: FloatArray = indicators.T @ _standardised(coordinates, keep=True) / max(len(plate_of), 1)
    return correlation


def _indicators(plate_of: IntArray, n_plates: int) -> FloatArray:
    """(count, plates) 1 where a perturbation stands."""
    indicators = np.zeros((len(plate_of), n_plates))
    np.put_along_axis(indicators, plate_of, 1.0, axis=1)
    return indicators


def _standardised(values: FloatArray, keep: bool = False) -> FloatArray:
    """Columns with mean 0 and sd 1; constant ones are left out, or kept as 0."""
    if not len(values):
        return values
    centred = values - values.mean(axis=0)
    sd = centred.std(axis=0)
    constant = sd <= 1e-12 * np.abs(values).max(axis=0, initial=0.0)
    if keep:
        return np.where(constant, 0.0, centred / np.where(constant, 1.0, sd))
    kept: npt.NDArray[np.float64] = centred[:, ~constant] / sd[~constant]
    return kept


class _Exchange:
    """A layout that perturbations change places in.

    Args:
        points: (count, k) centred coordinates.
        indicators: (count, plates) who stands where.
        strata: Partitions of the perturbations.
    """

    def __init__(self, points: FloatArray, indicators: FloatArray, strata: Sequence[IntArray]) -> None:
        self.points, self.on, self.strata = points, indicators, strata
        self.order = np.arange(len(points))
        self.wells = indicators.sum(axis=0).clip(1.0)  # a plate without a perturbation has no sum either
        self.sums = indicators.T @ points
        self.used = [_indicators(stratum[:, None], int(stratum.max()) + 1).T @ indicators for stratum in strata]
        self.partners = np.linspace(0, len(points), min(len(points), PARTNERS), endpoint=False).astype(np.int64)

    def between(self) -> float:
        """Sum of squares between plates, over all coordinates."""
        return float((np.square(self.sums).sum(axis=1) / self.wells).sum())

    def improve(self, row: int) -> bool:
        """Exchange a perturbation with the best of its partners; False where nothing helps."""
        partners = (self.partners + row) % len(self.points)
        away = self.on[row] - self.on[partners]
        step = self.points[partners] - self.points[row]
        pull = np.einsum("nk,nk->n", away @ (self.sums / self.wells[:, None]), step)
        change = 2.0 * pull + (np.square(away) @ (1.0 / self.wells)) * np.square(step).sum(axis=1)
        change[~self._allowed(row, partners, away)] = np.inf
        best = int(change.argmin())
        if change[best] >= -1e-9 * self.between():
            return False
        self._exchange(row, int(partners[best]), away[best], step[best])
        return True

    def _allowed(self, row: int, partners: IntArray, away: FloatArray) -> BoolArray:
        """With whom an exchange leaves every stratum's sum of squared counts over the plates no larger."""
        allowed = np.ones(len(partners), dtype=bool)
        moved = np.square(away).sum(axis=1)
        for stratum, used in zip(self.strata, self.used, strict=True):
            ours = moved - 2.0 * (away @ used[stratum[row]]) <= 0
            theirs = moved + 2.0 * np.einsum("np,np->n", away, used[stratum[partners]]) <= 0
            allowed &= (stratum[partners] == stratum[row]) | (ours & theirs)
        return allowed

    def _exchange(self, row: int, partner: int, away: FloatArray, step: FloatArray) -> None:
        self.sums += np.outer(away, step)
        for stratum, used in zip(self.strata, self.used, strict=True):
            used[stratum[row]] -= away
            used[stratum[partner]] += away
        both, swapped = [row, partner], [partner, row]
        self.on[both], self.order[both] = self.on[swapped], self.order[swapped]
