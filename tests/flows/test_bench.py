import json
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from flows import bench_fit, bench_predict, cli
from flows.bench import run_bench
from flows.bench_child import Child
from flows.bench_fit import ONE_THREAD, PEER
from tasks.checkpoints.lazy import open_rows, read_names
from tasks.checkpoints.progress import advanced, listening
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.ensembles.bench_fit import train_on_one_thread, train_one_by_one, train_together, training
from tasks.ensembles.bench_predict import write_library
from tasks.errors import HybridScreenError, UserError

FIELDS = [
    "name",
    "parameters",
    "seconds",
    "cpu_seconds",
    "peak_rss_gib",
    "floor_seconds",
    "ratio_to_floor",
    "peers",
    "versions",
]
FIT = {"members": 3, "features": 4, "hidden": 8, "labels": 40, "epochs": 2}
PREDICT = {"pool": 40_000, "features": 4, "members": 3, "hidden": 8, "labels": 40, "epochs": 2}


class Heard:
    """A listener that remembers."""

    def __init__(self):
        self.advances = []

    def started(self, node, worker=""):
        pass

    def advanced(self, node, done, total):
        self.advances.append((node, done, total))

    def finished(self, event):
        pass


class ThisProcess:
    """Stands in for a child: processes of their own would take longer to start than the tests take."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def call(self, function, *args, **kwargs):
        return function(*args, **kwargs)


@pytest.fixture
def childless(monkeypatch):
    monkeypatch.setattr(bench_fit, "Child", ThisProcess)
    monkeypatch.setattr(bench_predict, "Child", ThisProcess)


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """Where temporary files go."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def command(monkeypatch, capsys, *words):
    """Status, and what was printed."""
    monkeypatch.setattr("sys.argv", ["hybridscreen", "bench", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, capsys.readouterr()


def as_options(sizes):
    return [word for size, value in sizes.items() for word in (f"--{size}", str(value))]


def test_bench_ingest_answers_with_one_json_object(monkeypatch, capsys):
    status, said = command(monkeypatch, capsys, "ingest", "--plates", "3", "--wells", "96", "--json")
    assert status == 0
    found = json.loads(said.out)
    assert list(found) == FIELDS
    assert found["parameters"] == {"plates": 3, "wells": 96, "features": 1}
    assert 0 < found["floor_seconds"] < found["seconds"]
    assert found["ratio_to_floor"] > 1
    assert found["peak_rss_gib"] > 0.01


def test_profiles_are_ingested_too():
    assert run_bench("ingest", {"plates": 3, "wells": 96, "features": 4}).seconds > 0


def test_bench_fit_trains_what_was_asked_for_and_its_peer_beside_it(monkeypatch, capsys, childless):
    status, said = command(monkeypatch, capsys, "fit", *as_options(FIT), "--json")
    assert status == 0, said.err
    found = json.loads(said.out)
    assert list(found) == FIELDS
    assert found["parameters"].items() >= FIT.items()
    assert list(found["peers"]) == [PEER, ONE_THREAD]
    assert min(found["peers"].values()) > 0
    # 36 of 40 labels are learnt from, in batches of at most 16, twice.
    assert (found["parameters"]["batch"], found["parameters"]["steps"]) == (16, 6)
    layers = [2 * 4 * 8, 2 * 8 * 8, 2 * 8]
    assert found["parameters"]["operations"] == 3 * 2 * (36 * (3 * sum(layers) - layers[0]) + 4 * sum(layers))
    assert found["parameters"]["peers_peak_rss_gib"][PEER] > 0.01


def test_bench_fit_can_do_without_peers(childless):
    found = run_bench("fit", {**FIT, "peers": False})
    assert found.peers == {}
    assert found.seconds > 0


@pytest.mark.parametrize("train", [train_together, train_one_by_one, train_on_one_thread])
def test_both_contenders_learn(train):
    this = training(labels=600, features=3, members=2, hidden=32, epochs=40)
    assert this.train.targets.var() > 1.2
    assert max(train(this)) < 0.3  # of the variance


def test_bench_predict_stores_every_chunk_and_leaves_nothing_behind(monkeypatch, capsys, empty, childless):
    status, said = command(monkeypatch, capsys, "predict", *as_options(PREDICT), "--json")
    assert status == 0, said.err
    found = json.loads(said.out)
    assert list(found) == FIELDS
    parameters = found["parameters"]
    assert parameters.items() >= PREDICT.items()
    assert parameters["library_bytes"] > 40_000 * 4 * 4 * 0.8  # random numbers cannot be packed by much
    assert parameters["predicted_bytes"] > 40_000 * 4 * 3  # at least the members
    assert parameters["rows_per_second"] == pytest.approx(40_000 / found["seconds"], rel=0.01)
    assert found["floor_seconds"] > 0
    assert list(empty.glob("hybridscreen-*")) == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sizes"), [("fit", FIT), ("predict", PREDICT)])
def test_contenders_have_processes_of_their_own(name, sizes, empty):
    heard = Heard()
    with listening(heard):
        found = run_bench(name, sizes)
    assert found.seconds > 0
    assert heard.advances[-1][1] == heard.advances[-1][2] > 0
    assert "torch" in found.versions
    assert list(empty.glob("hybridscreen-*")) == []


@pytest.fixture
def heeds_sigint():
    """The background job of a shell ignores SIGINT, and so would Python in it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "end"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_an_interrupted_benchmark_leaves_nothing_behind(number, end, monkeypatch, empty, childless, heeds_sigint):
    def interrupt(*_):
        assert list(empty.glob("*/library/manifest.json"))  # the library is there by now
        signal.raise_signal(number)

    monkeypatch.setattr(bench_predict, "predict", interrupt)
    with pytest.raises(end):
        run_bench("predict", {**PREDICT, "pool": 100})
    assert list(empty.glob("hybridscreen-*")) == []


def test_the_library_of_bench_predict_is_one_that_a_campaign_can_read(tmp_path):
    ref = write_library(tmp_path, 20_000, 3)  # more than one block
    store = CheckpointStore(Storage(str(tmp_path)))
    whole = store.load(ref)
    assert whole.shape == ref.shape == (20_000, 3)
    assert whole.obs_names.is_unique
    assert whole.obs_names[[0, -1]].tolist() == ["P00000000", "P00019999"]
    assert read_names(store, ref).equals(whole.obs_names)
    np.testing.assert_array_equal(open_rows(store, ref)[16_000:17_000], whole.X[16_000:17_000])
    np.testing.assert_allclose(whole.X.std(axis=0), 1.0, atol=0.05)


def test_a_library_larger_than_the_disk_is_refused(monkeypatch):
    monkeypatch.setattr(bench_predict.shutil, "disk_usage", lambda _: SimpleNamespace(free=2e9))
    with pytest.raises(
        UserError, match=r"disk is too small for this library; got 2\.0 GB free, expected 2[0-9]\.[0-9] GB"
    ):
        run_bench("predict", {"pool": 10_000_000})


@pytest.mark.parametrize(
    ("name", "sizes", "said"),
    [
        ("nothing", {}, "unknown benchmark; got 'nothing', expected fit or ingest or predict"),
        ("ingest", {"pool": 3}, "bench ingest has no size --pool"),
        ("ingest", {"peers": True}, "bench ingest has no size --peers"),
        ("fit", {"pool": 3}, "bench fit has no size --pool"),
        ("predict", {"wells": 96}, "bench predict has no size --wells"),
        ("ingest", {"wells": 100}, "unknown plate format"),
    ],
)
def test_a_mistake_is_one_line(name, sizes, said):
    with pytest.raises(UserError, match=said):
        run_bench(name, sizes)


def test_a_child_computes_elsewhere_and_tells_how_far_it_is():
    heard = Heard()
    with listening(heard), Child() as child:
        assert child.call(os.getpid) == child.call(os.getpid) != os.getpid()
        child.call(advanced, "count", 1, 2)
    assert heard.advances == [("count", 1, 2)]


def test_what_goes_wrong_in_a_child_is_said_here_and_none_is_left():
    with pytest.raises(HybridScreenError, match="a process of the benchmark ended with -9"), Child() as child:  # noqa: PT012
        with pytest.raises(UserError, match="unknown benchmark; got 'nothing'"):
            child.call(run_bench, "nothing", {})
        process = child.call(os.getpid)  # it goes on
        child.call(signal.raise_signal, signal.SIGKILL)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_no_child_is_left_when_the_benchmark_is_interrupted():
    with pytest.raises(KeyboardInterrupt), Child() as child:  # noqa: PT012
        process = child.call(os.getpid)
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
