"""Campaigns whose readouts are more than one number a well, or whose plates are tied together by more than controls."""

import io

import numpy as np
import pandas as pd
import pytest
from pilots import N, computed

from tasks.campaigns.designs import read_table
from tasks.checkpoints.store import CheckpointStore
from tasks.errors import UserError


def load(pilot, number, node, output):
    run = pilot.ledger.runs(number)[-1]
    return CheckpointStore(pilot.ledger.storage).load(run.lock.nodes[node].outputs[output])


def nodes(pilot, number, prefix):
    return sorted(name for name in pilot.ledger.runs(number)[-1].lock.nodes if name.startswith(prefix))


def inbox(pilot):
    return pilot.folder / "campaigns/pilot/inbox"


def as_profiles(pilot, seed):
    """Turn the lab's files into ones of several features: the readout is f1, the others follow it or are noise."""
    rng = np.random.default_rng(seed)
    for path in sorted(inbox(pilot).glob("*.csv")):
        table = pd.read_csv(path, dtype={"attempt": str})
        if "value" not in table.columns:
            continue
        value = table.pop("value")
        table["f0"] = 3 * value + rng.normal(size=len(table))
        table["f1"] = value
        table["f2"] = 50 + 5 * rng.normal(size=len(table))
        path.write_text(table.to_csv(index=False, lineterminator="\n"))


@pytest.fixture
def profiles(make_pilot):
    pilot = make_pilot(readout__features=["f*"], readout__output="f1", alignment={"method": "negcon"})
    pilot.open()
    pilot.answer(0)
    as_profiles(pilot, 1)
    return pilot


def test_a_campaign_of_profiles_aligns_all_features_and_models_the_output(profiles):
    result = profiles.round()
    assert result.status == "decided"
    (node,) = nodes(profiles, 0, "align/")
    features = load(profiles, 0, node, "profiles")
    aligned = load(profiles, 0, node, "aligned")
    assert features.columns.tolist() == ["f0", "f1", "f2"]
    assert len(features) == len(aligned)
    np.testing.assert_array_equal(features["f1"], aligned["aligned"])
    negcon = features[aligned["role"] == "negcon"]
    assert negcon.median().abs().max() < 0.5
    assert load(profiles, 0, "labels", "training")["value"].std() > 0
    profiles.answer(1)
    as_profiles(profiles, 2)
    second = profiles.round()
    assert second.status == "decided"
    assert node not in computed(second)


def test_a_plate_with_other_features_is_refused_and_says_which(profiles):
    path = next(p for p in sorted(inbox(profiles).iterdir()) if "P02" in p.name)
    table = pd.read_csv(path).rename(columns={"f2": "f3"})
    path.write_text(table.to_csv(index=False, lineterminator="\n"))
    result = profiles.round()
    (rejection,) = result.rejections
    assert rejection["plate"] == "pilot-R00-P02"
    assert "f2" in rejection["reason"]
    assert "f3" in rejection["reason"]
    assert result.plates_passed == 2


def test_a_plate_that_comes_later_changes_nothing_of_the_earlier_ones(make_pilot):
    pilot = make_pilot(quality__min_passed=0.3)
    pilot.open()
    pilot.answer(0)
    late = next(p for p in sorted(inbox(pilot).iterdir()) if "P03" in p.name)
    text = late.read_text()
    late.unlink()
    pilot.round()
    before = pilot.digests(0)
    late.write_text(text)
    result = pilot.round(0)
    assert result.plates_passed == 3
    after = pilot.digests(0)
    assert {name for name in computed(result) if name.startswith("align")} == {"align later/2/R00"}
    assert after["align/R00", "fit"] == before["align/R00", "fit"]
    assert after["align/R00", "aligned"] == before["align/R00", "aligned"]
    (plate,) = load(pilot, 0, "align later/2/R00", "fit")["plates"]
    assert plate["barcode"] == "pilot-R00-P03"
    assert pilot.round(0).status == "unchanged"


def test_anchors_use_samples_but_never_hidden_members(make_pilot):
    anchored = make_pilot("one", alignment={"method": "two-point", "anchors": ["samples", "bridges"]})
    anchored.open()
    anchored.answer(0)
    twin = anchored.copy(anchored.folder.parent / "two")
    anchored.round()
    platemap = read_table(twin.ledger.storage.read("rounds/0000/design/platemap.csv").decode())
    hidden = platemap[platemap["slot"] == "audit"]
    for path in sorted((twin.folder / "campaigns/pilot/inbox").iterdir()):
        table = pd.read_csv(path)
        poisoned = pd.MultiIndex.from_frame(table[["plate", "well"]]).isin(
            pd.MultiIndex.from_frame(hidden[["barcode", "well"]])
        )
        table.loc[poisoned, "value"] += 5 * table["value"].std()
        path.write_text(table.to_csv(index=False, lineterminator="\n"))
    twin.round()
    assert anchored.digests(0)["align/R00", "fit"] == twin.digests(0)["align/R00", "fit"]
    pages = [p.ledger.storage.read("rounds/0000/runs/01/quality.html") for p in (anchored, twin)]
    assert pages[0] == pages[1], "nothing on the page on quality tells a hidden readout"
    plain = make_pilot("three")
    plain.through(0)
    assert load(plain, 0, "align/R00", "fit")["plates"] != load(anchored, 0, "align/R00", "fit")["plates"]


def test_a_sample_based_alignment_warns(make_pilot):
    pilot = make_pilot(alignment={"method": "plate-median"})
    result = pilot.through(0)
    assert result.status == "decided"
    (warning,) = result.warnings
    assert "drifts when perturbations are chosen" in warning
    page = pilot.ledger.storage.read(f"{pilot.ledger.runs(0)[-1].folder}/quality.html").decode()
    assert "drifts when perturbations are chosen" in page


def test_the_report_leads_to_the_page_on_quality_which_says_what_is_blank(make_pilot):
    pilot = make_pilot()
    pilot.through(0)
    folder = pilot.ledger.runs(0)[-1].folder
    page = pilot.ledger.storage.read(f"{folder}/quality.html").decode()
    report = pilot.ledger.storage.read(f"{folder}/report.html").decode()
    assert 'href="quality.html"' in report
    assert "hidden audit" in page


def test_guides_of_a_gene_become_one_label(make_pilot):
    pilot = make_pilot(plates__replicates=2, plates__initial=4, plates__per_round=2, library__reagents="guides")
    library = pd.read_csv(pilot.folder / "library.csv")
    library["guides"] = [f"g{i}a;g{i}b" for i in range(N)]
    library.to_csv(pilot.folder / "library.csv", index=False)
    result = pilot.through(0)
    assert result.status == "decided"
    worklist = pd.read_csv(io.BytesIO(pilot.ledger.storage.read("rounds/0000/design/worklist.csv")))
    assert worklist["sample"].str.fullmatch(r"g[0-9]+[ab]").sum() == (worklist["role"] == "sample").sum()
    labels, levels = load(pilot, 0, "labels", "training"), load(pilot, 0, "labels", "levels")
    assert (labels["n"] == 2).all()
    assert set(levels["level"]) >= {"plate", "reagent"}
    assert set(pd.read_csv(pilot.folder / "library.csv")["perturbation"]) > set(labels["perturbation"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"alignment": {"method": "tvn"}},
            r"alignment\.method \(for one number a well\): unknown name; .*one of b-score, negcon, plate",
        ),
        (
            {"readout__features": ["f*"], "readout__output": "f1"},
            r"alignment\.method \(for several features\): unknown name; .*expected one of coral, negcon, tvn",
        ),
        ({"readout__features": ["f*"]}, "features and output go together"),
        ({"alignment": {"method": "negcon", "regularisation": 0.5}}, "is for several features"),
        ({"library__reagents": "guides"}, "no such annotation"),
        ({"readout__format": "excel"}, "readout.format: unknown name"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_at_once(make_pilot, changes, said):
    pilot = make_pilot(**changes)
    with pytest.raises(UserError, match=said):
        pilot.open()
    assert not (pilot.folder / "campaigns/pilot/rounds").exists()
