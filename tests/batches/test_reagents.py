import pandas as pd
import pytest

from tasks.batches.layout import lay_out
from tasks.batches.reagents import assign_reagents, read_reagents
from tasks.batches.worklist import echo_picklist, generic_worklist
from tasks.campaigns.config import ControlWells, PlatesSection
from tasks.errors import UserError

PLATES = PlatesSection(format=96, negcon=ControlWells(wells=("A01:H01",)), replicates=3, initial=3, per_round=3)


@pytest.fixture
def platemap():
    batch = pd.DataFrame(
        {
            "perturbation": ["TP53", "MYC"],
            "action": "measure",
            "arm": "initial",
            "slot": "initial",
            "mode": -1,
            "rank": [0, 1],
        }
    )
    return lay_out(batch, PLATES, 3, "genes", 0, 1)


REAGENTS = {"TP53": ("g1", "g2", "g3"), "MYC": ("m1", "m2")}


def test_each_replicate_gets_its_own_reagent_and_the_first_again_after_the_last(platemap):
    given = assign_reagents(platemap, REAGENTS)
    samples = given[given["role"] == "sample"].sort_values(["perturbation", "replicate"])
    assert samples["reagent"].tolist() == ["m1", "m2", "m1", "g1", "g2", "g3"]
    assert set(given.loc[given["role"] != "sample", "reagent"]) == {""}


def test_worklists_dispense_the_reagent(platemap):
    given = assign_reagents(platemap, REAGENTS)
    assert set(REAGENTS["TP53"]) < set(generic_worklist(given, 1.0)["sample"])
    assert "TP53" not in set(echo_picklist(given, 25.0)["Sample ID"])
    assert "TP53" in set(echo_picklist(platemap, 25.0)["Sample ID"])


def test_reagents_are_read_from_the_annotation():
    annotation = pd.DataFrame({"guides": ["g1; g2;", "m1"]}, index=["TP53", "MYC"])
    assert read_reagents(annotation, "guides") == {"TP53": ("g1", "g2"), "MYC": ("m1",)}


@pytest.mark.parametrize(
    ("guides", "said"),
    [(["g1", " ; "], "without a reagent"), (["g1;g1", "m1"], "TP53, twice"), (["g1", "g1"], "g1 of TP53 and MYC")],
)
def test_unusable_annotation_is_refused(guides, said):
    annotation = pd.DataFrame({"guides": guides}, index=["TP53", "MYC"])
    with pytest.raises(UserError, match=said):
        read_reagents(annotation, "guides")


def test_a_missing_annotation_is_named():
    with pytest.raises(UserError, match=r"library\.reagents.*got guide"):
        read_reagents(pd.DataFrame({"guides": ["a"]}, index=["TP53"]), "guide")
