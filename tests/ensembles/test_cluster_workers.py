"""A real cluster of two processes on this machine: what it gives and tells is what this process gives and tells."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from clusters import Notes, checkpointer, fail, run, tell_threads
from pieces_at_hand import ask, learn, made_up

from tasks.campaigns.compute_settings import ComputeSection
from tasks.ensembles.cluster import open_cluster
from tasks.errors import NumericalError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place():
    with open_cluster(ComputeSection(workers=2)) as opened:
        yield opened


def test_workers_give_what_this_process_gives(place, tmp_path):
    notes = Notes()
    there, here = checkpointer(tmp_path / "there", notes), checkpointer(tmp_path / "here")
    with ThreadPoolExecutor(6) as pool:
        outputs = list(pool.map(lambda i: run(there, place, i), range(6)))
    assert [o.refs for o in outputs] == [run(here, None, i).refs for i in range(6)]
    np.testing.assert_array_equal(there.load(outputs[5]["number"]), [5.0, 5.0, 5.0])
    notes.wait_for(lambda n: len(n.starts) == 6 and sum(done == 2 for _, done, _ in n.progress) == 6)
    assert sorted(node for node, _ in notes.starts) == [f"work/{i}" for i in range(6)]
    manifests = {m.node: m for _, m in there.store.manifests()}
    assert {m.worker for m in manifests.values()} == {worker for _, worker in notes.starts}
    assert all(notes.processes(node) == [int(m.worker.rpartition(":")[2])] for node, m in manifests.items())
    assert str(os.getpid()) not in {m.worker.rpartition(":")[2] for m in manifests.values()}
    assert all(m.peak_rss_gib > 0.01 for m in manifests.values())


def test_an_ensemble_and_its_predictions_have_the_same_digests_with_two_workers_and_with_none(place, tmp_path):
    there, here = checkpointer(tmp_path / "there"), checkpointer(tmp_path / "here")
    digests = []
    for cp, where in ((there, place), (here, None)):
        learnt = made_up(cp)
        ensemble = learn(cp, where, learnt)
        chunks = ask(cp, where, learnt, ensemble)
        digests.append([part.refs for part in (ensemble, *chunks)])
    assert digests[0] == digests[1]
    assert len(digests[0]) == 4
    heavy = [m for _, m in there.store.manifests() if m.stage in ("fit", "ensemble", "predict")]
    assert len(heavy) == 6
    assert str(os.getpid()) not in {m.worker.rpartition(":")[2] for m in heavy}


def test_of_two_that_ask_for_the_same_at_once_one_wins_and_the_other_reads_it(place, tmp_path):
    notes, gate = Notes(), tmp_path / "gate"
    cp = checkpointer(tmp_path / "campaign", notes)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(run, cp, place, 1, gate=str(gate)) for _ in range(2)]
        notes.wait_for(lambda n: len(n.starts) == 2)
        gate.touch()
        first, second = (future.result(timeout=60) for future in both)
    assert first.refs == second.refs
    assert len(list(cp.store.manifests())) == 1


def test_the_same_key_in_two_campaigns_is_computed_in_both(place, tmp_path):
    gate = tmp_path / "gate"
    one, two = checkpointer(tmp_path / "one"), checkpointer(tmp_path / "two")
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(run, cp, place, 1, gate=str(gate)) for cp in (one, two)]
        gate.touch()
        first, second = (future.result(timeout=60) for future in both)
    assert first.refs == second.refs
    for cp in (one, two):
        np.testing.assert_array_equal(cp.load(first["number"]), [1.0, 1.0, 1.0])


def test_an_error_on_a_worker_comes_back_as_it_was(place, tmp_path):
    cp = checkpointer(tmp_path / "campaign")
    with pytest.raises(NumericalError, match="the loss of member 3 is not finite"):
        run(cp, place, 1, compute=fail)
    assert cp.store.storage.list() == []
    assert not run(cp, place, 1).hit, "the same piece may be tried again"


def test_what_cannot_travel_is_an_error_here(place, tmp_path):
    with pytest.raises((AttributeError, TypeError), match=r"[Pp]ickle"):
        run(checkpointer(tmp_path / "campaign"), place, 1, compute=lambda: None)


def test_kernels_of_a_worker_have_one_thread(place, tmp_path):
    cp = checkpointer(tmp_path / "campaign")
    assert set(cp.load(run(cp, place, 1, compute=tell_threads)["number"]).values()) == {"1"}
