"""Plates of a finished screen: matched, judged, aligned, averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from tasks.readouts.alignment import AlignmentFit
from tasks.readouts.ingest import (
    PlateReadout,
    Rejection,
    feature_columns,
    match_plates,
    reference_features,
)
from tasks.readouts.layouts import ScreenLayout, exclude
from tasks.readouts.noise import NoiseModel
from tasks.readouts.noise_estimate import estimate_noise
from tasks.readouts.quality import PlateQuality, assess_plate, judge_directions, judge_gaps, judge_replicates
from tasks.readouts.replicates import aggregate
from tasks.readouts.screens.aligning import align_runs
from tasks.readouts.screens.config import ScreenConfig
from tasks.readouts.screens.tables import plate_table, score_table, well_table


@dataclass(frozen=True, eq=False)
class ScoredScreen:
    """What became of the plates of a screen.

    Attributes:
        wells: Table of wells of the accepted plates, with `aligned` (NaN on plates that are not used) and `excluded`
            (why the value is missing; empty where it is not excluded).
        scores: perturbation, value, n, variance, plates, then the layout's ids of the perturbation.
        plates: One row per plate: barcode, plate, replicate, attempt, run, file, verdict, reasons, then every metric.
        qualities: What quality control said, by barcode and attempt.
        fits: The alignment of every run.
        noise: Noise of the aligned readout; None when no plate is used.
        rejections: Every reason for which a file or a plate was refused.
    """

    wells: pd.DataFrame
    scores: pd.DataFrame
    plates: pd.DataFrame
    qualities: tuple[PlateQuality, ...]
    fits: tuple[AlignmentFit, ...]
    noise: NoiseModel | None
    rejections: tuple[Rejection, ...]


def score_plates(
    config: ScreenConfig, layout: ScreenLayout, plates: Sequence[PlateReadout], refused: Sequence[Rejection]
) -> ScoredScreen:
    """Score a finished screen: match, judge, align, average.

    Of several attempts of a plate the newest that passed is used. Wells of the exclusion log have no value and count as
    missing.

    Args:
        config: Its description.
        layout: Its layout.
        plates: Its plates, copies resolved.
        refused: What was refused when the files were read.

    Raises:
        UserError: An alignment or the noise cannot be told; names the plate and the way out.
    """
    features = None  # with several features a well, every plate must have those that most plates have
    if config.readout.features is not None:
        features = reference_features(plates, {plate.barcode: 0 for plate in plates})
    matched = match_plates(plates, layout.platemap, config.readout, features)
    wells, problems = matched.wells, matched.rejections
    rejections = (*refused, *problems)
    wells = exclude(wells, layout.exclusions, ["value", *feature_columns(wells)])
    qualities = judge(wells, config)
    used = {quality.barcode: quality.attempt for quality in qualities if quality.passed}  # the newest comes last
    kept = wells[wells["attempt"] == wells["barcode"].map(used)]
    aligned, fits = align_runs(kept, config, layout)
    noise = estimate_noise(aligned, fits) if fits else None
    labels = None if noise is None else aggregate(aligned, noise, config.readout).table
    return ScoredScreen(
        wells=well_table(wells, aligned, layout.exclusions),
        scores=score_table(labels, layout),
        plates=plate_table(layout, plates, qualities, used, rejections),
        qualities=qualities,
        fits=tuple(fits),
        noise=noise,
        rejections=rejections,
    )


def judge(wells: pd.DataFrame, config: ScreenConfig) -> tuple[PlateQuality, ...]:
    """Quality of every plate attempt, by barcode and attempt: each by itself, then beside the others."""
    quality = config.quality
    found = [
        assess_plate(
            plate,
            quality,
            min_controls=config.alignment.min_controls,
            fmt=config.plates.format,
            transform=config.readout.transform,
        )
        for _, plate in wells.groupby(["barcode", "attempt"], sort=True)
    ]
    found = judge_directions(found, quality.poscon_reads)
    found = judge_gaps(found, quality.min_gap_share)
    return tuple(judge_replicates(found, wells, quality.min_replicate_correlation))
