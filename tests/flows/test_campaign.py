import pytest
import yaml

from tasks.campaigns.designs import read_table
from tasks.errors import UserError


def test_opening_draws_the_audit_and_fills_the_plates(pilot):
    opened = pilot.open()
    assert (opened.newly, opened.perturbations, opened.audit, opened.plates, opened.wells) == (True, 240, 36, 3, 96)
    design = pilot.folder / "campaigns/pilot/rounds/0000/design"
    assert {path.name for path in design.iterdir()} == {
        "batch.csv",
        "design.json",
        "platemap.csv",
        "worklist.csv",
        "worklist_echo.csv",
    }
    batch = read_table((design / "batch.csv").read_text())
    assert batch["arm"].value_counts().to_dict() == {"initial": 60, "audit": 36}
    assert batch["perturbation"].is_unique
    platemap = read_table((design / "platemap.csv").read_text())
    samples = platemap[platemap["role"] == "sample"]
    assert set(samples["perturbation"]) == set(batch["perturbation"])
    assert platemap.groupby("barcode")["role"].value_counts().unstack()["negcon"].tolist() == [32, 32, 32]


def test_opening_again_changes_nothing(pilot):
    pilot.open()
    before = pilot.files()
    assert not pilot.open().newly
    assert pilot.files() == before


def test_the_design_depends_on_the_seed_alone(make_pilot):
    first, second, other = make_pilot("a"), make_pilot("b"), make_pilot("c", campaign__seed=6)
    for each in (first, second, other):
        each.open()
    name = "rounds/0000/design/platemap.csv"
    assert first.files()[name] == second.files()[name] != other.files()[name]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch__slots": [{"strategy": "magic", "share": 1.0}]}, ["batch.slots", "'magic'", "eigenmodes"]),
        ({"alignment__method": "median"}, ["alignment.method", "'median'", "two-point"]),
        ({"stopping__rule": "hope"}, ["stopping.rule", "'hope'", "audit"]),
        ({"ensemble__model": "oracle"}, ["ensemble.model", "'oracle'", "mlp"]),
        ({"batch__audit": 0.6}, ["audit set leaves nothing to train on"]),
        ({"plates__negcon": {"wells": ["A09:H12"], "nominal": 0.0}}, ["A09"]),
        ({"plates__negcon": {"wells": ["Z99"], "nominal": 0.0}}, ["Z99"]),
        ({"library__uri": "gone.csv"}, ["no such library"]),
    ],
)
def test_a_mistake_is_found_before_anything_is_written(pilot, change, words):
    pilot.write(**change)
    with pytest.raises(UserError) as caught:
        pilot.open()
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (pilot.folder / "campaigns").exists()


def test_a_campaign_keeps_its_library(pilot):
    pilot.open()
    text = (pilot.folder / "library.csv").read_text().splitlines()
    (pilot.folder / "library.csv").write_text("\n".join(text[:-1]) + "\n")
    with pytest.raises(UserError, match="library differs"):
        pilot.open()


def test_a_round_before_opening_is_one_clear_line(pilot):
    with pytest.raises(UserError, match=r"no such campaign.*hybridscreen open"):
        pilot.round()
    assert not (pilot.folder / "campaigns").exists()


def test_the_revision_holds_every_default(pilot):
    pilot.open()
    content = yaml.safe_load((pilot.folder / "campaigns/pilot/revisions/0001.yaml").read_text())
    assert content["stopping"]["risk"] == 0.05
    assert content["ensemble"]["members"] == 4
