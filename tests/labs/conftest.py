import numpy as np
import pandas as pd
import pytest

from tasks.campaigns.config import ControlWells, PlatesSection
from tasks.checkpoints.storage import Storage
from tasks.labs.replay import LabConfig
from tasks.readouts.wells import PLATE_SHAPES, position_to_well

QUIET = LabConfig(
    well_noise=0.0, plate_offset_sd=0.0, plate_scale_sd=0.0, run_offset_sd=0.0, run_scale_sd=0.0, poscon_value=8.0
)


def plate_map(barcode, ids, fmt=96):
    """One plate: negcon in the first column, poscon in the last, two empty wells, the ids in what follows."""
    rows, columns = PLATE_SHAPES[fmt]
    table = pd.DataFrame(
        [(barcode, position_to_well(r, c, fmt), r, c) for r in range(rows) for c in range(columns)],
        columns=["barcode", "well", "row", "column"],
    )
    table["role"] = np.select(
        [table["column"] == 0, table["column"] == columns - 1], ["negcon", "poscon"], default="empty"
    )
    free = table.index[table["role"] == "empty"][2 : 2 + len(ids)]
    table["perturbation"], table["replicate"], table["slot"] = "", 0, ""
    table.loc[free, ["role", "replicate"]] = ["sample", 1]
    table.loc[free, "perturbation"] = list(ids)
    return table


@pytest.fixture(scope="session")
def screen():
    ids = [f"p{i:03d}" for i in range(78)]
    return pd.DataFrame({"perturbation": ids, "value": np.linspace(-6.0, 2.0, len(ids))})


@pytest.fixture
def quiet():
    """A lab that adds nothing: counts are baseline + gain·value."""
    return QUIET


@pytest.fixture(scope="session")
def make_plate():
    return plate_map


@pytest.fixture
def plates():
    """The plates section that `plate_map` follows."""
    return PlatesSection(
        format=96,
        negcon=ControlWells(wells=("A01:H01",), nominal=0.0),
        poscon=ControlWells(wells=("A12:H12",), nominal=8.0),
    )


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path / "campaign"))
