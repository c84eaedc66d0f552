import numpy as np
import pytest

from tasks.campaigns.config import ControlWells, PlatesSection, ReadoutSection
from tasks.labs.made_up import full_platemap, plate_file
from tasks.readouts.ingest import match_platemap, read_plate_file

LAYOUT = PlatesSection(format=96, negcon=ControlWells(wells=("A01:H01",)), poscon=ControlWells(wells=("A12:H12",)))


@pytest.mark.parametrize("features", [1, 3])
def test_a_made_up_file_is_a_plate_that_ingestion_takes(features):
    several = {"features": ("f*",), "output": "f1"} if features > 1 else {}
    section = ReadoutSection(tolerance=1.0, **several)
    platemap = full_platemap(LAYOUT)
    text = plate_file(platemap, "P1", "R1", features, seed=3)
    (plate,) = read_plate_file(text.encode(), "p.csv", section, 96)
    wells = match_platemap(plate, platemap.assign(barcode="P1"), section)
    assert len(wells) == 96
    assert wells["role"].value_counts().to_dict() == {"sample": 80, "negcon": 8, "poscon": 8}
    by_role = wells.groupby("role")["value"].mean()
    assert 100 < by_role["poscon"] - by_role["negcon"] < 300
    assert text == plate_file(platemap, "P1", "R1", features, seed=3)
    assert text != plate_file(platemap, "P1", "R1", features, seed=4)
    assert np.isfinite(wells["value"]).all()
