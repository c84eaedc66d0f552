"""Wells that the lab wants left out: an exclusions file of the inbox."""

import pytest
from pilots import computed

from tasks.campaigns.designs import read_table
from tasks.checkpoints.store import CheckpointStore
from tasks.errors import UserError


def upload(pilot, text, name="exclusions.csv"):
    (pilot.folder / "campaigns/pilot/inbox" / name).write_text(text)


def a_sample(pilot):
    platemap = read_table(pilot.ledger.storage.read("rounds/0001/design/platemap.csv").decode())
    samples = platemap[(platemap["role"] == "sample") & (platemap["barcode"] == "pilot-R01-P01")]
    return samples.iloc[0]


def values(pilot, key):
    store, run = CheckpointStore(pilot.ledger.storage), pilot.ledger.runs(1)[-1]
    return store.load(run.lock.nodes[f"plate/{key}"].outputs["wells"]).set_index("well")["value"]


def test_an_excluded_well_has_no_value_and_only_its_plate_is_judged_again(two):
    well = a_sample(two)["well"]
    before = values(two, "pilot-R01-P01.1")
    upload(two, f"barcode,well,reason\npilot-R01-P01,{well},bubble\n")
    result = two.round(1)
    assert {name for name in computed(result) if name.startswith(("parse/", "plate/"))} == {"plate/pilot-R01-P01.1"}
    after = values(two, "pilot-R01-P01.1")
    assert after[after.isna()].index.tolist() == [well]
    assert after.drop(well).equals(before.drop(well))
    assert not result.rejections


def test_an_exclusion_may_be_about_one_attempt_alone(two):
    well = a_sample(two)["well"]
    upload(two, f"barcode,attempt,well,reason\npilot-R01-P01,2,{well},bubble\n")
    assert two.round(1).status == "unchanged"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("barcode,well,reason\nP99,A01,x\n", r"exclusions\.csv, line 2: unknown plate"),
        ("barcode,well,reason\npilot-R01-P01,Z99,x\n", r"exclusions\.csv, line 2"),
        ("barcode,well,reason\npilot-R01-P01,A01,\n", "exclusion without a reason"),
        ("plate,value\n", "no column"),
    ],
)
def test_a_mistake_in_a_log_stops_the_round(two, text, said):
    upload(two, text)
    files = two.files()
    with pytest.raises(UserError, match=said):
        two.round(1)
    assert two.files() == files
