"""Plate maps: controls, replicates on different plates, slots and modes spread, positions by seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.batches.pool import FloatArray, IntArray
from tasks.batches.spread import deal, level_plates
from tasks.campaigns.config import PlatesSection
from tasks.errors import NumericalError, UserError
from tasks.readouts.wells import PLATE_SHAPES, expand_wells, is_edge, position_to_well

PLATEMAP_COLUMNS = ("barcode", "well", "row", "column", "role", "perturbation", "replicate", "slot")
# What is dealt out evenly, from coarse to fine.
_STRATA = (["arm", "slot"], ["arm", "slot", "mode"])


def capacity(plates: PlatesSection) -> int:
    """Sample wells of one plate.

    Raises:
        UserError: If control wells collide or leave no sample well.
    """
    return int((_plate_template(plates)["role"] == "sample").sum())


def perturbations_per_round(plates: PlatesSection, n_plates: int) -> int:
    """Perturbations that `n_plates` plates hold with all their replicates, each on another plate.

    Fewer than `replicates` sample wells stay empty.

    Raises:
        UserError: If there are fewer plates than replicates, or the control wells are wrong.
    """
    if n_plates < plates.replicates:
        raise UserError(
            "fewer plates than replicates",
            where="plates",
            got=f"{n_plates} plates",
            expected=f"at least {plates.replicates}",
            todo="Each replicate stands on another plate: raise the number of plates or lower plates.replicates.",
        )
    return n_plates * capacity(plates) // plates.replicates


def lay_out(
    batch: pd.DataFrame,
    plates: PlatesSection,
    n_plates: int,
    campaign: str,
    round_index: int,
    seed: int,
    coordinates: FloatArray | None = None,
) -> pd.DataFrame:
    """Place a batch on plates.

    The rows with action `measure` are laid out; releases need no well. Arms, slots and modes are dealt out evenly over
    the plates, and the plates' means of the coordinates are levelled, so that a plate's error does not coincide with a
    direction that the batch is to teach. Positions on a plate are random.

    Args:
        batch: Batch table.
        plates: Format, controls, edge policy, replicates.
        n_plates: Plates of this round, at most; plates that would stay empty are dropped.
        campaign: Name of the campaign, prefix of every barcode.
        round_index: Round of the batch; 0 is the initial design.
        seed: Seed of the layout.
        coordinates: (rows of the batch, k) leading coordinates in the eigenspace; None where there is no model yet.

    Returns:
        Plate map: one row per well of the format, empty ones included, ordered by plate, row and column. Barcodes are
        `<campaign>-R<round>-P<plate>`, plates numbered from 1. No row at all if there is nothing to measure.

    Raises:
        UserError: If a perturbation stands twice in the batch, the batch does not fit, or the control wells are wrong.
        NumericalError: If the coordinates are not those of the batch.
    """
    if coordinates is not None and len(coordinates) != len(batch):
        raise NumericalError(f"layout: {len(coordinates)} rows of coordinates for a batch of {len(batch)}")
    samples = _in_strata(batch, np.random.default_rng([seed, 0]))
    fits = perturbations_per_round(plates, n_plates)
    if len(samples) > fits:
        raise UserError(
            "the batch does not fit on its plates",
            where=f"round {round_index}",
            got=f"{len(samples)} perturbations",
            expected=f"at most {fits} on {n_plates} plates with {plates.replicates} replicates",
        )
    template = _plate_template(plates)
    rng = np.random.default_rng([seed, 1])
    per_plate = int((template["role"] == "sample").sum())
    used = _plates_needed(len(samples), plates.replicates, per_plate)
    strata = [np.asarray(samples.groupby(keys, sort=False).ngroup(), dtype=np.int64) for keys in _STRATA]
    plate_of = deal(strata, used, plates.replicates, per_plate, rng)
    if coordinates is not None:
        plate_of = level_plates(plate_of, coordinates[samples["batch_row"].to_numpy()], strata)
    maps = []
    for plate in range(used):
        barcode = f"{campaign}-R{round_index:02d}-P{plate + 1:02d}"
        maps.append(_fill_plate(template, barcode, samples, plate_of, plate, rng))
    return pd.concat(maps, ignore_index=True) if maps else _empty(template)


def _in_strata(batch: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The perturbations to measure, those of one arm, slot and mode next to each other; ties by `rng`."""
    numbered = batch.assign(batch_row=np.arange(len(batch)))
    samples = numbered.loc[batch["action"] == "measure", ["perturbation", "arm", "slot", "mode", "rank", "batch_row"]]
    twice = samples["perturbation"][samples["perturbation"].duplicated()]
    if len(twice):
        raise UserError("perturbation twice in one batch", where="batch", got=twice.iloc[0], expected="each once")
    if (samples["perturbation"] == "").any():
        raise UserError("perturbation without an id", where="batch", got="an empty id")
    shuffled = samples.assign(tie=rng.permutation(len(samples)))
    return shuffled.sort_values(["arm", "slot", "mode", "rank", "tie"]).reset_index(drop=True)


def _plates_needed(count: int, replicates: int, per_plate: int) -> int:
    """Fewest plates that hold `count` perturbations, each replicate on another plate."""
    return max(replicates, -(-count * replicates // per_plate)) if count else 0


def _fill_plate(
    template: pd.DataFrame,
    barcode: str,
    samples: pd.DataFrame,
    plate_of: IntArray,
    plate: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Put the samples of one plate on its sample wells, at random."""
    sample, replicate = np.nonzero(plate_of == plate)
    free = np.flatnonzero((template["role"] == "sample").to_numpy())
    wells = rng.permutation(free)[: len(sample)]
    filled = template.copy()
    roles = filled["role"].to_numpy(dtype=object, copy=True)
    roles[free] = "empty"
    roles[wells] = "sample"
    for column, values in (("perturbation", samples["perturbation"]), ("slot", samples["slot"])):
        cells = np.full(len(filled), "", dtype=object)
        cells[wells] = values.to_numpy(dtype=object)[sample]
        filled[column] = cells
    numbers = np.zeros(len(filled), dtype=np.int64)
    numbers[wells] = replicate + 1
    filled["role"], filled["replicate"], filled["barcode"] = roles, numbers, barcode
    return filled[list(PLATEMAP_COLUMNS)]


def _plate_template(plates: PlatesSection) -> pd.DataFrame:
    """One plate, row by row: well, row, column and the role its position may have (columns of the plate map)."""
    controls = _control_roles(plates)
    n_rows, n_columns = PLATE_SHAPES[plates.format]
    records = []
    for row in range(n_rows):
        for column in range(n_columns):
            well = position_to_well(row, column, plates.format)
            barred = plates.edge == "empty" and is_edge(row, column, plates.format)
            records.append((well, row, column, controls.get(well, "empty" if barred else "sample")))
    template = pd.DataFrame(records, columns=["well", "row", "column", "role"])
    if not (template["role"] == "sample").any():
        raise UserError("the controls leave no well for a sample", where="plates", got=f"{len(controls)} control wells")
    return template


def _control_roles(plates: PlatesSection) -> dict[str, str]:
    """Role of every control well.

    Raises:
        UserError: If a well is named twice.
    """
    roles: dict[str, str] = {}
    for role, control in (("negcon", plates.negcon), ("poscon", plates.poscon)):
        for well in expand_wells(control.wells, plates.format) if control else ():
            if well in roles:
                raise UserError(
                    "control well named twice",
                    where=f"plates.{role}.wells",
                    got=f"{well}, which is {roles[well]} already",
                    expected="each well once",
                    todo="Take the well out of one of the lists.",
                )
            roles[well] = role
    return roles


def _empty(template: pd.DataFrame) -> pd.DataFrame:
    blank = template.iloc[:0].assign(barcode="", perturbation="", replicate=0, slot="")
    return blank[list(PLATEMAP_COLUMNS)].astype({"replicate": "int64"})
