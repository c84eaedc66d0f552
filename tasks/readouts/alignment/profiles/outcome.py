"""What a fit says of its output feature, and how a fit takes in later plates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tasks.readouts.alignment.model import AlignmentFit, PlateFit
from tasks.readouts.alignment.offsets import shared_variance
from tasks.readouts.alignment.profiles.centring import Centres, Scales
from tasks.readouts.alignment.profiles.controls import PlateProfiles
from tasks.readouts.alignment.profiles.model import ProfileFit
from tasks.readouts.alignment.profiles.spread import Array, Mixing
from tasks.readouts.robust import pairwise_variance


def align_rows(values: Array, centre: Array, scale: Array, mixing: Mixing | None) -> Array:
    """Raw profiles of one plate to aligned ones. (n, d), (d,), (d,) -> (n, d)."""
    rows = (values - centre) / scale
    return rows if mixing is None else mixing.apply(rows)


def first_outcome(
    run: str,
    method: str,
    plates: Sequence[PlateProfiles],
    scales: Scales,
    centres: Centres,
    mixing: Mixing | None,
    output: int,
) -> AlignmentFit:
    """The output feature of a run's first plates, with what their errors have in common."""
    shared = shared_variance(centres.covariances[output], np.ones(len(plates)))
    rows = (
        align_rows(plate.values, centres.values[p], scales.values[p], mixing)[:, output]
        for p, plate in enumerate(plates)
    )
    return AlignmentFit(
        method=method,
        run=run,
        anchor=0.0,
        plates=_plate_fits(plates, scales, centres, shared, output),
        control_noise=float(np.sqrt(pairwise_variance(rows)[0])),
        run_offset_variance=shared,
    )


def extended(stored: ProfileFit, plates: Sequence[PlateProfiles], scales: Scales, centres: Centres) -> ProfileFit:
    """A stored fit with further plates of its run. What was stored stays as it is."""
    output, shared = stored.features.index(stored.output), stored.outcome.run_offset_variance
    together = [*stored.outcome.plates, *_plate_fits(plates, scales, centres, shared, output)]
    order = sorted(range(len(together)), key=lambda index: (together[index].barcode, together[index].attempt))
    outcome = stored.outcome.model_copy(update={"plates": tuple(together[index] for index in order)})
    return replace(
        stored,
        outcome=outcome,
        centre=np.vstack([stored.centre, centres.values])[order],
        scale=np.vstack([stored.scale, scales.values])[order],
    )


def _plate_fits(
    plates: Sequence[PlateProfiles], scales: Scales, centres: Centres, shared: float, output: int
) -> tuple[PlateFit, ...]:
    return tuple(
        PlateFit(
            barcode=plate.barcode,
            attempt=plate.attempt,
            offset=float(centres.values[p, output]),
            scale=float(scales.values[p, output]),
            offset_variance=max(float(centres.covariances[output, p, p]) - shared, 0.0),
            scale_variance=float(scales.variances[p, output]),
            n_negcon=len(plate.values),
            n_poscon=0,
            shrinkage_offset=float(centres.kept[p, output]),
            shrinkage_scale=float(scales.kept[p, output]),
        )
        for p, plate in enumerate(plates)
    )
