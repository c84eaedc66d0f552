"""Rounds on a Dask cluster: the same results, whoever computes and whoever dies."""

import os
import signal

import pytest
from pilots import computed
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from tasks.checkpoints.progress import Silence, listening
from tasks.ensembles import cluster
from tasks.errors import UserError

HEAVY = ("fit", "ensemble", "predict")


class Starts(Silence):
    """Notes which process began each node, and kills those that begin the nodes it is told to, once each."""

    def __init__(self, *deadly):
        self.processes, self.killed, self._deadly = {}, {}, set(deadly)

    def started(self, node, worker=""):
        process = int(worker.rpartition(":")[2])
        self.processes.setdefault(node, []).append(process)
        if node in self._deadly:
            self._deadly.remove(node)
            self.killed[node] = process
            os.kill(process, signal.SIGKILL)


def manifests(pilot):
    """Manifests of the heavy stages by key."""
    from tasks.checkpoints.store import CheckpointStore

    store = CheckpointStore(pilot.ledger.storage)
    return {m.key: m for _, m in store.manifests() if m.stage in HEAVY}


def test_a_round_with_nothing_to_fit_opens_no_cluster(two, monkeypatch):
    monkeypatch.setattr(cluster, "connect", lambda config: pytest.fail("opened"))
    two.write(compute__workers=2)
    assert computed(two.round(plan=True)) == set()
    two.write(ensemble__epochs=7)
    assert {"fit/000", "ensemble", "predict/00000"} <= computed(two.round(plan=True))
    two.write(ensemble__epochs=25)
    assert two.round().status == "unchanged"


@pytest.mark.parametrize("what", ["fit", "predict"])
def test_prefect_shows_how_far_long_work_is(two, what):
    two.round()
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[f"pilot-{what}"])))
    assert found
    assert {artifact.type for artifact in found} == {"progress"}
    assert {float(artifact.data) for artifact in found} == {100.0}
    assert f"Round 1: {what}, {1 if what == 'fit' else 3} pieces" in {artifact.description for artifact in found}


def test_a_cluster_that_cannot_be_had_is_one_line_and_computes_nothing(two):
    two.write(compute__dask="tcp://127.0.0.1:9", compute__wait_seconds=0.5, ensemble__epochs=7)
    before = manifests(two)
    with pytest.raises(UserError, match=r"^compute\.dask: no scheduler answers; got tcp://127\.0\.0\.1:9"):
        two.round()
    assert manifests(two) == before


CHANGES = {"compute__group_members": 2, "ensemble__hidden": [256, 256]}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Digests of rounds 0 and 1, computed in this process."""
    from pilots import Pilot

    pilot = Pilot(tmp_path_factory.mktemp("rounds") / "lab", **CHANGES)
    pilot.through(1)
    return [pilot.digests(number) for number in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])  # two: the rounds whose workers are killed, below
def test_digests_are_the_same_with_any_number_of_workers(make_pilot, undisturbed, workers):
    pilot = make_pilot(compute__workers=workers, **CHANGES)
    pilot.through(1)
    assert [pilot.digests(number) for number in (0, 1)] == undisturbed
    found = manifests(pilot)
    assert len(found) == 2 * (2 + 1 + 3)  # groups, ensemble, chunks, of two rounds
    assert not [m for m in found.values() if m.worker.endswith(f":{os.getpid()}")]


@pytest.mark.slow
def test_workers_killed_in_fit_and_prediction_cost_their_pieces_alone(make_pilot, undisturbed):
    pilot = make_pilot(compute__workers=2, **CHANGES)
    pilot.open()
    pilot.answer(0)
    lost = ("fit/001", "predict/00001")
    with listening(starts := Starts(*lost)):
        result = pilot.round()
    assert result.status == "decided"
    assert pilot.digests(0) == undisturbed[0]
    assert set(starts.killed) == set(lost)
    found = {m.node: m for m in manifests(pilot).values()}
    assert set(found) == {"fit/000", "fit/001", "ensemble", *(f"predict/0000{i}" for i in range(3))}
    for node, manifest in found.items():
        begun = starts.processes[node]
        assert len(begun) == (2 if node in lost else 1), node
        assert manifest.worker.endswith(f":{begun[-1]}")
    for node in lost:
        assert starts.killed[node] == starts.processes[node][0] != starts.processes[node][1]
    with listening(again := Starts()):
        assert pilot.round().status == "unchanged"
    assert not set(again.processes) & set(found)
