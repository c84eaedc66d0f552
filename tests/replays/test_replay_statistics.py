"""Differences, intervals, corrections and ranks against what is known by other means."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tasks.replays.statistics import by_round, by_screen, holm, interval, labels_to_reach, over_screens, paired, ranks


def played(effects, seeds=6, rounds=3, noise=0.05, screens=("a", "b"), rng=None):
    """Errors of arms: a seed's luck that all arms share, an arm's factor, and noise of its own."""
    rng = rng or np.random.default_rng(0)
    rows = []
    for screen in screens:
        for seed in range(seeds):
            luck = np.exp(rng.normal(0, 0.5))
            for arm, effect in {"random": 0.0, **effects}.items():
                for number in range(rounds + 1):
                    error = luck * np.exp(-0.3 * number + (effect if number else 0.0) + rng.normal(0, noise))
                    rows.append((screen, arm, seed, number, 100 + 50 * number, error))
    return pd.DataFrame(rows, columns=["screen", "arm", "seed", "round", "labels", "rmse"])


def test_pairing_takes_the_luck_of_the_seed_away():
    found = by_screen(paired(played({"good": -0.2}), "rmse"))
    assert found["difference"].to_numpy() == pytest.approx(-0.2, abs=0.05)
    assert ((found["high"] - found["low"]) < 0.12).all()  # luck alone varies by 0.5
    assert (found["p"] < 0.01).all()


def test_round_zero_and_rounds_that_one_did_not_play_do_not_count():
    table = played({"good": -0.2})
    table = table[~((table["arm"] == "good") & (table["round"] == 3))]
    assert set(paired(table, "rmse")["round"]) == {1, 2}


def test_shares_are_compared_plainly():
    table = played({"good": 0.1}).assign(hits_found=lambda t: t["rmse"])
    plain = paired(table, "hits_found")
    both = table[table["round"] > 0].pivot_table(index=["screen", "seed", "round"], columns="arm", values="rmse")
    assert plain["difference"].mean() == pytest.approx((both["good"] - both["random"]).mean())


def test_the_interval_is_students_and_holds_what_it_should():
    rng = np.random.default_rng(1)
    values = rng.normal(size=7)
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    assert interval(values) == pytest.approx((values.mean(), low, high))
    held = [interval(rng.normal(0.3, 1, 5))[1:] for _ in range(2000)]
    assert np.mean([low <= 0.3 <= high for low, high in held]) == pytest.approx(0.95, abs=0.015)
    assert np.isnan(interval(values[:1])[1])


def test_over_screens_the_interval_holds_the_mean_of_these_screens():
    rng = np.random.default_rng(2)
    held = []
    for _ in range(300):
        found = over_screens(paired(played({"arm": -0.1}, seeds=4, rounds=1, rng=rng), "rmse"), low_is_good=True).iloc[
            0
        ]
        held.append(found["low"] <= -0.1 <= found["high"])
    assert np.mean(held) > 0.9  # 0.95 but for chance
    assert found["screens"] == 2
    assert found["worst"] >= found["difference"]


def test_the_worst_screen_is_the_one_where_the_arm_does_worst():
    low = paired(pd.concat([played({"arm": 0.1}, screens=("a",)), played({"arm": -0.3}, screens=("b",))]), "rmse")
    assert over_screens(low, low_is_good=True).iloc[0]["worst"] == pytest.approx(0.1, abs=0.05)
    assert over_screens(low, low_is_good=False).iloc[0]["worst"] == pytest.approx(-0.3, abs=0.05)


def test_one_screen_overall_is_that_screen():
    differences = paired(played({"arm": -0.1}, screens=("a",)), "rmse")
    one, all_ = by_screen(differences).iloc[0], over_screens(differences, low_is_good=True).iloc[0]
    assert [all_[name] for name in ("difference", "low", "high", "p_single")] == pytest.approx(
        [one[name] for name in ("difference", "low", "high", "p_single")]
    )


def test_by_round_has_a_row_for_each():
    found = by_round(paired(played({"good": -0.2, "bad": 0.2}), "rmse"))
    assert len(found) == 2 * 2 * 3
    assert (found.loc[found["arm"] == "bad", "difference"] > 0.1).all()
    assert (found["seeds"] == 6).all()


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, np.nan])), [0.03, 0.06, 0.06, np.nan])
    np.testing.assert_allclose(holm(np.array([0.6, 0.9])), [1.0, 1.0])


def test_holm_keeps_false_alarms_of_a_family_in_check():
    rng = np.random.default_rng(3)
    false = [(holm(rng.uniform(size=10)) < 0.05).any() for _ in range(2000)]
    assert np.mean(false) < 0.065


def test_ranks_by_hand():
    table = played({"good": -0.5, "bad": 0.5}, noise=0.0, screens=("a", "b", "c"))
    mean, p, critical = ranks(table, "rmse", low_is_good=True)
    assert mean.to_dict() == {"good": 1.0, "random": 2.0, "bad": 3.0}
    assert p == pytest.approx(stats.friedmanchisquare([1, 1, 1], [2, 2, 2], [3, 3, 3]).pvalue)
    assert critical == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 3)), rel=1e-3)  # q of Demšar 2006, table 5
    turned, _, _ = ranks(table, "rmse", low_is_good=False)
    assert turned.index[0] == "bad"
    assert np.isnan(ranks(table[table["arm"] != "bad"], "rmse", low_is_good=True)[2])


def test_labels_to_reach_are_read_between_rounds():
    curves = {"random": [1.0, 0.8, 0.6, 0.5], "good": [1.0, 0.6, 0.4, 0.3], "bad": [1.0, 0.9, 0.8, 0.7]}
    rows = [("a", arm, 0, t, 100 * (t + 1), e) for arm, errors in curves.items() for t, e in enumerate(errors)]
    table = pd.DataFrame(rows, columns=["screen", "arm", "seed", "round", "labels", "rmse"])
    found = labels_to_reach(table, "rmse", low_is_good=True).set_index("arm")["share"]
    assert found["random"] == pytest.approx(1.0)
    assert found["good"] == pytest.approx(250 / 400)
    assert np.isnan(found["bad"])
