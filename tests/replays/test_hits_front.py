"""A better model or more hits: which arms nobody beats in both."""

import numpy as np
import pandas as pd
import pytest

from tasks.replays.front import hits_front, not_beaten

ENDS = {"random": (0.50, 0.2), "model": (0.30, 0.3), "hits": (0.45, 0.8), "neither": (0.46, 0.5)}


def played(ends=ENDS, seeds=4, rounds=2):
    """Arms that end at the errors and hits of `ends`, the seeds spread around them; before, all are alike."""
    rows = [
        (screen, arm, seed, number, *((error + wide, hits + wide) if number == rounds else (1.0, 0.1)))
        for screen, shift in (("a", 0.0), ("b", 0.1))
        for arm, (error, hits) in ends.items()
        for seed, wide in enumerate(np.linspace(-0.02, 0.02, seeds) + shift)
        for number in range(rounds + 1)
    ]
    return pd.DataFrame(rows, columns=["screen", "arm", "seed", "round", "rmse", "hits_found"])


def test_the_last_round_is_shown_and_who_is_beaten_in_both_is_off_the_front():
    found = hits_front(played()).set_index(["screen", "arm"])
    for screen, shift in (("a", 0.0), ("b", 0.1)):
        assert found.loc[screen]["best"].to_dict() == {"random": False, "model": True, "hits": True, "neither": False}
        assert found.loc[(screen, "hits"), "error"] == pytest.approx(0.45 + shift)
        assert found.loc[(screen, "hits"), "hits"] == pytest.approx(0.8 + shift)
    assert (found["error_low"] < found["error"]).all()
    assert (found["hits"] < found["hits_high"]).all()
    assert (found["seeds"] == 4).all()


def test_campaigns_without_hits_are_left_out():
    table = played()
    table.loc[(table["arm"] == "hits"), "hits_found"] = np.nan
    found = hits_front(table)
    assert "hits" not in set(found["arm"])
    assert hits_front(table.assign(hits_found=np.nan)).empty


def test_intervals_end_where_figures_do():
    found = hits_front(played({"random": (0.01, 0.99), "other": (0.01, 0.01)}, seeds=2)[lambda t: t["screen"] == "a"])
    assert found[["error_low", "hits_low"]].min().tolist() == [0.0, 0.0]
    assert found["hits_high"].max() == 1.0


def test_equals_beat_nobody():
    error, hits = np.array([0.3, 0.3, 0.3, 0.4]), np.array([0.5, 0.5, 0.4, 0.5])
    assert not_beaten(error, hits).tolist() == [True, True, False, False]


def test_not_beaten_is_what_comparing_every_pair_says():
    rng = np.random.default_rng(0)
    error, hits = rng.integers(0, 6, (2, 40)).astype(float)
    beaten = [
        any(e <= error[i] and h >= hits[i] and (e, h) != (error[i], hits[i]) for e, h in zip(error, hits, strict=True))
        for i in range(40)
    ]
    assert (~not_beaten(error, hits)).tolist() == beaten
