"""Looking at campaigns: a second look with nothing new lists files instead of reading them, and misses nothing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Crashed, Running

from flows import looking, watching
from flows.looking import remember, remembered, sign_of
from flows.plates import mark_plate
from flows.registry import register
from flows.round import run_round
from flows.watching import Seen, look_at
from tasks.checkpoints.counting import counted

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def watched(two):
    """A campaign that waits for the repeat of a plate of round 1, by its registered name."""
    register([two.path])
    return two


@pytest.fixture
def plans(monkeypatch):
    """Every plan that a look made."""
    made, plan = [], watching.run_round

    def counting(path, **given):
        made.append(path)
        return plan(path, **given)

    monkeypatch.setattr(watching, "run_round", counting)
    return made


def test_a_second_look_gives_the_same_answer_and_reads_no_upload(watched, plans):
    first = look_at("pilot")
    assert (first.outcome, len(plans)) == ("not started", 1)
    with counted(watched.ledger.storage.url) as asked:
        assert look_at("pilot") == first
    assert len(plans) == 1
    told = asked.told()
    assert told["get"] == 1  # whether the campaign is open
    assert told["requests"] < 10


def test_what_arrives_while_it_is_looked_at_is_seen_by_the_next_look(watched, plans, monkeypatch):
    plan = watching.run_round

    def and_then_a_file_arrives(path, **given):
        planned = plan(path, **given)
        watched.ledger.storage.create("inbox/late.csv", b"plate,well,value\nX,A01,1\n")
        return planned

    monkeypatch.setattr(watching, "run_round", and_then_a_file_arrives)
    monkeypatch.setattr(watching, "start", lambda name, *_: Seen(campaign=name, outcome="started", why="news"))
    assert look_at("pilot").outcome == "not started"
    assert look_at("pilot").outcome == "started"
    assert look_at("pilot").outcome == "started"  # a look that found something to do is not remembered
    assert len(plans) == 3


def upload(pilot):
    pilot.ledger.storage.create("inbox/more.csv", b"plate,well,value\nX,A01,1\n")


def change_an_upload(pilot):
    path = sorted(Path(pilot.ledger.storage.url, "inbox").iterdir())[0]
    path.write_bytes(path.read_bytes().replace(b"1", b"2"))  # of the same size


def take_an_upload_away(pilot):
    sorted(Path(pilot.ledger.storage.url, "inbox").iterdir())[0].unlink()


def give_a_plate_up(pilot):
    mark_plate(str(pilot.path), "abandon", "pilot-R01-P02", "dropped")


def change_the_configuration(pilot):
    pilot.write(stopping__gamma=0.5)


def compute_a_run(pilot):
    pilot.ledger.storage.create("rounds/0001/runs/07/round.lock.json", b"{}")


@pytest.mark.parametrize(
    "change",
    [upload, change_an_upload, take_an_upload_away, give_a_plate_up, change_the_configuration, compute_a_run],
)
def test_whatever_a_plan_is_made_from_changes_the_sign(two, change):
    before = sign_of(two.config, two.ledger)
    assert sign_of(two.config, two.ledger) == before
    change(two)
    assert sign_of(two.config, two.ledger) != before


def test_another_release_of_a_package_changes_the_sign(two, monkeypatch):
    before = sign_of(two.config, two.ledger)
    monkeypatch.setattr(looking, "package_versions", lambda: {"hybridscreen": "99"})
    assert sign_of(two.config, two.ledger) != before


def test_a_bucket_tells_of_a_changed_file_of_the_same_size(s3_url):
    from tasks.checkpoints.storage import Storage

    storage = Storage(s3_url)
    storage.write("inbox/a.csv", b"123")
    before = storage.signs("inbox")
    assert list(before) == ["inbox/a.csv"]
    assert storage.signs("inbox") == before
    storage.write("inbox/a.csv", b"124")
    assert storage.signs("inbox") != before
    storage.write("inbox/a.csv", b"123")
    assert storage.signs("inbox") == before  # on S3 the content alone decides
    assert storage.signs("nowhere") == {}


def test_an_answer_stands_for_a_day_and_for_the_same_sign_alone():
    assert remembered("Kinase_2", "a", NOW) is None
    remember("Kinase_2", "a", "round 0 waits", NOW)
    assert remembered("Kinase_2", "a", NOW + timedelta(hours=23)) == "round 0 waits"
    assert remembered("Kinase_2", "b", NOW) is None
    assert remembered("Kinase_2", "a", NOW + timedelta(hours=25)) is None
    assert remembered("Kinase_2", "a", NOW - timedelta(hours=1)) is None
    remember("Kinase_2", "b", "round 1 waits", NOW)
    assert remembered("Kinase_2", "a", NOW) is None


def test_nothing_is_started_beside_a_round_that_is_on_its_way(watched, plans):
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(run_round), "round")
        begun = client.create_flow_run_from_deployment(deployment, parameters={"campaign": "pilot"}, name="busy")
        client.create_flow_run_from_deployment(deployment, parameters={"campaign": "other"})
        try:
            assert look_at("pilot").why == "run busy is on its way"
            client.set_flow_run_state(begun.id, Running(), force=True)
            assert look_at("pilot").why == "run busy is on its way"
            assert plans == []
            client.set_flow_run_state(begun.id, Crashed(), force=True)
            assert "busy" not in look_at("pilot").why
            assert len(plans) == 1
        finally:
            client.delete_deployment(deployment)
