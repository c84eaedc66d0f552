import pytest

from flows import self_test
from flows.self_test import require
from tasks.errors import HybridScreenError


def test_the_tiny_campaign_runs_through_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = self_test.self_test()
    assert found.repeated == ["self-test-R01-P01"]
    assert found.steps > 20
    assert not list(tmp_path.glob("hybridscreen*"))


def test_it_fails_when_a_round_is_not_what_it_should_be(pilot):
    pilot.open()
    with pytest.raises(HybridScreenError, match="self-test: round 0 is waiting: waits: 0 of 3"):
        require(pilot.round(), "decided", repeats=False)
