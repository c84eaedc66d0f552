"""What is lost when workers, or the scheduler, are: one piece, and never a result."""

import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from clusters import HERE, ROOT, Notes, certificates, checkpointer, fatal, run, scheduler, tls_options, worker
from pieces_at_hand import ask, learn, made_up, recipe

from tasks.campaigns.compute_settings import ComputeSection
from tasks.ensembles.cluster import ClusterError, open_cluster
from tasks.errors import UserError

pytestmark = pytest.mark.slow


def kill(process_id):
    os.kill(process_id, signal.SIGKILL)


def test_a_killed_worker_costs_the_piece_it_was_at_and_nothing_else(tmp_path):
    notes, gate = Notes(), tmp_path / "gate"
    cp = checkpointer(tmp_path / "campaign", notes)
    with open_cluster(ComputeSection(workers=2)) as place, ThreadPoolExecutor(8) as pool:
        for i in range(3):
            run(cp, place, i)  # stored before anything is lost
        futures = [pool.submit(run, cp, place, i, gate=str(gate)) for i in range(3, 8)]
        notes.wait_for(lambda n: len(n.starts) == 5)
        node, victim = notes.starts[-1]
        kill(int(victim.rpartition(":")[2]))
        gate.touch()
        outputs = [future.result(timeout=120) for future in futures]
        again = [run(cp, place, i) for i in range(8)]
    here = checkpointer(tmp_path / "here")
    assert [o.refs for o in again] == [run(here, None, i).refs for i in range(8)]
    assert all(o.hit for o in again)
    assert [o.refs for o in outputs] == [o.refs for o in again[3:]]
    starts = {f"work/{i}": len(notes.processes(f"work/{i}")) for i in range(8)}
    assert starts == {f"work/{i}": 2 if f"work/{i}" == node else 1 for i in range(8)}
    found = {m.node: m for _, m in cp.store.manifests()}
    assert found[node].worker != victim
    assert all(found[name].worker == notes.starts[i][1] for i, name in enumerate(["work/0", "work/1", "work/2"]))


def lose_a_worker(node, notes, work):
    """Do some work, and kill the process that begins a node when it begins; what the work gave, and the process."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        notes.wait_for(lambda n: n.processes(node))
        victim = notes.processes(node)[0]
        kill(victim)
        return done.result(timeout=200), victim


@pytest.mark.parametrize("lost", ["fit/002", "ensemble", "predict/000150"])
def test_an_ensemble_that_lost_a_worker_is_the_one_that_lost_none(tmp_path, lost):
    """Sizes are such that a piece takes some seconds: it is killed in its midst."""
    how = recipe(members=8, hidden=(700, 700), epochs=12)
    notes = Notes()
    there, here = checkpointer(tmp_path / "there", notes), checkpointer(tmp_path / "here")
    learnt = made_up(there, rows=600)
    quiet = made_up(here, rows=600)
    ensemble = learn(here, None, quiet, how)
    undisturbed = [ensemble.refs, *(chunk.refs for chunk in ask(here, None, quiet, ensemble))]

    def whole(place):
        fitted = learn(there, place, learnt, how)
        return [fitted.refs, *(chunk.refs for chunk in ask(there, place, learnt, fitted))]

    with open_cluster(ComputeSection(workers=2)) as place:
        disturbed, victim = lose_a_worker(lost, notes, lambda: whole(place))
    assert disturbed == undisturbed
    found = {m.node: m for _, m in there.store.manifests() if m.stage in ("fit", "ensemble", "predict")}
    assert len(found) == 4 + 1 + 4
    assert not found[lost].worker.endswith(f":{victim}")
    assert {node: len(notes.processes(node)) for node in found} == {node: 1 + (node == lost) for node in found}
    for node, manifest in found.items():  # where a piece was begun last is where it was stored
        assert int(manifest.worker.rpartition(":")[2]) == notes.processes(node)[-1]


@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_changes_no_bit(tmp_path, workers):
    results = []
    for name, count in (("here", 0), ("there", workers)):
        cp = checkpointer(tmp_path / name)
        learnt = made_up(cp)
        with open_cluster(ComputeSection(workers=count)) as place:
            ensemble = learn(cp, place, learnt)
            results.append([ensemble.refs, *(chunk.refs for chunk in ask(cp, place, learnt, ensemble))])
    assert results[0] == results[1]


def test_a_piece_that_kills_every_worker_is_named_with_what_to_do(tmp_path):
    cp = checkpointer(tmp_path)
    with (
        open_cluster(ComputeSection(workers=1)) as place,
        pytest.raises(ClusterError, match=r"work/1: 4 workers died .* memory than a worker has: make pieces"),
    ):
        run(cp, place, 1, compute=partial(fatal, "work/1"))
    assert cp.store.storage.list() == []


def test_a_running_cluster_is_used_by_its_address_and_left_running(tmp_path):
    with scheduler() as (process, address), worker(address):
        for i in range(2):  # two flows, one after the other
            with open_cluster(ComputeSection(dask=address)) as place:
                assert not run(checkpointer(tmp_path), place, i).hit
        assert process.poll() is None


def test_a_cluster_without_a_worker_is_not_waited_for_for_ever(tmp_path):
    with (
        scheduler() as (_, address),
        open_cluster(ComputeSection(dask=address, wait_seconds=1)) as place,
        pytest.raises(UserError, match=r"compute\.dask: tcp://.*: the cluster has no worker; got none within 1 s"),
    ):
        run(checkpointer(tmp_path), place, 1)


def test_a_first_worker_that_comes_late_is_waited_for(tmp_path):
    with (
        scheduler() as (_, address),
        ThreadPoolExecutor(1) as pool,
        open_cluster(ComputeSection(dask=address, wait_seconds=100)) as place,
    ):
        done = pool.submit(run, checkpointer(tmp_path), place, 1)
        time.sleep(1)
        assert not done.done()
        with worker(address):
            assert not done.result(timeout=100).hit


def test_when_no_worker_is_left_the_piece_is_named(tmp_path):
    notes, gate = Notes(), tmp_path / "gate"
    cp = checkpointer(tmp_path / "campaign", notes)
    with (
        scheduler() as (_, address),
        worker(address) as only,
        ThreadPoolExecutor(1) as pool,
        open_cluster(ComputeSection(dask=address, wait_seconds=3)) as place,
    ):
        future = pool.submit(run, cp, place, 1, gate=str(gate))
        notes.wait_for(lambda n: n.starts)
        only.kill()
        with pytest.raises(ClusterError, match="work/1: no worker is left, and none came for 3 s"):
            future.result(timeout=60)


@pytest.mark.parametrize("asked", [False, True])
def test_a_lost_scheduler_ends_the_wait(tmp_path, asked):
    notes, gate = Notes(), tmp_path / "gate"
    cp = checkpointer(tmp_path / "campaign", notes)
    with (
        scheduler() as (process, address),
        worker(address),
        ThreadPoolExecutor(1) as pool,
        open_cluster(ComputeSection(dask=address, wait_seconds=3)) as place,
    ):
        future = pool.submit(run, cp, place, 1, gate=str(gate))
        notes.wait_for(lambda n: n.starts)
        if asked:  # it is lost while it has to say which workers there are
            process.send_signal(signal.SIGSTOP)
            time.sleep(4)
        process.kill()
        with pytest.raises(ClusterError, match="work/1: the connection to the scheduler was lost"):
            future.result(timeout=120)


def test_tls_between_all_and_strangers_are_refused(tmp_path):
    ours, others = certificates(tmp_path, "ours"), certificates(tmp_path, "others")
    with scheduler("--protocol", "tls", *tls_options(ours)) as (_, address), worker(address, *tls_options(ours)):
        assert address.startswith("tls://")
        with open_cluster(ComputeSection(dask=address, tls=ours)) as place:
            assert not run(checkpointer(tmp_path / "campaign"), place, 1).hit
        for wrong in ({"dask": address, "tls": others}, {"dask": address.replace("tls", "tcp")}):
            with (
                open_cluster(ComputeSection(**wrong, wait_seconds=3)) as place,
                pytest.raises(UserError, match=r"compute\.dask: no scheduler answers; got t.*://127"),
            ):
                run(checkpointer(tmp_path / "campaign"), place, 2)


@pytest.fixture
def other_sources(tmp_path):
    """The package as another commit might have it."""
    folder = tmp_path / "other"
    shutil.copytree(ROOT / "tasks", folder / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "tasks/errors.py").open("a") as file:
        file.write("# a line that this process does not have\n")
    return folder


def test_workers_and_schedulers_of_another_version_are_refused_before_any_work(tmp_path, other_sources):
    notes = Notes()
    cp = checkpointer(tmp_path / "campaign", notes)
    line = r"tcp://127.*: runs another version; got sources of tasks \w{12}, expected \w{12}\. Start scheduler and"
    with (
        scheduler() as (_, address),
        worker(address, path=(other_sources, HERE)),
        open_cluster(ComputeSection(dask=address)) as place,
        pytest.raises(UserError, match=f"^worker {line}"),
    ):
        run(cp, place, 1)
    with (
        scheduler(path=(other_sources,)) as (_, address),
        worker(address),
        open_cluster(ComputeSection(dask=address)) as place,
        pytest.raises(UserError, match=r"^scheduler: runs another version"),
    ):
        run(cp, place, 1)
    assert notes.starts == []
    assert cp.store.storage.list() == []


def test_a_worker_of_another_version_that_joins_later_refuses_its_pieces(tmp_path, other_sources):
    cp = checkpointer(tmp_path / "campaign")
    with scheduler() as (_, address), worker(address) as first, open_cluster(ComputeSection(dask=address)) as place:
        run(cp, place, 1)
        first.kill()
        with (
            worker(address, path=(other_sources, HERE)),
            pytest.raises(UserError, match=r"^worker tcp://.*: runs another version; got sources"),
        ):
            run(cp, place, 2)


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path):
    cp = checkpointer(tmp_path / "campaign")
    with scheduler() as (_, address), worker(address), open_cluster(ComputeSection(dask=address)) as place:
        run(cp, place, 1)
        moved = cp.store.storage
        moved._root = moved.url = str(tmp_path / "elsewhere")  # as on a machine that has no such folder
        with pytest.raises(UserError, match=r"worker tcp://.*: does not see the campaign's folder; got .*elsewhere"):
            run(cp, place, 2)


def test_pieces_for_a_device_go_to_workers_that_offer_one(tmp_path):
    notes = Notes()
    cp = checkpointer(tmp_path, notes)
    with scheduler() as (_, address), worker(address), worker(address, "--resources", "GPU=1", "--name", "gpu") as gpu:
        with open_cluster(ComputeSection(dask=address)) as place:
            client = place._connected()
            client.wait_for_workers(2, timeout=60)
        with open_cluster(ComputeSection(dask=address)) as place, ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: run(cp, place, i, device=True), range(8)))
    assert {process for i in range(8) for process in notes.processes(f"work/{i}")} == {gpu.pid}


def test_ending_a_flow_lets_go_of_those_who_wait(tmp_path):
    notes, gate = Notes(), tmp_path / "gate"
    cp = checkpointer(tmp_path / "campaign", notes)
    with ThreadPoolExecutor(1) as pool:
        with open_cluster(ComputeSection(workers=1)) as place:
            future = pool.submit(run, cp, place, 1, gate=str(gate))
            notes.wait_for(lambda n: n.starts)
        with pytest.raises(ClusterError, match="work/1"):
            future.result(timeout=60)
    assert not [thread for thread in threading.enumerate() if thread.name == "IO loop"]
