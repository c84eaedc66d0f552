"""Uploads by the command: all files or none, nothing overwritten; and campaigns by their registered names."""

import pytest
from pilots import Pilot
from typer.testing import CliRunner

from flows.cli import app
from flows.registry import find_campaign, register, registered
from flows.round import run_round
from flows.uploading import upload
from tasks.errors import UserError


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    pilot = Pilot(tmp_path_factory.mktemp("upload") / "lab")
    pilot.open()
    return pilot


@pytest.fixture
def lab(opened, tmp_path):
    return opened.copy(tmp_path / "copy")


def test_files_arrive_once_and_are_never_overwritten(lab, tmp_path):
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("one\n")
    second.write_text("two\n")
    found = upload(str(lab.path), [first], None)
    assert (found.new, found.known, found.announced) == (["a.csv"], [], False)
    assert upload(str(lab.path), [first], None).known == ["a.csv"]
    first.write_text("other\n")
    with pytest.raises(UserError, match=r"inbox/a.csv: another file of this name is there"):
        upload(str(lab.path), [second, first], None)
    assert lab.ledger.storage.list("inbox") == ["inbox/a.csv"], "all or none"
    assert lab.ledger.storage.read("inbox/a.csv") == b"one\n"


def test_what_cannot_be_uploaded_is_named(lab, tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.csv", "sub/a.csv"):
        (tmp_path / name).write_text("one\n")
    with pytest.raises(UserError, match=r"none.csv: cannot be read; got No such file"):
        upload(str(lab.path), [tmp_path / "none.csv"], None)
    with pytest.raises(UserError, match="two files of one name"):
        upload(str(lab.path), [tmp_path / "a.csv", tmp_path / "sub/a.csv"], None)


def test_the_command_says_who_was_told(lab, tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "a.csv").write_text("one\n")
    said = CliRunner().invoke(app, ["upload", str(lab.path), str(tmp_path / "a.csv")], catch_exceptions=False).stdout
    assert "1 new in" in said
    assert "No Prefect server was told" in said


def test_a_registered_campaign_is_found_by_name(lab, make_pilot):
    twin = make_pilot("other")
    try:
        assert register([lab.path]) == {"pilot": str(lab.path)}
        assert find_campaign("pilot") == str(lab.path)
        assert run_round("pilot").status == "waiting"
        assert find_campaign("some/where.yaml") == "some/where.yaml"
        with pytest.raises(UserError, match="registered; got 'nobody', expected one of pilot"):
            find_campaign("nobody")
        with pytest.raises(UserError, match="two campaigns of one name"):
            register([lab.path, twin.path])
        with pytest.raises(UserError, match="no campaign of this name"):
            register([], ["nobody"])
    finally:
        assert register([], ["pilot"]) == {}
    assert registered() == {}
