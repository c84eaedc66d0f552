"""The command as a user runs it: in a process of its own for mistakes of opening, in this one for all else."""

import gc
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import anndata
import numpy as np
import pytest
from prefect.settings import PREFECT_API_URL
from typer.testing import CliRunner

from flows.cli import app, main
from tasks.checkpoints.payloads import Payload, UnreadablePayload, decode, encode

COMMAND = Path(sys.executable).with_name("hybridscreen")


ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_LOGGING")}


def call(*arguments, **environment):
    command = [COMMAND, *map(str, arguments)]
    environment = {**ENVIRONMENT, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, env=environment)


def here(monkeypatch, capsys, *arguments):
    """The same, in this process."""
    monkeypatch.setattr("sys.argv", ["hybridscreen", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return SimpleNamespace(returncode=ended.value.code, stdout=said.out, stderr=said.err)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stopping__gama": 0.9}, "unknown key stopping.gama"),
        ({"plates__initial": "three"}, "plates.initial"),
        ({"stopping__gamma": 1.5}, "stopping.gamma"),
        ({"batch__slots": [{"strategy": "magic", "share": 1.0}]}, "batch.slots"),
    ],
)
def test_a_mistake_is_one_line_and_status_2_and_nothing_is_written(pilot, monkeypatch, capsys, change, words):
    pilot.write(**change)
    before = sorted(pilot.folder.rglob("*"))
    for done in (call("open", pilot.path), here(monkeypatch, capsys, "round", pilot.path)):
        assert done.returncode == 2
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"hybridscreen: {pilot.path}: ")
        assert words in line
    assert sorted(pilot.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("row", "words"),
    [("CPD-0000,1,1,1,1,1", "'CPD-0000' more than once"), ("CPD-9999,1,,1,1,1", "not a finite number")],
)
def test_a_bad_library_is_one_line_and_status_2_and_nothing_is_written(pilot, row, words):
    with (pilot.folder / "library.csv").open("a") as file:
        file.write(row + "\n")
    before = sorted(pilot.folder.rglob("*"))
    done = call("open", pilot.path, PREFECT_API_URL=PREFECT_API_URL.value())
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "library.csv" in line
    assert words in line
    assert sorted(pilot.folder.rglob("*")) == before


class Broken(BaseHTTPRequestHandler):
    """A Prefect server that is healthy and can do nothing, as with a full disk."""

    def do_GET(self):
        known = {"/api/health": "true", "/api/admin/version": '"3.8.8"'}
        self._answer(200 if self.path in known else 500, known.get(self.path, "{}"))

    def do_POST(self):
        self._answer(500, '{"exception_message": "Internal Server Error"}')

    def _answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def test_a_server_that_fails_is_one_line_and_status_1(pilot):
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/api"
        done = call("open", pilot.path, PREFECT_API_URL=address)
        server.shutdown()
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"hybridscreen: the Prefect server ({address}) failed: Server error '500 Internal Server Error'"
    )
    assert line.endswith("What is stored stays: start the same command again.")


@pytest.mark.parametrize("option", [("--repeats", "4"), ("--strategy", "random"), ("--values", "value")])
def test_what_is_of_a_past_screen_is_refused_for_an_open_campaign(pilot, monkeypatch, capsys, option):
    done = here(monkeypatch, capsys, "assess", pilot.path, *option)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"hybridscreen: {option[0]}: an open campaign was assessed in its rounds")
    assert "--screen FILE" in line


def test_of_a_damaged_file_nothing_is_told_but_its_error(tmp_path, monkeypatch, capsys, caplog):
    """zarr reads the members of a group at once, and leaves the errors of all but one to asyncio's log."""
    assert here(monkeypatch, capsys, "status", tmp_path / "none.yaml").returncode == 2
    table = anndata.AnnData(np.zeros((3, 2)), obsm={name: np.ones((3, 2)) for name in "pqrs"})
    files = encode(Payload("anndata", table))
    for name in "pqrs":
        head = json.loads(files[f"obsm/{name}/zarr.json"]) | {"zarr_format": ""}
        files[f"obsm/{name}/zarr.json"] = json.dumps(head).encode()
    with pytest.raises(UnreadablePayload):
        decode("anndata", files)
    gc.collect()
    assert [record.name for record in caplog.records if record.name == "asyncio"] == []


def test_a_missing_file_is_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    path = tmp_path / "none.yaml"
    others = [here(monkeypatch, capsys, name, path) for name in ("round", "plan", "release", "status", "verify")]
    for done in (call("open", path), *others):
        assert (done.returncode, done.stdout) == (2, "")
        problem = "the configuration cannot be read; got no such file or directory"
        assert done.stderr == f"hybridscreen: {tmp_path}/none.yaml: {problem}\n"


def invoke(*arguments, status=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.stdout


def test_json_is_json_where_colours_are_forced(make_pilot):
    """As Jupyter's kernels and CI services do for all that they start."""
    pilot = make_pilot()
    invoke("open", pilot.path)
    said = call("status", pilot.path, "--json", FORCE_COLOR="1", TERM="xterm-color")
    assert json.loads(said.stdout)["perturbations"] > 0


def test_the_whole_life_of_a_campaign_by_command(make_pilot):
    pilot = make_pilot(failures=((0, 1),), approval="required")
    opened = json.loads(invoke("open", pilot.path, "--json"))
    assert (opened["newly"], opened["plates"]) == (True, 3)
    assert "waits: 0 of 3 plates" in invoke("round", pilot.path, status=1)
    pilot.answer(0)
    text = invoke("round", pilot.path)
    assert "Round 0, run 02: Go on" in text
    assert "to repeat: pilot-R00-P01" in text
    assert f"hybridscreen release {pilot.path}" in text
    assert "released:" not in text
    assert "0 of" in invoke("plan", pilot.path)
    status = json.loads(invoke("status", pilot.path, "--json"))
    assert status["rounds"][0]["states"] == {"failed": 1, "passed": 2}
    assert status["repeats"] == ["pilot-R00-P01"]
    assert "The design of round 1 released" in invoke("release", pilot.path)
    assert "was already released, from rounds/0000/runs/02" in invoke("release", pilot.path)
    assert "all as recorded" in invoke("verify", pilot.path)
    status = invoke("status", pilot.path)
    assert "round 1: plates 2 (2 planned), sample wells 64" in status


def test_verify_names_what_is_damaged(two):
    folder = two.folder / "campaigns/pilot"
    lost = folder / two.ledger.runs(1)[-1].lock.nodes["omega"].outputs["rotation"].uri
    lost.unlink()
    (folder / "screens/0001/screen.csv").write_text("gone")
    (folder / "rounds/0000/design/worklist.csv").unlink()
    text = invoke("verify", two.path, status=1)
    assert "problems: 3" in text
    assert f"payload {lost.relative_to(folder)} is missing" in text
    assert "screens/0001/screen.csv is damaged" in text
    assert "rounds/0000/design/worklist.csv is missing" in text


def test_release_waits_for_a_proposal(pilot):
    from tasks.errors import UserError

    pilot.open()
    with pytest.raises(UserError, match="no batch is proposed yet"):
        invoke("release", pilot.path)


def test_who_plans_a_round_imports_nothing_that_computes_one():
    """They take seconds, and a round with nothing new needs none of them."""
    code = "import sys, flows.round; print({'torch', 'sklearn', 'distributed'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "set()", done.stderr
