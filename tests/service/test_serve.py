"""`hybridscreen serve` as a real process: it starts everything, and nothing is left of it."""

import socket
import subprocess

import pytest
from served import COMMAND, Api, Served, environment


def refused(*words):
    done = subprocess.run(
        [*COMMAND, "serve", *map(str, words)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_a_taken_port_is_named_in_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused("--port", port, "--into", tmp_path / "state")
    assert f"127.0.0.1:{port}: the port is taken. Name another: --port" in said


def test_a_mistake_in_a_campaign_is_named_before_anything_starts(tmp_path):
    (tmp_path / "campaign.yaml").write_text("campaign: {name: pilot}\n")
    assert "library is missing" in refused(tmp_path / "campaign.yaml", "--into", tmp_path / "state")
    assert not (tmp_path / "state").exists()


@pytest.mark.slow
def test_it_serves_and_a_second_one_on_its_folder_is_refused(service, api):
    assert api("/health") == (200, True)
    assert api.named("work_pools")["hybridscreen"]["type"] == "process"
    said = service.log.read_text()
    assert f"Ready: {service.url}" in said
    assert "Campaigns: pilot" in said
    assert "is served already" in refused("--into", service.folder / "state", "--port", service.port + 1)
    # The refused one has left nothing; runs of the schedule come and go.
    standing = [command for command in service.processes() if "prefect.engine" not in command]
    assert len(standing) == 2, standing


@pytest.mark.slow
def test_told_to_stop_it_leaves_no_process_behind_not_even_that_of_a_run(tmp_path, campaign):
    served = Served(tmp_path, campaign)
    try:
        served.wait_for("Ready")
        # A run has a process of its own, in a session of its own.
        api = Api(served.url)
        run = api.start("watch", campaign="pilot")
        while api(f"/flow_runs/{run['id']}")[1]["state"]["type"] != "RUNNING":
            assert served.process.poll() is None
        assert len(served.processes()) > 2
    finally:
        status = served.end()
    assert status == 0, served.told()
    assert served.processes() == []
    assert served.log.read_text().splitlines()[-1].endswith("Stopped")
