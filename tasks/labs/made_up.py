"""Plates of made-up values in any number, to measure speed and memory with."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.campaigns.config import PlatesSection
from tasks.readouts.wells import expand_wells, plate_shape, plate_wells

#: Level of each role [sd of a well].
_LEVELS = {"negcon": 0.0, "poscon": 10.0, "sample": 3.0}


def full_platemap(layout: PlatesSection) -> pd.DataFrame:
    """Plate map of one plate without a barcode, of which every well is used: controls as laid out, the rest samples."""
    row, column = np.divmod(np.arange(layout.format), plate_shape(layout.format)[1])
    names = list(plate_wells(layout.format))
    wells = pd.DataFrame({"well": names, "row": row, "column": column, "role": "sample"})
    for role, control in (("negcon", layout.negcon), ("poscon", layout.poscon)):
        if control is not None:
            wells.loc[wells["well"].isin(expand_wells(control.wells, layout.format)), "role"] = role
    sample = wells["role"] == "sample"
    wells["perturbation"] = np.where(sample, "X" + wells["well"], "")
    return wells.assign(replicate=sample.astype("int64"), slot=np.where(sample, "strategy", ""))


def plate_file(platemap: pd.DataFrame, barcode: str, run: str, features: int, seed: int) -> str:
    """A long CSV file of one plate: plate, well, run, then `value`, or f0, f1, … for several features.

    Values are 1000 + 50·N(0, 1) for the plate + 20·(level of the role + N(0, 1)) [instrument units].

    Args:
        platemap: Its wells and their roles.
        barcode: Its barcode.
        run: Its run.
        features: Numbers a well.
        seed: Seed of the noise.
    """
    rng = np.random.default_rng(seed)
    levels = platemap["role"].map(_LEVELS).to_numpy(dtype=np.float64)[:, None]
    values = 1000 + 50 * rng.standard_normal() + 20 * (levels + rng.standard_normal((len(levels), features)))
    names = ["value"] if features == 1 else [f"f{number}" for number in range(features)]
    head = pd.DataFrame({"plate": barcode, "well": platemap["well"], "run": run})
    numbers = pd.DataFrame(values.round(3), columns=names)
    return str(pd.concat([head, numbers], axis=1).to_csv(index=False, lineterminator="\n"))
