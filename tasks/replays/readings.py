"""What a finished screen answers when perturbations of it are measured: labels, with the noise that they have."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.campaigns.config import AlignmentSection, ControlWells, PlatesSection, ReadoutSection
from tasks.checkpoints.keys import derive_seed
from tasks.errors import UserError
from tasks.readouts.alignment import AlignmentFit, PlateFit, apply_alignment, fit_alignment
from tasks.readouts.noise import NoiseModel
from tasks.readouts.noise_estimate import estimate_noise
from tasks.readouts.replicates import Labels, aggregate
from tasks.replays.screens import Screen
from tasks.replays.settings import NoiseSection

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

_RUN, _PLATE = "screen", "screen.1"
_LEAST_NOISE = 1e-9  # of the variance of the values: a noise model has none of 0
_CONTROLS = {"negcon": -3.0, "poscon": 3.0}  # sds of the screen: at both ends of its values


@dataclass(frozen=True)
class Reading:
    """What the plates of a campaign have shown.

    Attributes:
        labels: Of all that was read.
        noise: Their noise.
        read: Perturbations by the round whose plates showed them; those of failed plates are missing.
    """

    labels: Labels
    noise: NoiseModel
    read: Mapping[int, Collection[str]]


def read_labels(
    screen: Screen, batches: Mapping[int, Rows], noise: NoiseSection | None, readout: ReadoutSection, seed: int
) -> Reading:
    """Labels of all that was measured, and their noise, by the functions of a live campaign.

    Args:
        screen: The pool.
        batches: Rows of the screen by the round that measured them.
        noise: Noise to add: plates with their own effects are simulated, aligned on controls, and averaged. None: the
            screen's replicates tell the noise where there are several; a single value is taken as exact.
        readout: Kind of the readout; classes are taken as the screen has them.
        seed: Of the noise.

    Raises:
        UserError: Every plate of the first round failed.
    """
    read = {number: {screen.ids[row] for row in rows.tolist()} for number, rows in batches.items()}
    if noise is not None:
        aligned, fits, read = _simulate(screen, batches, noise, seed)
    elif screen.measured.shape[1] > 1 and readout.kind == "continuous":
        aligned, fits = _replicates(screen, np.concatenate(list(batches.values())))
    else:
        return Reading(*_exact(screen, np.concatenate(list(batches.values()))), read)
    model = estimate_noise(aligned, fits)
    return Reading(aggregate(aligned, model, readout), model, read)


def _exact(screen: Screen, rows: Rows) -> tuple[Labels, NoiseModel]:
    """Labels as they are, without noise."""
    ids = [screen.ids[row] for row in rows.tolist()]
    value = screen.measured[rows].mean(axis=1)
    table = pd.DataFrame({"perturbation": ids, "value": value, "n": 1, "variance": 0.0, "plates": _RUN})
    incidence = pd.DataFrame({"perturbation": ids, "barcode": _PLATE, "weight": 1.0})
    least = _LEAST_NOISE * max(float(value.var()), _LEAST_NOISE)
    model = NoiseModel(
        average=least, source="replicates", n=len(rows), floor=0.0, knots=(0.0,), variances=(least,),
        plates={_PLATE: 0.0}, scales={_PLATE: 0.0}, runs={_PLATE: _RUN}, run_variances={_RUN: 0.0}, anchors={_RUN: 0.0},
    )  # fmt: skip
    order = np.argsort(np.array(ids), kind="stable")
    return Labels(table.iloc[order].reset_index(drop=True), incidence, pd.DataFrame()), model


def _replicates(screen: Screen, rows: Rows) -> tuple[pd.DataFrame, list[AlignmentFit]]:
    """Replicates of the screen as wells of one plate each, which were aligned before."""
    count = screen.measured.shape[1]
    ids = np.array(screen.ids, dtype=object)[rows]
    aligned = pd.DataFrame(
        {
            "barcode": np.repeat([f"replicate-{k + 1}" for k in range(count)], len(rows)),
            "attempt": 1,
            "run": _RUN,
            "well": np.tile([f"{k:07d}" for k in range(len(rows))], count),
            "role": "sample",
            "perturbation": np.tile(ids, count),
            "aligned": screen.measured[rows].T.ravel(),
        }
    )
    plates = [_given(f"replicate-{k + 1}") for k in range(count)]
    return aligned, [AlignmentFit(method="given", run=_RUN, anchor=0.0, plates=tuple(plates), control_noise=None)]


def _given(barcode: str) -> PlateFit:
    return PlateFit(
        barcode=barcode, attempt=1, offset=0.0, scale=1.0, offset_variance=0.0, scale_variance=0.0, n_negcon=0,
        n_poscon=0, shrinkage_offset=1.0, shrinkage_scale=1.0,
    )  # fmt: skip


def _simulate(
    screen: Screen, batches: Mapping[int, Rows], noise: NoiseSection, seed: int
) -> tuple[pd.DataFrame, list[AlignmentFit], dict[int, set[str]]]:
    """Plates of every round with noise and effects of their own, aligned on their controls; a round is a run.

    Returns:
        Aligned wells, the alignments, and what was read by round.
    """
    method = AlignmentSection(method="two-point")
    layout = PlatesSection(
        negcon=ControlWells(wells=("A01",), nominal=_CONTROLS["negcon"]),
        poscon=ControlWells(wells=("A02",), nominal=_CONTROLS["poscon"]),
    )
    tables, fits, read = [], [], {}
    for number, rows in sorted(batches.items()):
        plates = _plates(screen, rows, noise, f"R{number:02d}", seed)
        read[number] = {name for plate in plates for name in plate["perturbation"] if name}
        if plates:
            wells = pd.concat(plates, ignore_index=True)
            fits.append(fit_alignment(wells, method, layout))
            tables.append(apply_alignment(wells, fits[-1]))
    if not read[min(read)]:
        raise UserError(
            "every plate of the first round failed", where=f"noise.failures, seed {seed}", got=noise.failures,
            todo="Take fewer failures, or more plates in the first round (protocol.initial, noise.wells).",
        )  # fmt: skip
    return pd.concat(tables, ignore_index=True), fits, read


def _plates(screen: Screen, rows: Rows, noise: NoiseSection, run: str, seed: int) -> list[pd.DataFrame]:
    """Raw wells of each plate of a round that did not fail.

    Each replicate of a perturbation is on another plate, and controls are on every plate.
    """
    rng = np.random.default_rng(derive_seed(seed, "wells", run))
    fate = np.random.default_rng(derive_seed(seed, "failures", run))
    tables = []
    for replicate in range(noise.replicates):
        dealt = rows[rng.permutation(len(rows))]
        for plate, on in enumerate(np.array_split(dealt, max(1, -(-len(dealt) // noise.wells)))):
            truth = np.concatenate([np.repeat(list(_CONTROLS.values()), noise.controls), screen.truth[on]])
            sd = noise.level * np.exp(noise.slope * np.clip(truth, -3.0, 3.0))
            value = truth + noise.plate * rng.standard_normal() + sd * rng.standard_normal(len(truth))
            roles = [*np.repeat(list(_CONTROLS), noise.controls), *["sample"] * len(on)]
            ids = [""] * (2 * noise.controls) + [screen.ids[row] for row in on.tolist()]
            wells = {"role": roles, "perturbation": ids, "value": value, "well": [f"{k:05d}" for k in range(len(ids))]}
            named = {"barcode": f"{run}-{replicate}-{plate:03d}", "attempt": 1, "run": run, "row": 0, "column": 0}
            if fate.random() >= noise.failures:
                tables.append(pd.DataFrame(named | wells))
    return tables
