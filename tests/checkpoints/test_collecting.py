"""The clean-up beside rounds: at any moment, nothing that a round has found is lost, nothing half removed is read."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from tasks.checkpoints.checkpointer import Checkpointer
from tasks.checkpoints.collecting import carry_out, survey
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.manifest import Removed, Withdrawn, read_manifest
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore, DamagedCheckpoint, checkpoint_folder

GRACE = timedelta(days=7)
NOW = datetime.now(UTC)
LATER, MUCH_LATER = NOW + timedelta(days=8), NOW + timedelta(days=40)
STEPS = {"a": Stage("first", 1), "b": Stage("second", 1), "c": Stage("third", 1)}


class Stopped(Exception):
    pass


class Watched(Storage):
    """A storage that calls somebody before each request; what that one asks is not watched."""

    def __init__(self, url):
        super().__init__(url)
        self.before, self.asked = None, 0

    def _step(self):
        at, self.asked = self.asked, self.asked + 1
        if self.before is not None and not getattr(self, "busy", False):
            self.busy = True
            try:
                self.before(at)
            finally:
                self.busy = False

    def read(self, path):
        self._step()
        return super().read(path)

    def write(self, path, data):
        self._step()
        super().write(path, data)

    def create(self, path, data):
        self._step()
        return super().create(path, data)

    def entries(self, prefix):
        self._step()
        return super().entries(prefix)

    def _remove(self, path):
        self._step()
        super()._remove(path)


class Campaign:
    """Three steps, each reading the one before, and locks as a set of folders."""

    def __init__(self, url):
        self.storage = Watched(url)
        self.store = CheckpointStore(self.storage)
        self.locked = set()
        self.computed = []

    def round(self, names="abc", lock=True):
        """A round: find or compute each step, read what it gave, and in the end name all in a lock."""
        cp, before, folders = Checkpointer(self.store), None, []
        for name in names:

            def compute(name=name, before=before):
                self.computed.append(name)
                said = [] if before is None else cp.load(before)
                return {"value": Payload("json", [*said, name]), "note": Payload("text", name * 50)}

            inputs = {} if before is None else {"before": before}
            outputs = cp.run(name, STEPS[name], compute, outputs=("value", "note"), inputs=inputs)
            record = cp.records[name]
            folders.append(checkpoint_folder(record.stage, record.key))
            before = outputs["value"]
            assert self.store.load(outputs["note"]) == name * 50
        assert self.store.load(before) == list(names)
        if lock:
            self.locked.update(folders)
        return folders

    def collect(self, now, keep=lambda node: False):
        seen = survey(self.storage, lambda: set(self.locked), keep, now, GRACE)
        return carry_out(self.storage, seen.due, lambda: set(self.locked), now)

    def intact(self, folders):
        """Everything that a lock names is found again without computing it, and is what its digest says."""
        for folder in folders:
            _, stage, _, key = folder.split("/")
            manifest = self.store.find(stage, key).manifest
            assert manifest is not None, folder
            for ref in manifest.refs().values():
                self.store.load(ref)

    def payloads(self):
        return [path for path in self.storage.list("checkpoints") if "/manifest" not in path]


@pytest.fixture
def make(tmp_path):
    numbers = itertools.count()
    return lambda: Campaign(str(tmp_path / f"campaign{next(numbers)}"))


def stated(campaign):
    """Kinds of what stands in the manifests."""
    paths = [path for path in campaign.storage.list("checkpoints") if "/manifest" in path]
    return {type(read_manifest(campaign.storage.read(path))) for path in paths}


def test_what_nothing_references_goes_in_two_steps_with_a_grace_period_before_each(storage_url):
    campaign = Campaign(storage_url)
    campaign.round(lock=False)
    assert campaign.collect(NOW) == []
    assert [each.action for each in campaign.collect(LATER)] == ["withdraw"] * 3
    assert len(campaign.payloads()) == 6
    assert stated(campaign) == {Withdrawn}
    assert campaign.collect(LATER + timedelta(days=6)) == []
    gone = campaign.collect(LATER + timedelta(days=8))
    assert [(each.action, len(each.files)) for each in gone] == [("remove", 2)] * 3
    assert sum(each.bytes for each in gone) > 150
    assert campaign.payloads() == []
    assert stated(campaign) == {Removed}
    assert campaign.collect(MUCH_LATER) == []
    campaign.computed.clear()
    campaign.intact(campaign.round())
    assert campaign.computed == ["a", "b", "c"]
    assert campaign.collect(MUCH_LATER) == []
    campaign.round()
    assert campaign.computed == ["a", "b", "c"]


def test_what_a_lock_names_and_what_is_kept_stays(make):
    campaign = make()
    first = campaign.round("ab")
    campaign.round("c", lock=False)
    assert campaign.collect(LATER, keep=lambda node: node == "c") == []
    assert [each.node for each in campaign.collect(LATER)] == ["c"]
    campaign.collect(MUCH_LATER)
    campaign.intact(first)


def test_what_was_withdrawn_is_taken_back_by_who_finds_it_but_not_by_a_plan(make):
    campaign = make()
    campaign.round(lock=False)
    campaign.collect(LATER)
    before = campaign.storage.list()
    plan = Checkpointer(campaign.store, plan=True)
    plan.run("a", STEPS["a"], dict, outputs=("value", "note"))
    assert [event.status for event in plan.events] == ["cached"]
    assert campaign.storage.list() == before
    campaign.computed.clear()
    folders = campaign.round()
    assert campaign.computed == []
    assert campaign.collect(MUCH_LATER) == []
    campaign.intact(folders)


def test_a_withdrawn_checkpoint_that_is_damaged_is_computed_again(make):
    campaign = make()
    campaign.round("a", lock=False)
    campaign.collect(LATER)
    campaign.storage.write(campaign.payloads()[0], b"other")
    campaign.computed.clear()
    campaign.intact(campaign.round("a"))
    assert campaign.computed == ["a"]


def test_payloads_without_a_manifest_are_removed_once_they_are_old(make):
    campaign = make()

    def dies(at):
        if at >= 5:  # the payloads of the first step are there
            raise Stopped

    campaign.storage.before = dies
    with pytest.raises(Stopped):
        campaign.round()
    campaign.storage.before = None
    assert len(campaign.payloads()) > 0
    assert campaign.collect(NOW) == []
    campaign.collect(LATER)
    assert campaign.payloads() == []
    campaign.intact(campaign.round())


def due(campaign, state):
    """Leftovers to be withdrawn (state 0), to be removed (1), or removed (2); the time at which they are."""
    campaign.round(lock=False)
    for now in (LATER, MUCH_LATER)[:state]:
        campaign.collect(now)
    return MUCH_LATER if state else LATER


@pytest.mark.parametrize("state", [0, 1, 2])
def test_a_clean_up_before_every_request_of_a_round_costs_time_only(make, state):
    """The round is stopped before each request in turn, a whole clean-up happens, and the round goes on."""
    points = 0
    while True:
        campaign = make()
        now = due(campaign, state)
        campaign.storage.asked = 0
        campaign.storage.before = lambda at, c=campaign, n=now, p=points: c.collect(n) if at == p else None
        folders = campaign.round()
        campaign.storage.before = None
        campaign.intact(folders)
        later = campaign.collect(now + timedelta(days=100))
        assert not {each.folder for each in later} & set(folders), points
        campaign.intact(folders)
        if campaign.storage.asked <= points:
            break
        points += 1
    assert points >= 12


@pytest.mark.parametrize("state", [0, 1])
def test_a_round_before_every_request_of_a_clean_up_loses_nothing(make, state):
    points = 0
    while True:
        campaign = make()
        now = due(campaign, state)
        campaign.storage.asked, rounds = 0, []
        campaign.storage.before = lambda at, c=campaign, p=points, r=rounds: r.append(c.round()) if at == p else None
        campaign.collect(now)
        campaign.storage.before = None
        if not rounds:
            break
        campaign.intact(rounds[0])
        campaign.collect(now + timedelta(days=100))
        campaign.intact(rounds[0])
        points += 1
    assert points >= 10


@pytest.mark.parametrize("state", [0, 1])
def test_a_clean_up_that_dies_anywhere_is_completed_by_the_next(make, state):
    points = 0
    while True:
        campaign = make()
        now = due(campaign, state)
        campaign.storage.asked = 0

        def dies(at, last=points):
            if at == last:
                raise Stopped

        campaign.storage.before = dies
        try:
            campaign.collect(now)
        except Stopped:
            pass
        else:
            break
        finally:
            campaign.storage.before = None
        half = make_copy(campaign, make())
        half.intact(half.round())  # a round beside what is half removed
        for days in (0, 30, 60):
            campaign.collect(now + timedelta(days=days))
        assert campaign.payloads() == [], points
        points += 1
    assert points >= 10


def make_copy(campaign, other):
    files = campaign.storage.read_many(campaign.storage.list())
    other.storage.write_many(files)
    return other


def test_a_removed_payload_is_missed_in_one_clear_line(make):
    campaign = make()
    campaign.round("a", lock=False)
    ref = next(iter(campaign.store.manifests()))[1].refs()["value"]
    campaign.collect(LATER)
    assert campaign.store.load(ref) == ["a"]
    campaign.collect(MUCH_LATER)
    with pytest.raises(DamagedCheckpoint, match="is missing"):
        campaign.store.load(ref)
    assert list(campaign.store.manifests()) == []
