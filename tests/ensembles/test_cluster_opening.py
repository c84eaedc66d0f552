"""Opening a cluster: nothing before it is needed, and one clear line for what is wrong."""

import pickle
import sys
import threading
import types

import pytest
import torch
from clusters import Notes, certificates, checkpointer, run

from tasks.campaigns.compute_settings import ComputeSection
from tasks.checkpoints.pieces import ThisProcess
from tasks.ensembles import cluster
from tasks.ensembles.cluster import ClusterError, DaskCluster, open_cluster
from tasks.ensembles.workers import Relay, pass_on, refuse_other, surroundings
from tasks.errors import UserError


@pytest.fixture(autouse=True)
def _nothing_is_left_running():
    before = set(threading.enumerate())
    yield
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert not {name for name in left if "IO loop" in name or name.startswith("piece")}


def once(folder, **config):
    with open_cluster(ComputeSection(**config)) as place:
        return run(checkpointer(folder), place, 1)


def test_without_workers_pieces_run_in_this_process(tmp_path):
    with open_cluster(ComputeSection()) as place:
        assert isinstance(place, ThisProcess)
        assert not run(checkpointer(tmp_path / "a"), place, 1).hit


@pytest.mark.parametrize(
    "config", [{"workers": 2}, {"dask": "cuda"}, {"dask": "tcp://127.0.0.1:1"}, {"dask": "tcp://nowhere:1"}]
)
def test_no_cluster_is_opened_before_there_is_something_to_compute(tmp_path, monkeypatch, config):
    monkeypatch.setattr(cluster, "connect", lambda config: pytest.fail("opened"))
    once(tmp_path / "a")
    with open_cluster(ComputeSection(**config)) as place:
        assert isinstance(place, DaskCluster)
        assert run(checkpointer(tmp_path / "a"), place, 1).hit
        assert run(_plan(tmp_path / "b"), place, 1)["number"].pending


def _plan(folder):
    cp = checkpointer(folder)
    cp.plan = True
    return cp


def test_a_scheduler_that_does_not_answer_is_named(tmp_path):
    with pytest.raises(UserError) as caught:
        once(tmp_path, dask="tcp://127.0.0.1:9", wait_seconds=0.5)
    assert str(caught.value).startswith("compute.dask: no scheduler answers; got tcp://127.0.0.1:9: ")
    assert str(caught.value).endswith("give it longer (compute.wait_seconds).")


def test_every_thread_that_asks_hears_why_there_is_no_cluster_but_only_one_waits(tmp_path, monkeypatch):
    cp, connected = checkpointer(tmp_path), []
    connect = cluster.connect
    monkeypatch.setattr(cluster, "connect", lambda config: (connected.append(config), connect(config))[1])
    with open_cluster(ComputeSection(dask="tcp://127.0.0.1:9", wait_seconds=0.2)) as place:
        for i in range(3):
            with pytest.raises(UserError, match="no scheduler answers"):
                run(cp, place, i)
    assert len(connected) == 1


def test_a_piece_that_comes_after_the_end_opens_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "connect", lambda config: pytest.fail("opened"))
    with open_cluster(ComputeSection(workers=2)) as place:
        pass
    with pytest.raises(ClusterError, match="closed"):
        run(checkpointer(tmp_path), place, 1)


@pytest.mark.parametrize("missing", ["ca", "certificate", "key"])
def test_a_tls_file_that_is_missing_is_named(tmp_path, missing):
    files = certificates(tmp_path, "one") | {missing: str(tmp_path / "nothing.pem")}
    with pytest.raises(UserError, match=rf"compute\.tls\.{missing}: no such file; got .*nothing\.pem"):
        once(tmp_path, dask="tls://127.0.0.1:9", tls=files)


def test_tls_files_that_do_not_belong_together_or_are_none_are_named(tmp_path):
    one, two = certificates(tmp_path, "one"), certificates(tmp_path, "two")
    (tmp_path / "text").write_text("no certificate")
    for wrong in ({"key": two["key"]}, {"ca": str(tmp_path / "text")}, {"certificate": str(tmp_path / "text")}):
        with pytest.raises(UserError, match=r"compute\.tls: cannot be used; got .*, expected PEM files"):
            once(tmp_path, dask="tls://127.0.0.1:9", tls=one | wrong)


@pytest.fixture
def dask_cuda(monkeypatch):
    """A stand-in for dask-cuda, which needs a GPU to be imported everywhere: notes what it is asked for."""
    asked = []

    class Refused(Exception):
        """The stand-in has no GPU."""

    def start(**given):
        asked.append(given)
        raise Refused

    module = types.ModuleType("dask_cuda")
    module.LocalCUDACluster = start
    monkeypatch.setitem(sys.modules, "dask_cuda", module)
    return asked, Refused


def test_cuda_without_dask_cuda_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with pytest.raises(UserError, match=r"compute\.dask: cuda: dask-cuda is not installed.*hybridscreen\[gpu\]"):
        once(tmp_path, dask="cuda")


def test_cuda_without_a_gpu_says_so(tmp_path, monkeypatch, dask_cuda):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=rf"torch sees no GPU on this machine; got torch {torch.__version__[:3]}"):
        once(tmp_path, dask="cuda")
    assert dask_cuda[0] == []


def test_cuda_workers_say_that_they_have_a_gpu_and_one_thread(tmp_path, monkeypatch, dask_cuda):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked, refused = dask_cuda
    with pytest.raises(refused):
        once(tmp_path, dask="cuda")
    assert asked[0]["resources"] == {"GPU": 1}
    assert (asked[0]["threads_per_worker"], asked[0]["host"]) == (1, "127.0.0.1")


def test_the_same_surroundings_are_let_in():
    refuse_other(dict(surroundings()), surroundings(), "worker a")
    assert {"python", "hybridscreen", "torch", "numpy", "sources of tasks"} <= set(surroundings())


@pytest.mark.parametrize("name", ["python", "numpy", "hybridscreen", "sources of tasks"])
@pytest.mark.parametrize("found", ["0.0.1", None])
def test_other_surroundings_are_refused_by_name(name, found):
    other = {key: value for key, value in {**surroundings(), name: found}.items() if value}
    with pytest.raises(UserError) as caught:
        refuse_other(other, surroundings(), "worker tcp://10.0.0.7:4711")
    line = str(caught.value)
    assert line.startswith("worker tcp://10.0.0.7:4711: runs another version; ")
    assert f"got {name} {found or 'none'}, expected {surroundings()[name]}" in line
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def test_packages_are_named_before_sources_because_they_say_more():
    other = {**surroundings(), "torch": "1.0", "sources of tasks": "0"}
    with pytest.raises(UserError, match=r"got torch 1\.0"):
        refuse_other(other, surroundings(), "worker a")


def test_who_cannot_tell_is_refused():
    with pytest.raises(UserError, match="scheduler: does not have the packages of this flow; got ModuleNotFoundError"):
        refuse_other(ModuleNotFoundError("No module named 'tasks'"), surroundings(), "scheduler")


def test_news_pass_from_a_worker_to_a_listener_but_not_too_many():
    told, notes = [], Notes()
    relay = Relay(told.append)
    relay.started("fit/000", "host:7")
    for done in range(1, 1001):
        relay.advanced("fit/000", done, 1000)
    assert len(told) < 500
    for news in told:
        pass_on(news, notes)
    assert notes.starts == [("fit/000", "host:7")]
    assert notes.progress[0] == ("fit/000", 1, 1000)
    assert notes.progress[-1] == ("fit/000", 1000, 1000)
