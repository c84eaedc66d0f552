import anndata
import numpy as np
import pandas as pd
import pytest

from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.designs import first_entries, read_design, read_table, release, table_text
from tasks.campaigns.ledger import Ledger
from tasks.checkpoints.records import RoundLock
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import DamagedCheckpoint
from tasks.errors import UserError

BATCH = pd.DataFrame(
    {
        "perturbation": ["NA", "007"],
        "action": ["measure"] * 2,
        "arm": ["audit", "initial"],
        "slot": ["audit", "initial"],
        "rank": [0, 0],
        "score": [np.nan, 0.25],
        "mode": [-1, 2],
        "reason": ["drawn, uniformly", ""],
    }
)
TEXTS = {"batch.csv": table_text(BATCH), "platemap.csv": "barcode,well\nP1,A01\n"}


def config(**changes):
    content = {
        "campaign": {"name": "pilot"},
        "library": {"uri": "l.csv"},
        "readout": {"tolerance": 1.0},
        "plates": {"negcon": {"wells": ["A01"]}},
    }
    for section, values in changes.items():
        content[section] = {**content.get(section, {}), **values}
    return CampaignConfig.model_validate(content)


def library(value=1.0):
    return anndata.AnnData(X=np.full((2, 2), value, dtype=np.float32), obs=pd.DataFrame(index=["a", "b"]))


def lock(number, key="0" * 64):
    from tasks.checkpoints.records import NodeRecord

    node = NodeRecord(node="fit", stage="fit", version=1, key=key, params={}, seed=None, inputs={})
    return RoundLock(campaign="pilot", round=number, nodes={"fit": node}, versions={"numpy": "2"})


@pytest.fixture
def ledger(tmp_path):
    return Ledger(Storage(str(tmp_path / "pilot")))


def test_a_table_of_a_design_comes_back_as_it_was():
    pd.testing.assert_frame_equal(read_table(table_text(BATCH)), BATCH, check_dtype=False)
    assert table_text(read_table(table_text(BATCH))) == table_text(BATCH)


def test_the_same_configuration_is_no_new_revision(ledger):
    assert [ledger.revise(config()), ledger.revise(config()), ledger.revise(config(stopping={"gamma": 0.8}))] == [
        1,
        1,
        2,
    ]
    assert ledger.revisions() == [1, 2]
    assert ledger.config(1).stopping.gamma == 0.9
    assert ledger.config(2).stopping.gamma == 0.8


@pytest.mark.parametrize(
    "change",
    [
        {"campaign": {"seed": 1}},
        {"plates": {"format": 96}},
        {"batch": {"audit": 0.2}},
        {"readout": {"tolerance": 2.0}},
        {"stopping": {"risk": 0.1}},
    ],
)
def test_what_is_fixed_for_a_campaign_cannot_be_revised(ledger, change):
    ledger.revise(config())
    release(ledger.storage, 0, TEXTS, "open")
    with pytest.raises(UserError, match="cannot change once a campaign is open"):
        ledger.revise(config(**change))
    assert ledger.revisions() == [1]


def test_a_veto_may_come_later_and_then_stays(ledger):
    """Lifted, it would bring back perturbations that no audit member was ever drawn from."""
    ledger.revise(config())
    release(ledger.storage, 0, TEXTS, "open")
    assert ledger.revise(config(batch={"veto": "toxic"})) == 2
    for change in ({}, {"batch": {"veto": "scarce"}}):
        with pytest.raises(UserError, match=r"batch\.veto cannot change once a campaign is open"):
            ledger.revise(config(**change))


def test_before_the_first_design_everything_may_be_revised(ledger):
    ledger.revise(config())
    assert ledger.revise(config(campaign={"seed": 1})) == 2


def test_a_library_is_registered_once(ledger):
    assert ledger.library() is None
    ref = ledger.register_library(library())
    assert ledger.register_library(library()) == ref == ledger.library()
    assert ref.shape == (2, 2)
    with pytest.raises(UserError, match="differs"):
        ledger.register_library(library(2.0))
    assert ledger.library() == ref


def test_a_released_design_never_changes(ledger):
    first, newly = release(ledger.storage, 0, TEXTS, "open")
    other = {**TEXTS, "platemap.csv": "barcode,well\nP1,A02\n"}
    second, again = release(ledger.storage, 0, other, "run 2")
    assert (newly, again) == (True, False)
    assert first == second == read_design(ledger.storage, 0)
    assert ledger.storage.read(first.platemap.uri).decode() == TEXTS["platemap.csv"]
    assert [design.round_index for design in ledger.designs()] == [0]


def cut_short(storage, monkeypatch, source):
    """A release that ended after the claim."""
    create = storage.create

    def dying(path, data):
        if path.endswith("batch.csv"):
            raise KeyboardInterrupt
        return create(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "create", dying)
        with pytest.raises(KeyboardInterrupt):
            release(storage, 0, TEXTS, source)


def test_an_opening_that_was_cut_short_says_so_and_is_completed_by_opening_again(ledger, monkeypatch):
    cut_short(ledger.storage, monkeypatch, "open")
    with pytest.raises(UserError, match=r"cut short.*hybridscreen open"):
        ledger.require_open()
    release(ledger.storage, 0, TEXTS, "open")
    assert ledger.storage.read("rounds/0000/design/batch.csv").decode() == TEXTS["batch.csv"]


def test_a_release_that_was_cut_short_is_completed_from_the_proposal_by_whoever_comes_next(ledger, monkeypatch):
    run = ledger.claim_run(lock(0))
    ledger.finish_run(run, {f"proposal/{name}": text for name, text in TEXTS.items()}, {"status": "decided"})
    cut_short(ledger.storage, monkeypatch, run.folder)
    assert ledger.storage.list("rounds/0000/design") == ["rounds/0000/design/design.json"]
    assert len(ledger.designs()) == 1
    for name, text in TEXTS.items():
        assert ledger.storage.read(f"rounds/0000/design/{name}").decode() == text


@pytest.mark.parametrize("name", ["library/manifest.json", "rounds/0000/runs/01/round.lock.json"])
def test_a_damaged_record_is_one_clear_line(ledger, name):
    ledger.register_library(library())
    ledger.claim_run(lock(0))
    ledger.storage.write(name, b"{")
    with pytest.raises(DamagedCheckpoint, match=f"{name} is damaged"):
        (ledger.library(), ledger.runs(0))


def test_uploads_are_read_and_left_alone(ledger):
    ledger.storage.write("inbox/day 1/p.csv", b"x")
    (upload,) = ledger.uploads()
    assert upload.path == "inbox/day 1/p.csv"
    assert upload.ref().sha256 == upload.sha256


def test_the_same_lock_is_the_same_run_and_another_lock_a_new_one(ledger):
    first = ledger.claim_run(lock(0))
    assert ledger.claim_run(lock(0)).folder == first.folder == "rounds/0000/runs/01"
    finished = ledger.finish_run(first, {"plates.csv": "x"}, {"status": "waiting"})
    assert finished.summary == {"status": "waiting"}
    assert ledger.claim_run(lock(0)).summary == {"status": "waiting"}
    second = ledger.claim_run(lock(0, "1" * 64))
    assert (second.number, second.summary) == (2, None)
    assert [run.decided for run in ledger.runs(0)] == [False, False]
    assert ledger.last_decided(0) is None


def test_first_entries_keep_the_first_arm_of_a_released_member():
    later = BATCH.iloc[:1].assign(action="release", arm="strategy")
    table = first_entries({0: BATCH, 2: later}).set_index("perturbation")
    assert table.loc["NA"].tolist() == [0, "audit"]
    assert table.loc["007"].tolist() == [0, "initial"]


def test_a_listing_that_lags_behind_costs_no_number_and_no_end(ledger, monkeypatch):
    """Some stores show a new name a moment later: what is there is found by being refused, and read."""
    ledger.revise(config())
    first = ledger.claim_run(lock(0))
    monkeypatch.setattr(ledger.storage, "folders", lambda prefix: [])
    monkeypatch.setattr(ledger.storage, "list", lambda prefix="": [])
    assert ledger.claim_run(lock(0)) == first
    assert [ledger.claim_run(lock(0, key * 64)).number for key in "1221"] == [2, 3, 3, 4]
    assert ledger.revise(config()) == 1
    assert [ledger.revise(config(readout={"unit": unit})) for unit in ("mM", "nM", "nM", "mM")] == [2, 3, 3, 4]


def test_uploads_whose_names_lead_elsewhere_or_cannot_be_seen_are_not_read(tmp_path):
    inbox = tmp_path / "pilot" / "inbox"
    inbox.mkdir(parents=True)
    for name in (
        "good.csv",
        "a\\b.csv",
        "bidi\u202e.csv",
        "line\nend.csv",
        b"\xff.csv".decode("utf-8", "surrogateescape"),
    ):
        (inbox / name).write_bytes(b"x")
    uploads = Ledger(Storage(str(tmp_path / "pilot"))).uploads()
    assert [upload.path for upload in uploads if not upload.problem] == ["inbox/good.csv"]
    assert sum("upload it under another" in upload.problem for upload in uploads) == 4


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_no_cell_of_a_table_is_a_formula_and_ids_come_back(sign):
    table = pd.DataFrame({"perturbation": [f"{sign}1+1", "a=1"], "rank": [-1, 2], f"{sign}x": ["", "b"]})
    text = table_text(table)
    assert f"'{sign}1+1" in text
    assert f"'{sign}x" in text
    if sign != "\r":  # which no id holds: it would end the line for most readers
        assert read_table(text)["perturbation"].tolist() == [f"{sign}1+1", "a=1"]
