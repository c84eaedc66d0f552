"""Whatever a family of processes has started is gone when it ends, however stubborn."""

import sys
import time

import psutil
import pytest

from flows.processes import Family
from tasks.errors import HybridScreenError

#: Ignores SIGTERM, and so does its child, which is in a session of its own; its parent dies at once.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
middle = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {code!r}], start_new_session=True)"
subprocess.run([sys.executable, "-c", middle], check=True)
print("up", flush=True)
time.sleep(600)
"""


def carriers(mark):
    """Processes that have the variable MARK in their environment."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.environ().get("MARK") == mark and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each.pid)
        except psutil.Error:
            continue
    return found


def test_stubborn_orphans_in_sessions_of_their_own_are_ended_too(tmp_path):
    with Family(tmp_path, {"MARK": str(tmp_path)}, grace=0.5) as family:
        family.start("server", [sys.executable, "-c", STUBBORN])
        while (log := (tmp_path / "server.log").read_text()).count("\n") < 2:
            family.require_alive()
            time.sleep(0.05)
        assert sorted(log.split()) == ["ready", "up"]
        assert len(carriers(str(tmp_path))) == 2
    assert carriers(str(tmp_path)) == []


def test_one_that_ended_by_itself_is_named_with_its_log(tmp_path):
    with Family(tmp_path, {}) as family:
        before = set(psutil.Process().children())
        family.start("worker", [sys.executable, "-c", "raise SystemExit(3)"])
        (started,) = set(psutil.Process().children()) - before
        while started.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.05)
        with pytest.raises(HybridScreenError, match=r"the worker ended with status 3; see .*worker.log"):
            family.require_alive()
