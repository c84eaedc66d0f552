import pandas as pd
import pytest

from tasks.campaigns.config import ReadoutSection
from tasks.campaigns.designs import table_text
from tasks.errors import UserError
from tasks.labs.replay import LabConfig, ReplayLab
from tasks.labs.rounds import answer_all, answer_round
from tasks.readouts.ingest import read_plate_file


def release(storage, round_index, plates):
    text = table_text(pd.concat(plates, ignore_index=True))
    storage.create(f"rounds/{round_index:04d}/design/platemap.csv", text.encode())


def ask_for_repeat(storage, round_index, run, lines):
    text = "round,barcode,attempt,reason\n" + "".join(f"{line}\n" for line in lines)
    storage.create(f"rounds/{round_index:04d}/runs/{run}/repeats.csv", text.encode())


def upload(storage, path, lab):
    section = ReadoutSection(tolerance=1.0, columns=lab.config.columns)
    (readout,) = read_plate_file(storage.read(path), path, section, 96)
    return readout


@pytest.fixture
def lab(screen):
    return ReplayLab(screen, LabConfig(seed=5, poscon_value=8.0, failures=((1, 2),)))


@pytest.fixture
def campaign(storage, screen, make_plate):
    """Two released rounds of two plates."""
    for round_index in (0, 1):
        release(storage, round_index, [make_plate(f"S-R0{round_index}-P0{i}", screen["perturbation"]) for i in (1, 2)])
    return storage


def test_nothing_is_measured_before_a_design_is_released(storage, lab):
    assert answer_round(storage, lab, 0) == ()
    assert answer_all(storage, lab) == ()
    assert storage.list() == []


def test_a_round_is_answered_once(campaign, lab):
    paths = answer_round(campaign, lab, 0)
    assert paths == ("inbox/S-R00-P01.attempt1.csv", "inbox/S-R00-P02.attempt1.csv")
    assert {upload(campaign, path, lab).run for path in paths} == {"R00"}
    assert answer_round(campaign, lab, 0) == ()


def test_a_file_that_is_there_is_never_written_again(campaign, lab):
    campaign.create("inbox/S-R00-P01.attempt1.csv", b"by hand")
    assert answer_round(campaign, lab, 0) == ("inbox/S-R00-P02.attempt1.csv",)
    assert campaign.read("inbox/S-R00-P01.attempt1.csv") == b"by hand"


def test_a_repeat_is_measured_in_a_run_of_its_own_and_succeeds(campaign, lab):
    answer_all(campaign, lab)
    ask_for_repeat(campaign, 1, "01", ["1,S-R01-P02,2,Z' too small"])
    ask_for_repeat(campaign, 1, "02", ["1,S-R01-P02,2,Z' too small"])
    (path,) = answer_all(campaign, lab)
    repeat = upload(campaign, path, lab)
    assert (path, repeat.attempt, repeat.run) == ("inbox/S-R01-P02.attempt2.csv", 2, "R01-repeat1")

    def spread(readout):
        return readout.values["value"].astype(float).std()

    first = upload(campaign, "inbox/S-R01-P02.attempt1.csv", lab)
    assert spread(repeat) > 3 * spread(first)
    assert answer_all(campaign, lab) == ()


def test_a_later_round_may_ask_for_a_plate_of_an_earlier_one(campaign, lab):
    answer_all(campaign, lab)
    ask_for_repeat(campaign, 1, "01", ["0,S-R00-P01,3,again"])
    (path,) = answer_round(campaign, lab, 1)
    assert upload(campaign, path, lab).run == "R00-repeat2"


def test_answering_round_by_round_or_at_once_gives_the_same_bytes(campaign, lab, screen, tmp_path):
    from tasks.checkpoints.storage import Storage

    other = Storage(str(tmp_path / "other"))
    for path in campaign.list("rounds"):
        other.create(path, campaign.read(path))
    answer_all(campaign, lab)
    for round_index in (1, 0):
        answer_round(other, ReplayLab(screen, lab.config), round_index)
    assert campaign.list("inbox") == other.list("inbox")
    assert campaign.read_many(campaign.list("inbox")) == other.read_many(other.list("inbox"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,S-R07-P01,2,x", "repeats.csv: a repeat of a plate that no round designed; got S-R07-P01"),
        ("1,S-R01-P01,1,x", "not the attempt of a repeat; got '1' of S-R01-P01, expected 2 or more"),
        ("1,S-R01-P01,two,x", "not the attempt of a repeat; got 'two' of S-R01-P01"),
    ],
)
def test_a_repeat_that_makes_no_sense_is_refused(line, message, campaign, lab):
    ask_for_repeat(campaign, 1, "01", [line])
    with pytest.raises(UserError, match=message):
        answer_round(campaign, lab, 1)
