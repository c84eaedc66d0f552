"""A kill at any boundary costs time only. The whole of it: `make faults`; here every n-th point."""

import kill_points
import pytest
from kill_points import try_all

pytestmark = pytest.mark.faults
EVERY = 24


def test_after_a_kill_at_any_boundary_a_restart_gives_what_was_never_disturbed(tmp_path):
    trials, counts = try_all(tmp_path, EVERY)
    assert sum(counts.values()) >= 150
    assert [trial for trial in trials if trial.problems] == []
    reached = sum(trial.reached for trial in trials)
    assert reached >= 0.95 * len(trials) >= 90, f"{reached} of {len(trials)} boundaries were met again"


def test_a_checkpoint_whose_manifest_came_first_is_found_out(tmp_path, monkeypatch):
    """The harness itself: the product, with payload and manifest in the wrong order, does not pass."""
    monkeypatch.setenv("FAULTS_MANIFEST_FIRST", "1")
    scene = next(scene for scene in kill_points.SCENES if scene.name == "round 0 without plates")
    trials, _ = try_all(tmp_path, 2, processes=1, scenes=[scene])
    assert any("a manifest names" in problem for trial in trials for problem in trial.problems)
