"""`hybridscreen score`: finished screens from files to scores, and mistakes as one line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app, main
from flows.score import OUTPUTS, score_screen
from tasks.errors import UserError

COMMAND = Path(sys.executable).with_name("hybridscreen")
ROWS, COLUMNS = "ABCDEFGH", range(1, 13)
WELLS = [f"{row}{column:02d}" for row in ROWS for column in COLUMNS]


def role_of(well):
    return {"01": "negcon", "12": "poscon"}.get(well[1:], "sample")


class Screen:
    """Four 96-well plates in a folder: two maps of 80 samples, each twice; negcon 0 and poscon 10 in assay units."""

    def __init__(self, folder, seed=0, levels=(100.0, 300.0, 150.0, 90.0), failed=()):
        self.folder = folder
        rng = np.random.default_rng(seed)
        samples = [well for well in WELLS if role_of(well) == "sample"]
        self.truth = {f"X{number}-{well}": rng.normal(0, 3) for number in (1, 2) for well in samples}
        lines = ["barcode,well,role,perturbation,replicate,gene"]
        (folder / "data").mkdir(parents=True)
        for index, level in enumerate(levels):
            number, replicate = index // 2 + 1, index % 2 + 1
            barcode, rows = f"P{index + 1}", ["well\tvalue"]
            for well in WELLS:
                role = role_of(well)
                name = f"X{number}-{well}" if role == "sample" else ""
                true = self.truth.get(name, 10.0 if role == "poscon" and barcode not in failed else 0.0)
                rows.append(f"{well}\t{level + 5 * true + 2 * rng.standard_normal():.4f}")
                lines.append(f"{barcode},{well},{role},{name},{replicate if name else 0},{name and 'g' + name}")
            (folder / "data" / f"{barcode}.tsv").write_text("\n".join(rows) + "\n")
        (folder / "platemap.csv").write_text("\n".join(lines) + "\n")
        self.path = folder / "screen.yaml"
        self.out = folder / "small-scores"

    def write(self, **changes):
        content = {
            "screen": {"name": "small", "files": "data/*.tsv", "layout": {"style": "table"}},
            "plates": {"format": 96, "negcon": {"nominal": 0}, "poscon": {"nominal": 10}},
            "alignment": {"method": "two-point"},
        }
        for key, value in changes.items():
            section, _, field = key.partition("__")
            content.setdefault(section, {})[field] = value
        self.path.write_text(yaml.safe_dump(content))
        return self

    def files(self):
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*"))

    def read(self, name):
        return pd.read_csv(self.out / name, keep_default_na=False)


@pytest.fixture
def screen(tmp_path):
    return Screen(tmp_path / "screen").write()


def call(*arguments):
    command = [COMMAND, "score", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def invoke(*arguments, status=0):
    result = CliRunner().invoke(app, ["score", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stdout


def test_a_screen_is_scored_from_its_folder(screen):
    text = invoke(screen.path)
    assert "Screen small, 4 plates: 4 passed. Excluded wells: 0" in text
    assert f"Scores of 160 perturbations: {screen.out}/scores.csv" in text
    assert "WARNING" not in text
    assert sorted(path.name for path in screen.out.iterdir()) == sorted(OUTPUTS)
    scores = screen.read("scores.csv")
    assert list(scores.columns) == ["perturbation", "value", "n", "variance", "plates", "gene"]
    assert set(scores["perturbation"]) == set(screen.truth)
    assert (scores["gene"] == "g" + scores["perturbation"]).all()
    assert (scores["n"] == 2).all()
    assert set(scores["plates"]) == {"P1;P2", "P3;P4"}
    error = scores["value"] - scores["perturbation"].map(screen.truth)
    assert error.std() < 0.4
    assert abs(error.mean()) < 0.3
    assert scores["variance"].mean() == pytest.approx(0.08, rel=0.3)  # 2 wells, sd 2/5


def test_aligned_wells_are_the_wells_of_the_files_on_the_scale_of_the_controls(screen):
    score_screen(str(screen.write(alignment__shrinkage=False).path))
    wells = pd.read_parquet(screen.out / "wells.parquet")
    assert len(wells) == 4 * 96
    assert (wells["excluded"] == "").all()
    for barcode, plate in wells.groupby("barcode"):
        written = pd.read_csv(screen.folder / "data" / f"{barcode}.tsv", sep="\t").set_index("well")["value"]
        np.testing.assert_array_equal(plate["value"], written[plate["well"]])
        low, high = (plate.loc[plate["role"] == role, "value"].median() for role in ("negcon", "poscon"))
        np.testing.assert_allclose(plate["aligned"], 10 * (plate["value"] - low) / (high - low), atol=1e-9)


def test_the_verdicts_and_what_led_to_them_are_kept(tmp_path):
    screen = Screen(tmp_path, failed=("P2",)).write()
    found = json.loads(invoke(screen.path, "--json"))
    assert found["verdicts"] == {"failed": 1, "passed": 3}
    (plate,) = found["plates"]
    assert (plate["barcode"], plate["verdict"]) == ("P2", "failed")
    table = screen.read("plates.csv").set_index("barcode")
    assert table["verdict"].to_dict() == {"P1": "passed", "P2": "failed", "P3": "passed", "P4": "passed"}
    assert "zprime" in table.loc["P2", "reasons"]
    assert table.loc["P2", "file"] == "data/P2.tsv"
    assert "P2" not in ";".join(screen.read("scores.csv")["plates"])
    wells = pd.read_parquet(screen.out / "wells.parquet").set_index("barcode")
    assert wells.loc["P2", "aligned"].isna().all()
    assert wells.loc["P2", "value"].notna().all()
    record = json.loads((screen.out / "quality.json").read_text())
    assert [plate["passed"] for plate in record["plates"]] == [True, False, True, True]
    assert [fit["run"] for fit in record["alignment"]] == ["small"]
    assert record["screen"]["screen"]["name"] == "small"
    assert str(tmp_path) not in (screen.out / "quality.json").read_text()
    assert "P2" in (screen.out / "quality.html").read_text()


def test_refused_files_are_listed_and_the_others_scored(screen):
    path = screen.folder / "data" / "P4.tsv"
    path.write_text(path.read_text().replace("C05\t", "C05\tOVER"))
    (screen.folder / "data" / "P9.tsv").write_text((screen.folder / "data" / "P1.tsv").read_text())
    found = json.loads(invoke(screen.path, "--json"))
    assert found["verdicts"] == {"passed": 3, "refused": 2}
    rejected = screen.read("rejected.csv")
    assert rejected["file"].tolist() == ["data/P4.tsv", "data/P9.tsv"]
    assert rejected["line"].tolist()[0] == "30"
    assert "OVER" in rejected["reason"][0]
    assert "unknown barcode" in rejected["reason"][1]
    assert (screen.read("scores.csv")["plates"].str.count("P") >= 1).all()


def test_a_plate_that_no_file_holds_is_missing(screen):
    (screen.folder / "data" / "P3.tsv").unlink()
    found = json.loads(invoke(screen.path, "--json"))
    assert found["verdicts"] == {"missing": 1, "passed": 3}


def test_excluded_wells_have_no_value_and_keep_their_reason(screen):
    (screen.folder / "log.csv").write_text("barcode,well,reason\nP1,C05,leaked\nP2,C05,leaked\nP3,C06,bubble\n")
    screen.write(screen__layout={"style": "table", "exclusions": "log.csv"})
    assert "Excluded wells: 3" in invoke(screen.path)
    wells = pd.read_parquet(screen.out / "wells.parquet")
    excluded = wells[wells["excluded"] != ""]
    assert excluded[["barcode", "well", "excluded"]].to_numpy().tolist() == [
        ["P1", "C05", "leaked"],
        ["P2", "C05", "leaked"],
        ["P3", "C06", "bubble"],
    ]
    assert excluded[["value", "aligned"]].isna().all(axis=None)
    scores = screen.read("scores.csv").set_index("perturbation")
    assert "X1-C05" not in scores.index
    assert (scores.loc["X2-C06", "n"], scores.loc["X2-C06", "plates"]) == (1, "P4")


@pytest.mark.parametrize("method", ["plate-median", "b-score"])
def test_methods_that_look_at_samples_say_so(screen, method):
    text = invoke(screen.write(alignment__method=method).path)
    assert f"WARNING: alignment {method}" in text
    assert json.loads((screen.out / "quality.json").read_text())["warnings"]
    wells = pd.read_parquet(screen.out / "wells.parquet")
    samples = wells[wells["role"] == "sample"]
    assert samples.groupby("barcode")["aligned"].median().abs().max() < 0.2


def test_several_runs_are_aligned_each_by_itself(tmp_path):
    screen = Screen(tmp_path)
    for number in (1, 2, 3, 4):
        path = tmp_path / "data" / f"P{number}.tsv"
        head, *lines = path.read_text().splitlines()
        run = "mon" if number % 2 else "tue"
        path.write_text("\n".join([head + "\trun", *(f"{line}\t{run}" for line in lines)]) + "\n")
    score_screen(str(screen.write().path))
    record = json.loads((screen.out / "quality.json").read_text())
    assert {fit["run"]: [p["barcode"] for p in fit["plates"]] for fit in record["alignment"]} == {
        "mon": ["P1", "P3"],
        "tue": ["P2", "P4"],
    }


def test_several_features_a_well(tmp_path):
    screen = Screen(tmp_path)
    for number in (1, 2, 3, 4):
        path = tmp_path / "data" / f"P{number}.tsv"
        table = pd.read_csv(path, sep="\t")
        rng = np.random.default_rng(number)
        table = table.rename(columns={"value": "f_area"}).assign(f_dna=rng.standard_normal(96), other=1.0)
        table.to_csv(path, sep="\t", index=False)
    screen.write(readout__features=["f_*"], readout__output="f_area", alignment__method="negcon")
    score_screen(str(screen.path))
    wells = pd.read_parquet(screen.out / "wells.parquet")
    assert {"f_area", "f_dna", "aligned", "aligned_f_area", "aligned_f_dna"} <= set(wells.columns)
    assert "other" not in wells.columns
    np.testing.assert_array_equal(wells["value"], wells["f_area"])
    np.testing.assert_array_equal(wells["aligned"], wells["aligned_f_area"])
    scores = screen.read("scores.csv")
    assert np.corrcoef(scores["value"], scores["perturbation"].map(screen.truth))[0, 1] > 0.95


def test_a_layout_that_names_its_files(tmp_path):
    screen = Screen(tmp_path)
    names = "".join(f"data/P{index + 1}.tsv\t{index // 2 + 1}\t{index % 2 + 1}\n" for index in range(4))
    (tmp_path / "Platelist.txt").write_text("Filename\tPlate\tReplicate\n" + names)
    rules = "*\t*\tsample\n*\t01$\tneg\n*\t12$\tpos\n"
    (tmp_path / "Plateconf.txt").write_text("Wells: 96\nPlates: 2\nPlate\tWell\tContent\n" + rules)
    layout = {"style": "cellhts2", "screenlog": None}
    screen.write(screen__layout=layout, screen__files=None)
    score_screen(str(screen.path))
    scores = screen.read("scores.csv")
    truth = {name.replace("X", "P0"): value for name, value in screen.truth.items()}
    assert np.corrcoef(scores["value"], scores["perturbation"].map(truth))[0, 1] > 0.99
    assert set(scores["plates"]) == {"P01-R1;P01-R2", "P02-R1;P02-R2"}
    screen.write(screen__layout=layout)
    with pytest.raises(UserError, match=r"^screen.files: the layout names its files, and screen.files does too"):
        score_screen(str(screen.path), force=True)
    (tmp_path / "data" / "P3.tsv").unlink()
    screen.write(screen__layout=layout, screen__files=None)
    with pytest.raises(UserError, match=r"^Platelist.txt, line 4: the plate file is missing; got data/P3.tsv$"):
        score_screen(str(screen.path), force=True)


def test_without_a_plate_that_passed_there_are_no_scores_and_status_1(tmp_path):
    screen = Screen(tmp_path, failed=("P1", "P2", "P3", "P4")).write()
    text = invoke(screen.path, status=1)
    assert "No plate can be used, so there are no scores." in text
    assert screen.read("plates.csv")["verdict"].tolist() == ["failed"] * 4
    assert screen.read("scores.csv").empty


def test_the_same_screen_gives_the_same_files(screen):
    score_screen(str(screen.path))
    first = {name: (screen.out / name).read_bytes() for name in OUTPUTS}
    lines = (screen.folder / "platemap.csv").read_text().splitlines()
    (screen.folder / "platemap.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    score_screen(str(screen.path), force=True)
    assert {name: (screen.out / name).read_bytes() for name in OUTPUTS} == first


def test_results_are_replaced_only_when_asked_and_other_files_never(screen):
    invoke(screen.path)
    (screen.out / "scores.csv").write_text("old")
    done = call(screen.path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"hybridscreen: {screen.out}: results are there already. Name another folder with --out, or replace them with "
        "--force.\n"
    )
    assert (screen.out / "scores.csv").read_text() == "old"
    invoke(screen.path, "--force")
    assert (screen.out / "scores.csv").read_text() != "old"
    assert not [name for name in screen.files() if name.startswith(".")]
    (screen.out / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match=r"holds other files; got mine.txt"):
        score_screen(str(screen.path), force=True)
    elsewhere = screen.folder / "new" / "place"
    invoke(screen.path, "--out", elsewhere)
    assert sorted(path.name for path in elsewhere.iterdir()) == sorted(OUTPUTS)


def test_a_failure_leaves_earlier_results_as_they_were(screen, monkeypatch):
    invoke(screen.path)
    before = {name: (screen.out / name).read_bytes() for name in OUTPUTS}

    def broken(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", broken)
    with pytest.raises(UserError, match=r"the results cannot be written; got No space left on device"):
        score_screen(str(screen.path), force=True)
    assert {name: (screen.out / name).read_bytes() for name in OUTPUTS} == before
    assert not [name for name in screen.files() if name.startswith(".")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"screen__layout": {"style": "excel"}}, "screen.layout.style: unknown layout; got 'excel'"),
        ({"screen__layout": {"style": "table", "file": "x"}}, "screen.layout: unknown key file"),
        ({"screen__layout": {"style": "table", "files": ["no.csv"]}}, "no.csv: the layout's file is missing"),
        ({"screen__folder": "nowhere"}, "nowhere: no such folder"),
        ({"screen__files": "*.xlsx"}, "no plate file; got none like '*.xlsx' (screen.files)"),
        ({"screen__files": None}, "screen.files: nothing names the plate files"),
        ({"screen__name": "a b"}, "screen.name"),
        ({"plates__format": 95}, "plates.format"),
        ({"plates__initial": 3}, "unknown key plates.initial"),
        ({"readout__kind": "binary"}, "threshold is needed for a binary readout"),
        ({"stopping__gamma": 0.9}, "unknown key stopping"),
        ({"alignment__method": "magic"}, "unknown alignment; got magic"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(screen, changes, words):
    screen.write(**changes)
    before = screen.files()
    with pytest.raises(UserError) as caught:
        score_screen(str(screen.path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert screen.files() == before


def test_a_missing_description_is_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["hybridscreen", "score", f"{tmp_path}/none.yaml"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    problem = "the configuration cannot be read; got no such file or directory"
    assert said.err == f"hybridscreen: {tmp_path}/none.yaml: {problem}\n"


@pytest.mark.parametrize(
    ("alignment", "agreement"),
    [({"method": "plate-median"}, 0.92), ({"method": "negcon", "anchors": ["bridges"]}, 0.85)],
)
def test_a_genome_wide_screen_agrees_with_its_published_scores(real_data, tmp_path, alignment, agreement):
    content = {
        "screen": {
            "name": "kcviab",
            "folder": str(real_data / "kcviab" / "raw"),
            "layout": {"style": "cellhts2", "annotation": "GeneIDs_Dm_HFA_1.1.txt", "id": "HFAID"},
        },
        "readout": {"columns": {"plate": 1, "well": 2, "value": 3}, "transform": "log2"},
        "quality": {"min_gap_share": 0.5, "max_missing": 0.1},
        "alignment": {**alignment, "min_controls": 1, "on_too_few": "run"},
    }
    (tmp_path / "screen.yaml").write_text(yaml.safe_dump(content))
    found = score_screen(str(tmp_path / "screen.yaml"))
    assert found.verdicts == {"failed": 13, "passed": 101}
    assert (found.rejections, found.excluded, found.perturbations) == ([], 48, 19358)
    scores = pd.read_csv(tmp_path / "kcviab-scores" / "scores.csv").set_index("perturbation")["value"]
    published = pd.read_parquet(real_data / "kcviab" / "kcviab.parquet").dropna(subset=["HFAID", "score2003"])
    published = published.drop_duplicates("HFAID").set_index("HFAID")["score2003"]
    assert scores.corr(published) < -agreement  # the published scores count downwards
