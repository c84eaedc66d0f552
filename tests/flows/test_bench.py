import json

import pytest

from flows import cli
from flows.bench import run_bench
from tasks.errors import UserError

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


def test_bench_ingest_answers_with_one_json_object(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["hybridscreen", "bench", "ingest", "--plates", "3", "--wells", "96", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == FIELDS
    assert found["parameters"] == {"plates": 3, "wells": 96, "features": 1}
    assert 0 < found["floor_seconds"] < found["seconds"]
    assert found["ratio_to_floor"] > 1
    assert found["peak_rss_gib"] > 0.01


def test_profiles_are_ingested_too():
    assert run_bench("ingest", {"plates": 3, "wells": 96, "features": 4}).seconds > 0


@pytest.mark.parametrize(
    ("name", "sizes", "said"),
    [
        ("nothing", {}, "unknown benchmark; got 'nothing', expected ingest"),
        ("ingest", {"pool": 3}, "bench ingest has no size --pool"),
        ("ingest", {"wells": 100}, "unknown plate format"),
    ],
)
def test_a_mistake_is_one_line(name, sizes, said):
    with pytest.raises(UserError, match=said):
        run_bench(name, sizes)
