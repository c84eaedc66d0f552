import json

import anndata
import numpy as np
import pandas as pd
import pytest
from pilots import computed

from tasks.campaigns.ledger import Ledger
from tasks.checkpoints.storage import StorageError
from tasks.checkpoints.store import DamagedCheckpoint
from tasks.errors import UserError


def test_a_second_run_with_nothing_new_computes_nothing_and_writes_nothing(two):
    before = two.files()
    again = two.round()
    assert again.status == "unchanged"
    assert again.message.startswith("nothing new since run 01")
    assert computed(again) == set()
    assert two.files() == before


def test_a_repeated_plate_recomputes_what_depends_on_it_and_says_why(two):
    known = two.digests(1)
    assert two.round().repeats == ["pilot-R01-P02"]
    assert two.answer(1) == ("inbox/pilot-R01-P02.attempt2.csv",)
    again = two.round()
    plate = {"parse/pilot-R01-P02.attempt2.csv", "plate/pilot-R01-P02.2", "align/R01-repeat1", "plates together"}
    after = {"labels", "fit/000", "ensemble", "forward", "forward/audit", "omega", "decide", "propose", "screen"}
    after |= {"omega/calibration", "omega/cobias", "forecast", "assess", "assess/replay/000"}
    chunks = {f"{stem}/0000{i}" for stem in ("predict", "omega", "omega/parts") for i in range(3)}
    assert computed(again) == plate | after | chunks
    reasons = {event.node: event.reason for event in again.computed}
    assert reasons["labels"] == "input fit R01-repeat1 is new; input run R01-repeat1 is new"
    assert reasons["fit/000"] == "input incidence changed; input labels changed"
    assert (again.status, again.run, again.repeats, again.plates_passed) == ("decided", 2, [], 2)
    untouched = [name for name in known if name[0].startswith(("plate/", "parse/", "align/", "reference/"))]
    now = two.digests(1)
    assert untouched
    assert all(now[name] == known[name] for name in untouched)
    states = pd.read_csv(two.folder / "campaigns/pilot/rounds/0001/runs/02/plates.csv")
    assert states.loc[states["barcode"] == "pilot-R01-P02", "state"].tolist() == ["repeated", "passed"]


def test_the_released_design_outlives_the_rerun(two):
    design = two.folder / "campaigns/pilot/rounds/0002/design"
    before = {path.name: path.read_bytes() for path in design.iterdir()}
    two.answer(1)
    assert two.round().released is None
    assert {path.name: path.read_bytes() for path in design.iterdir()} == before


@pytest.mark.parametrize(
    "stage",
    [
        *("parse", "plate", "align", "labels", "fit", "ensemble"),
        *("predict", "forward", "calibration", "cobias", "grams", "omega", "coordinates"),
        *("assess-library", "assess-replay", "assess"),
        *("forecast", "decide", "propose", "screen"),
    ],
)
def test_a_lost_payload_is_recomputed_to_the_same_digests(two, stage):
    known = two.digests(1)
    lock = two.ledger.runs(1)[-1].lock
    node = next(node for name, node in lock.nodes.items() if node.stage == stage)
    ref = next(iter(node.outputs.values()))
    path = two.folder / "campaigns/pilot" / ref.uri
    if path.is_dir():
        path = next(file for file in sorted(path.rglob("*")) if file.is_file())
    path.unlink()
    again = two.round()
    assert computed(again) == {node.node}
    assert "missing" in again.computed[0].reason
    assert again.status == "unchanged"
    assert two.digests(1) == known
    assert path.exists()


def test_the_screen_has_every_perturbation_once_and_measured_rows_are_the_measurements(two):
    folder = two.folder / "campaigns/pilot"
    screen = anndata.read_zarr(folder / "screens/0002/screen.zarr")
    ids = pd.read_csv(two.folder / "library.csv")["perturbation"].tolist()
    assert screen.obs_names.tolist() == ids
    lock = two.ledger.runs(1)[-1].lock
    aligned = pd.concat(
        pd.read_parquet(folder / node.outputs["aligned"].uri) for node in lock.nodes.values() if node.stage == "align"
    )
    means = aligned[aligned["role"] == "sample"].groupby("perturbation")["aligned"].mean().dropna()
    measured = screen.obs[screen.obs["source"] == "measured"]
    assert set(measured.index) == set(means.index)
    np.testing.assert_allclose(measured["value"], means[measured.index], rtol=1e-12)
    predicted = screen.obs[screen.obs["source"] == "predicted"]
    assert len(predicted) + len(measured) == 240
    np.testing.assert_array_equal(predicted["value"], predicted["predicted"])
    assert np.isfinite(screen.obs[["value", "standard_error", "lower", "upper"]].to_numpy()).all()
    truth = two.values.set_index("perturbation")["value"][measured.index]
    assert np.sqrt(np.mean((measured["value"] - truth) ** 2)) < 0.3
    table = pd.read_csv(folder / "screens/0002/screen.csv")
    np.testing.assert_allclose(table["value"], screen.obs["value"])


def test_forward_residuals_never_hold_a_label_the_model_saw(two):
    folder = two.folder / "campaigns/pilot"
    seen = pd.read_parquet(folder / two.ledger.runs(0)[-1].lock.nodes["labels"].outputs["training"].uri)
    for node in ("forward", "forward/audit"):
        table = pd.read_parquet(folder / two.ledger.runs(1)[-1].lock.nodes[node].outputs["table"].uri)
        assert len(table)
        assert not set(table["perturbation"]) & set(seen["perturbation"])


def look_of(pilot, number):
    """What the rules of a round read."""
    uri = pilot.ledger.runs(number)[-1].lock.nodes["decide"].outputs["evidence"].uri
    return json.loads((pilot.folder / "campaigns/pilot" / uri).read_text())


def test_hidden_audit_labels_change_nothing_upstream_of_stopping(make_pilot):
    """Poison the readouts of all that are hidden after two batches: only stopping and publishing may notice."""
    clean, poisoned = make_pilot("clean"), make_pilot("poisoned")
    clean.through(1)
    designs = [pd.read_csv(clean.folder / f"campaigns/pilot/rounds/000{k}/design/batch.csv") for k in (0, 1)]
    drawn = pd.concat([batch.loc[batch["arm"].isin(["audit", "random"]), "perturbation"] for batch in designs])
    picked = pd.concat([batch.loc[batch["arm"].isin(["initial", "strategy"]), "perturbation"] for batch in designs])
    poisoned.open()
    poisoned.lab._truth.loc[drawn[~drawn.isin(picked)]] = 1000.0
    upstream = ("align", "labels", "fit/", "ensemble", "predict/", "omega", "assess", "propose")
    for number, stages in enumerate((upstream, (*upstream, "forward"))):
        poisoned.answer(number)
        poisoned.round()
        before, after = clean.digests(number), poisoned.digests(number)
        blind = {name for name in before if name[0].startswith(stages)}
        blind -= {name for name in blind if name[0].startswith("align") and name[1] != "fit"}
        blind -= {name for name in blind if "audit" in name[0] or "audit" in name[1]}
        assert {name[0].split("/")[0] for name in blind} == {stage.rstrip("/") for stage in stages}
        assert [name for name in blind if after[name] != before[name]] == []
        assert after["labels", "audit"] != before["labels", "audit"]
        assert after["decide", "decision"] != before["decide", "decision"]
        looks = [look_of(each, number) for each in (clean, poisoned)]
        assert looks[0]["audit"] != looks[1]["audit"]
        assert looks[0]["controls"]  # the plateau and what was saved are blind too
        for blind_part in ("controls", "picks"):
            assert looks[0][blind_part] == looks[1][blind_part]
    assert ("omega/cobias", "cobias") in blind
    for number in (1, 2):
        design = f"rounds/000{number}/design/platemap.csv"
        assert poisoned.files()[design] == clean.files()[design]


def test_too_few_plates_make_the_round_wait_and_list_repeats(make_pilot):
    pilot = make_pilot(failures=((0, 1), (0, 2)))
    pilot.open()
    waiting = pilot.round()
    assert (waiting.status, waiting.plates_passed, waiting.plates_planned) == ("waiting", 0, 3)
    pilot.answer(0)
    failed = pilot.round()
    assert failed.status == "waiting"
    assert failed.message == "waits: 1 of 3 plates have passed, 50% are needed"
    assert failed.repeats == ["pilot-R00-P01", "pilot-R00-P02"]
    assert pilot.ledger.looks() == []
    pilot.answer(0)
    done = pilot.round()
    assert (done.status, done.plates_passed) == ("decided", 3)
    assert pilot.round().status == "unchanged"


def test_what_is_wrong_in_the_inbox_is_named_and_the_good_plates_count(two):
    inbox = two.folder / "campaigns/pilot/inbox"
    good = sorted(inbox.iterdir())[0]
    (inbox / "copy of a plate.csv").write_bytes(good.read_bytes())
    (inbox / "stranger.csv").write_text("plate,well,value\nX1,A01,5\n")
    (inbox / "notes.txt").write_text("please ignore")
    known = two.digests(1)
    result = two.round()
    assert result.status == "unchanged"
    reasons = {row["file"]: row["reason"] for row in result.rejections}
    assert set(reasons) == {"stranger.csv", "notes.txt"}
    assert "unknown barcode 'X1'" in reasons["stranger.csv"]
    now = two.digests(1)
    assert all(now[name] == digest for name, digest in known.items())


def second_content(pilot):
    """Upload another content for a plate that was taken in; the name of its file, and of the first one's."""
    inbox = pilot.folder / "campaigns/pilot/inbox"
    good = next(path for path in sorted(inbox.iterdir()) if "R01-P01" in path.name)
    lines = good.read_text().splitlines()
    lines[5] = lines[5].rsplit(",", 1)[0] + ",1.0"
    (inbox / "second thoughts.csv").write_text("\n".join(lines) + "\n")
    return "second thoughts.csv", good.name


def test_a_changed_file_for_a_plate_that_was_taken_in_is_refused_alone(two):
    name, _ = second_content(two)
    result = two.round()
    assert [(row["file"], "taken in with another content" in row["reason"]) for row in result.rejections] == [
        (name, True)
    ]
    assert (result.status, result.plates_passed) == ("unchanged", 1)


def test_a_file_that_was_replaced_after_it_was_taken_in_is_told(two):
    name, first = second_content(two)
    inbox = two.folder / "campaigns/pilot/inbox"
    (inbox / name).replace(inbox / first)
    result = two.round()
    assert [(row["file"], "taken in with another content" in row["reason"]) for row in result.rejections] == [
        (first, True)
    ]
    assert result.plates_passed == 1, "what was taken in stands"


def test_what_was_taken_in_stands_after_its_file_has_left_the_inbox(two):
    before = two.digests(1)
    for path in sorted((two.folder / "campaigns/pilot/inbox").iterdir()):
        path.unlink()
    result = two.round(1)
    assert (result.status, result.plates_passed, result.rejections) == ("unchanged", 1, [])
    assert computed(result) == set()
    assert two.digests(1) == before


def test_a_file_may_be_renamed_after_it_was_taken_in(two):
    inbox = two.folder / "campaigns/pilot/inbox"
    good = next(path for path in sorted(inbox.iterdir()) if "R01-P01" in path.name)
    good.rename(inbox / "renamed.csv")
    result = two.round()
    assert (result.rejections, result.plates_passed) == ([], 1)


def test_two_first_contents_for_one_attempt_are_both_refused(make_pilot):
    pilot = make_pilot()
    pilot.through(0)
    pilot.answer(1)
    names = second_content(pilot)
    result = pilot.round()
    assert {row["file"] for row in result.rejections} == set(names)
    assert result.plates_passed == 1


def test_a_change_of_stopping_does_not_refit(two):
    two.write(stopping__gamma=0.5)
    result = two.round()
    assert computed(result) == {"decide", "screen"}
    assert result.decision["stop"]
    assert result.decision["risk_spent"] == pytest.approx(
        json.loads((two.folder / "campaigns/pilot/rounds/0001/runs/01/decision.json").read_text())["risk_spent"]
    )
    assert two.ledger.revisions() == [1, 2]


def test_a_plan_tells_the_truth_and_writes_nothing(two):
    before = two.files()
    assert computed(two.round(plan=True)) == set()
    two.write(ensemble__epochs=20)
    plan = two.round(plan=True)
    assert plan.status == "planned"
    reasons = {event.node: event.reason for event in plan.computed}
    assert reasons["fit/000"] == "ensemble.epochs 25 → 20"
    assert two.files() == before
    done = two.round()
    assert computed(done) == computed(plan)


def test_a_plan_sees_a_new_plate_coming(two):
    two.answer(1)
    before = two.files()
    plan = two.round(plan=True)
    assert two.files() == before
    assert computed(two.round()) == computed(plan)


def test_an_unknown_round_is_one_clear_line(two):
    with pytest.raises(UserError, match=r"--round: no such round; got 9, expected 0 to 2"):
        two.round(9)


def test_a_campaign_of_classes_runs_too(make_pilot):
    pilot = make_pilot(readout__kind="binary", readout__threshold=0.0, stopping__gamma=0.9)
    result = pilot.through(1)
    screen = anndata.read_zarr(f"{result.screen}/screen.zarr")
    measured = screen.obs[screen.obs["source"] == "measured"]
    assert set(measured["value"]) == {0.0, 1.0}
    truth = pilot.values.set_index("perturbation")["value"] > 0
    predicted = screen.obs[screen.obs["source"] == "predicted"]
    assert predicted["value"].between(0, 1).all()
    assert ((predicted["value"] > 0.5) == truth[predicted.index]).mean() > 0.6


def test_one_evidence_has_one_risk_whatever_is_configured_afterwards(two):
    first = two.round().decision["risk_this_look"]
    for rounds in (1000, 1):
        two.write(stopping__max_rounds=rounds)
        again = two.round().decision
        assert again["risk_this_look"] == first
    assert again["risk_spent"] == pytest.approx(2 * first, rel=0.5)
    two.write(stopping__max_rounds=4)
    assert two.round().decision["risk_spent"] == again["risk_spent"]


def test_a_file_that_changes_while_it_is_read_is_never_stored_under_the_old_digest(two, monkeypatch):
    two.answer(1)
    path = next(p for p in (two.folder / "campaigns/pilot/inbox").iterdir() if "attempt2" in p.name)
    whole = path.read_bytes()
    uploads = Ledger.uploads

    def then_cut(self):
        found = uploads(self)
        path.write_bytes(whole[:200])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "uploads", then_cut)
        with pytest.raises(StorageError, match="changed while it was read"):
            two.round()
    path.write_bytes(whole)
    assert two.round().plates_passed == 2


def test_the_worklist_that_was_proposed_is_the_one_that_is_released(make_pilot):
    from flows.release import release_batch

    pilot = make_pilot(approval="required")
    assert pilot.through(0).proposal
    pilot.write(plates__transfer_nl=50.0)
    again = pilot.round()
    assert (again.run, computed(again)) == (2, {"propose"})
    released = release_batch(str(pilot.path))
    assert released.source.endswith("runs/02")
    worklist = pd.read_csv(pilot.folder / "campaigns/pilot/rounds/0001/design/worklist_echo.csv")
    assert set(worklist["Transfer Volume"]) == {50.0}
    assert pilot.round().proposal is None


def test_a_refused_plate_is_on_the_list_of_repeats_and_a_correct_file_takes_its_place(make_pilot):
    pilot = make_pilot()
    pilot.open()
    pilot.answer(0)
    path = next(p for p in sorted((pilot.folder / "campaigns/pilot/inbox").iterdir()) if "P02" in p.name)
    good = path.read_text()
    lines = good.splitlines()
    lines[4] = lines[4].rsplit(",", 1)[0] + ",oops"
    path.write_text("\n".join(lines) + "\n")
    refused = pilot.round()
    assert refused.repeats == ["pilot-R00-P02"]
    assert refused.plates_passed == 2
    path.unlink()
    path.with_name("corrected.csv").write_text(good)
    assert pilot.round().plates_passed == 3


def test_lost_labels_of_an_earlier_round_name_the_command_that_restores_them(two):
    ref = two.ledger.runs(0)[-1].lock.nodes["labels"].outputs["training"]
    (two.folder / "campaigns/pilot" / ref.uri).unlink()
    two.answer(1)
    with pytest.raises(DamagedCheckpoint, match="--round 0"):
        two.round()
    assert two.round(0).status == "unchanged"
    assert two.round(1).plates_passed == 2


def test_a_plate_with_swapped_controls_fails_instead_of_being_turned_over(make_pilot):
    pilot = make_pilot()
    pilot.through(0)
    pilot.answer(1)
    path = next(p for p in sorted((pilot.folder / "campaigns/pilot/inbox").iterdir()) if "R01-P01" in p.name)
    table = pd.read_csv(path, dtype=str)
    table["run"] = "alone"
    column = table["well"].str[1:].astype(int)
    low, high = table.index[column <= 4], table.index[column >= 9]
    table.loc[low, "value"], table.loc[high, "value"] = (
        table.loc[high, "value"].to_numpy(),
        table.loc[low, "value"].to_numpy(),
    )
    table.to_csv(path, index=False)
    result = pilot.round()
    assert result.repeats == ["pilot-R01-P01"]
    repeats = pd.read_csv(result.repeat_list)
    assert "controls swapped" in repeats.loc[0, "reason"]


def test_the_same_file_twice_without_a_run_column_counts_once(make_pilot):
    pilot = make_pilot()
    pilot.open()
    pilot.answer(0)
    for path in sorted((pilot.folder / "campaigns/pilot/inbox").iterdir()):
        table = pd.read_csv(path, dtype=str).drop(columns="run")
        table.to_csv(path, index=False)
        table.to_csv(path.with_name(f"{path.stem} (1).csv"), index=False)
    result = pilot.round()
    assert (result.status, result.plates_passed, result.rejections) == ("decided", 3, [])
