"""`bench rerun`: a round with nothing new, and what it asks of its storage."""

import json
from pathlib import Path

import pytest

from flows import bench_rerun, cli
from flows.bench import run_bench
from flows.bench_rerun import growth
from tasks.errors import HybridScreenError, UserError

PLATES = 4


@pytest.fixture
def in_this_process(monkeypatch, tmp_path):
    """Functions answer here: processes of their own, each with its Prefect server, would take minutes."""

    def answer(family, number, function, args):
        Path(args[0]).mkdir(parents=True, exist_ok=True)
        return getattr(bench_rerun, function)(*args)

    monkeypatch.setattr(bench_rerun, "_answer", answer)
    monkeypatch.setattr(bench_rerun, "_TURNS", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_bench_rerun_answers_with_one_json_object(monkeypatch, capsys, in_this_process):
    words = ["hybridscreen", "bench", "rerun", "--plates", str(PLATES), "--wells", "96", "--json"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    found = json.loads(said.out)
    told = found["parameters"]
    assert told["computed"] == 0
    assert told["steps"] - told["quarter"]["steps"] == 2 * (PLATES - 1)  # two steps a plate
    assert 0 < told["quarter"]["requests"] < told["requests"]
    assert told["requests"] == sum(told[kind] for kind in ("get", "put", "list", "head"))
    assert 0 < told["growth_of_requests"] <= 1.05
    assert 0 < told["growth_of_bytes"] <= 1.05
    assert found["seconds"] == pytest.approx(found["floor_seconds"] + told["seconds_beyond_start"], abs=0.01)
    assert list(in_this_process.glob("hybridscreen-*")) == []


@pytest.mark.slow
def test_a_bucket_is_asked_over_the_wire_and_keeps_the_campaigns(in_this_process, s3_url):
    told = run_bench("rerun", {"plates": PLATES, "wells": 96, "storage": s3_url}).parameters
    assert told["computed"] == 0
    assert told["kept"].startswith(f"{s3_url}/bench-rerun-")
    assert told["get"] > 8 * PLATES
    assert told["put"] == 1  # a claim that is refused, because the run is there
    assert 0 < told["growth_of_requests"] <= 1.05


def test_a_rerun_that_computes_something_is_no_result(in_this_process, monkeypatch):
    again = bench_rerun.recompute

    def damaged(folder):
        for payload in Path(folder).parent.glob("campaigns/*/*/checkpoints/parse/*/*/wells-*.parquet"):
            payload.write_bytes(b"damaged")
        return again(folder)

    monkeypatch.setattr(bench_rerun, "recompute", damaged)
    with pytest.raises(HybridScreenError, match=r"with 1 plates and nothing new, 1 of \d+ steps were computed: parse"):
        run_bench("rerun", {"plates": PLATES, "wells": 96})


@pytest.mark.parametrize("sizes", [{"plates": 3}, {"wells": 1536}])
def test_a_campaign_that_cannot_be_made_is_one_line(sizes):
    with pytest.raises(UserError, match="expected 4 plates or more, of 96 or 384 wells"):
        run_bench("rerun", sizes)


def test_growth_is_the_exponent():
    assert growth(10, 40, 4) == 1.0
    assert growth(10, 160, 4) == 2.0
    assert growth(10, 10, 4) == 0.0


@pytest.mark.slow
def test_processes_of_their_own_answer_and_leave_nothing_behind(tmp_path, monkeypatch):
    for name in ("PREFECT_API_URL", "PREFECT_API_DATABASE_CONNECTION_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(bench_rerun, "_TURNS", 1)
    found = run_bench("rerun", {"plates": PLATES, "wells": 96})
    assert found.parameters["computed"] == 0
    assert found.floor_seconds > 0
    assert list(tmp_path.glob("hybridscreen-*")) == []
