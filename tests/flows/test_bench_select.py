import json

import pytest

from flows import bench_select, cli
from flows.bench import BenchResult, bench_lines, run_bench
from flows.bench_child import Child
from flows.bench_select import Turn
from tasks.batches import bench_peers
from tasks.batches.bench_peers import Peer
from tasks.errors import HybridScreenError, UserError

SIZES = {"strategy": "eigenmodes", "pool": 700, "members": 5, "batch": 6, "observed": 20}


class ThisProcess:
    """Stands in for a child: processes of their own would take longer to start than the tests take."""

    def __init__(self, has_workers=False):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def call(self, function, *args, **kwargs):
        return function(*args, **kwargs)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """No process of its own, no measurement of the machine; gives the folder of temporary files."""
    monkeypatch.setattr(bench_select, "Child", ThisProcess)
    monkeypatch.setattr("tasks.batches.bench_select.floor_seconds", lambda *_: 1e-6)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def as_options(sizes):
    return [word for size, value in sizes.items() for word in (f"--{size.replace('_', '-')}", str(value))]


def test_bench_select_answers_with_one_json_object(monkeypatch, capsys, quick):
    monkeypatch.setattr("sys.argv", ["hybridscreen", "bench", "select", *as_options(SIZES), "--from-disk", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    found = json.loads(said.out)
    assert found["parameters"].items() >= {**SIZES, "from_disk": True, "picked": 6, "turns": 3}.items()
    assert found["parameters"]["held_gib"] <= found["peak_rss_gib"]
    assert found["seconds"] > 0
    assert found["ratio_to_floor"] > 0
    assert found["peers"] == {}
    assert list(quick.iterdir()) == []


def test_memory_and_disk_give_the_same_picks(quick):
    memory, disk = (run_bench("select", {**SIZES, "from_disk": from_disk}) for from_disk in (False, True))
    assert memory.parameters["digest"] == disk.parameters["digest"]
    other = run_bench("select", {**SIZES, "batch": 5})
    assert other.parameters["digest"] != memory.parameters["digest"]


def test_peers_stand_beside_it(monkeypatch, quick):
    strategy = {
        "first": Peer(lambda given, n: (list_of(range(n)), "")),
        "vain": Peer(lambda given, n: (list_of(range(100, 100 + n)), "these are the best")),
        "absent": Peer(fails, package="a_package_that_is_not_there"),
        "small": Peer(fails, largest=699),
    }
    monkeypatch.setitem(bench_peers.PEERS, "in-order", strategy)
    found = run_bench("select", {**SIZES, "strategy": "in-order", "peers": True})
    assert list(found.peers) == ["first", "vain"]
    assert found.parameters["peers_same_picks"] == {"first": 6, "vain": 0}
    assert found.parameters["peers_said"] == {"vain": "these are the best"}
    assert found.parameters["peers_left_out"] == {
        "absent": "a_package_that_is_not_there is not installed",
        "small": "more than 699 perturbations",
    }
    assert (
        set(found.parameters["peers_cpu_seconds"]) == set(found.parameters["peers_peak_rss_gib"]) == {"first", "vain"}
    )


def list_of(rows):
    import numpy as np

    return np.array(rows)


def fails(given, n):
    raise AssertionError("it must not be asked")


def test_a_strategy_that_changes_its_mind_is_told(monkeypatch, quick):
    turns = iter([Turn(1.0, 1.0, (1, 2), 0.1, 0.1), Turn(1.0, 1.0, (1, 3), 0.1, 0.1), Turn(1.0, 1.0, (1, 2), 0.1, 0.1)])
    monkeypatch.setattr(bench_select, "choose", lambda *_: next(turns))
    with pytest.raises(HybridScreenError, match="the same pool and seed gave other picks in another turn"):
        run_bench("select", SIZES)


def test_times_are_medians_and_long_turns_are_not_repeated(monkeypatch, quick):
    turns = iter([Turn(3.0, 5.0, (1,), 0.1, 0.2), Turn(1.0, 6.0, (1,), 0.2, 0.3), Turn(2.0, 4.0, (1,), 0.3, 0.4)])
    monkeypatch.setattr(bench_select, "choose", lambda *_: next(turns))
    found = run_bench("select", SIZES)
    assert (found.seconds, found.cpu_seconds, found.peak_rss_gib) == (2.0, 5.0, 0.4)
    assert (found.parameters["held_gib"], found.parameters["turns"]) == (0.1, 3)
    monkeypatch.setattr(bench_select, "choose", lambda *_: Turn(11.0, 11.0, (1,), 0.1, 0.2))
    assert run_bench("select", SIZES).parameters["turns"] == 1


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"strategy": "luck"}, "bench select --strategy: unknown strategy; got 'luck', expected random, "),
        ({"batch": 701}, "strategy eigenmodes, pick 701: the pool is smaller than what the slot asks for"),
        ({"from_disk": True, "peers": True}, "peers choose from memory; got --from-disk and --peers"),
        ({"hidden": 3}, "bench select has no size --hidden; expected --strategy, .*--from-disk"),
        ({"pool": 10**12}, "the disk is too small for this pool; got .* GB free, expected .* GB"),
    ],
)
def test_a_mistake_is_one_line(sizes, said, quick):
    with pytest.raises(UserError, match=said):
        run_bench("select", {**SIZES, **sizes})
    assert list(quick.iterdir()) == []


@pytest.mark.parametrize(
    ("floor", "said"),
    [
        (0.5, "floor 0.5 s; 75.0% of the time is beyond it"),
        (2.0, "floor 2 s; 0.0% of the time is beyond it"),
        (442.0, "floor 442.0 s: above the time measured; the machine was busy"),
    ],
)
def test_a_floor_above_the_time_is_told_as_such(floor, said):
    found = BenchResult(
        name="select",
        parameters={},
        seconds=2.0,
        cpu_seconds=1.0,
        peak_rss_gib=0.1,
        floor_seconds=floor,
        ratio_to_floor=2.0 / floor,
        peers={},
        versions={},
    )
    assert bench_lines(found)[2].strip() == said


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_the_real_thing_has_processes_of_its_own(workers, monkeypatch, tmp_path, quick):
    expected = run_bench("select", SIZES).parameters["digest"]
    monkeypatch.setattr(bench_select, "Child", Child)
    found = run_bench("select", {**SIZES, "workers": workers, "from_disk": True})
    assert found.parameters["digest"] == expected
    assert found.peak_rss_gib > 0.05
    assert list(tmp_path.iterdir()) == []
