"""Published rounds: all files of a screen, `diff` of two, and a crash on the way."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import anndata
import pandas as pd
import pytest
from test_cli import here

from tasks.campaigns.screens import published_screens
from tasks.checkpoints.storage import Storage


@pytest.fixture
def three(two):
    """Screen 3: the plate that failed in round 1 was repeated."""
    two.answer(1)
    two.round()
    return two


def test_a_round_publishes_every_format_and_a_card(two):
    newest = published_screens(two.ledger.storage)[-1]
    folder = two.folder / "campaigns/pilot" / newest.folder
    there = {path.relative_to(folder).parts[0] for path in folder.rglob("*")}
    formats = {"screen.zarr", "screen.h5ad", "screen.parquet", "screen.csv", "card.md"}
    assert there == formats | {"claim.json", "manifest.json"}
    assert {name.split("/")[0] for name in newest.files} == formats
    zarr, h5ad = anndata.read_zarr(folder / "screen.zarr"), anndata.read_h5ad(folder / "screen.h5ad")
    table = pd.read_parquet(folder / "screen.parquet").set_index("perturbation")
    pd.testing.assert_frame_equal(zarr.obs, h5ad.obs)
    pd.testing.assert_frame_equal(zarr.obs.astype(object), table.astype(object), check_index_type=False)
    lock = json.loads(zarr.uns["provenance"]["lock"])
    assert lock == json.loads((two.folder / "campaigns/pilot/rounds/0001/runs/01/round.lock.json").read_text())
    card = (folder / "card.md").read_text()
    assert card.startswith("# Hybrid screen of pilot, round 1, run 1\n")
    assert "model: mlp" in card
    assert "members of the ensemble: 4" in card
    assert "alignment: two-point" in card
    report = (two.folder / "campaigns/pilot/rounds/0001/runs/01/report.html").read_text()
    for name in (*formats,):
        assert f"../../../../{newest.folder}/{name}" in report


def test_flags_say_what_became_of_the_plates(two):
    storage = two.ledger.storage

    def flags():
        newest = published_screens(storage)[-1]
        return pd.read_parquet(io.BytesIO(newest.read(storage, "screen.parquet")[""])).set_index("perturbation")[
            "flags"
        ]

    plan = pd.read_csv(two.folder / "campaigns/pilot/rounds/0001/design/platemap.csv")
    gone = set(plan.loc[(plan["barcode"] == "pilot-R01-P02") & (plan["role"] == "sample"), "perturbation"])
    found = flags()
    assert set(found.index[found.str.contains("failed")]) == gone
    assert not found.str.contains("waived|abandoned|vetoed").any()
    from flows.plates import mark_plate

    mark_plate(str(two.path), "waive", "pilot-R01-P02", "we know why")
    two.round()
    waived = flags()
    assert set(waived.index[waived.str.contains("waived")]) == gone
    mark_plate(str(two.path), "abandon", "pilot-R01-P02", "it was worse")
    two.round()
    abandoned = flags()
    assert set(abandoned.index[abandoned.str.contains("abandoned")]) == gone
    assert not abandoned.str.contains("waived|failed").any()


def test_diff_tells_what_a_repeated_plate_changed_and_why(three, monkeypatch, capsys):
    def said(*arguments):
        done = here(monkeypatch, capsys, "diff", three.path, *arguments)
        return SimpleNamespace(status=done.returncode, out=done.stdout, err=done.stderr)

    answer = said("2", "3", "--json")
    assert answer.status == 0
    diff = json.loads(answer.out)["diff"]
    plan = pd.read_csv(three.folder / "campaigns/pilot/rounds/0001/design/platemap.csv")
    repeated = set(plan.loc[(plan["barcode"] == "pilot-R01-P02") & (plan["role"] == "sample"), "perturbation"])
    assert set(diff["newly_measured"]) == repeated
    assert [(one["name"], one["after"].split(":")[0]) for one in diff["plates"]] == [
        ("pilot-R01-P02.1", "repeated"),
        ("pilot-R01-P02.2", "passed"),
    ]
    roots = {one["node"]: one["reason"] for one in diff["nodes"] if one["root"]}
    assert roots == {"parse/pilot-R01-P02.attempt2.csv": "is new"}
    assert {one["name"] for one in diff["flags"]} >= repeated
    assert "bound" in {one["name"] for one in diff["certificate"]}
    text = said("2", "3").out
    assert "Screen 2 (round 1, run 1) → screen 3 (round 1, run 2)" in text
    assert f"newly measured: {len(repeated)}; no longer measured: 0" in text
    assert "    parse/pilot-R01-P02.attempt2.csv: is new" in text
    nothing = json.loads(said("3", "3", "--json").out)["diff"]
    assert [name for name, found in nothing.items() if found and name not in ("before", "after")] == []
    for number in ("4", "0"):
        refused = said("2", number)
        assert (refused.status, refused.out) == (2, "")
        (line,) = refused.err.splitlines()
        assert f"screens: no such screen; got {number}, expected one of 1, 2, 3" in line


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("at", ["screen.parquet", "report.html", "manifest.json", "run.json"])
def test_a_crash_while_publishing_leaves_the_old_screen_newest_and_the_next_round_completes_it(two, monkeypatch, at):
    two.answer(1)
    write, create = Storage.write, Storage.create

    def dying(method):
        def call(self, path, data):
            if path.endswith(f"/{at}") and path.startswith(("screens/0003", "rounds/0001/runs/02")):
                raise Crash(path)
            return method(self, path, data)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write", dying(write))
        patch.setattr(Storage, "create", dying(create))
        with pytest.raises(Crash):
            two.round()
    published = [screen.number for screen in published_screens(two.ledger.storage)]
    looks = [run.summary["screen"] for run in two.ledger.looks()]
    both = at == "run.json"
    assert published == ([1, 2, 3] if both else [1, 2])
    assert looks == [f"screens/000{number}" for number in published]
    again = two.round()
    assert (again.run, again.screen.rsplit("/", 1)[-1]) == (2, "0003")
    assert again.status == ("unchanged" if both else "decided")
    assert [screen.number for screen in published_screens(two.ledger.storage)] == [1, 2, 3]
    decisions = [run.summary for run in two.ledger.looks()]
    assert [summary["look"] for summary in decisions] == [1, 2, 3]
    from flows.verifying import verify_campaign

    assert verify_campaign(two.config).problems == []


def test_a_round_computed_twice_at_once_is_one_run_and_one_screen(two):
    two.answer(1)
    with ThreadPoolExecutor(2) as pool:
        answers = [call.result() for call in [pool.submit(two.round) for _ in range(2)]]
    assert {answer.run for answer in answers} == {2}
    assert {answer.screen.rsplit("/", 1)[-1] for answer in answers} == {"0003"}
    assert [screen.number for screen in published_screens(two.ledger.storage)] == [1, 2, 3]
    assert [run.summary["look"] for run in two.ledger.looks()] == [1, 2, 3]


def test_a_screen_is_copied_to_others(two, tmp_path, monkeypatch, capsys):
    def publish(*options):
        return here(monkeypatch, capsys, "publish", two.path, tmp_path / "others", *options)

    newest = published_screens(two.ledger.storage)[-1].number
    assert f"Screen {newest} of pilot copied" in publish().stdout
    folder = tmp_path / "others/pilot" / f"{newest:04d}"
    assert anndata.read_zarr(folder / "screen.zarr").n_obs == anndata.read_h5ad(folder / "screen.h5ad").n_obs
    assert "was there, unchanged" in publish().stdout
    assert publish("--screen", "1").returncode == 0
    assert [path.name for path in sorted((tmp_path / "others/pilot").iterdir())] == ["0001", f"{newest:04d}"]
    wrong = publish("--screen", "9")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert f"no such screen; got 9, expected 1, {newest}" in wrong.stderr
