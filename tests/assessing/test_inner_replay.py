"""The replay inside the observed labels: what it may see, that it is paired, and that it finds what is there."""

import numpy as np
import pandas as pd
import pytest
from observed_sets import TINY, observe

from tasks.assessing.assess import assess_screen
from tasks.assessing.findings import Assessment
from tasks.assessing.inner_replay import replay_once, split
from tasks.assessing.observed import Observed, light
from tasks.assessing.replay_evidence import weigh
from tasks.campaigns.ensemble_settings import ForestSettings
from tasks.errors import UserError


def flat(said):
    return np.full(len(said), 0.01)


def test_tests_are_of_those_drawn_at_random_and_have_nothing_in_common():
    drawn = np.arange(120) < 70
    observed = observe(120, drawn=drawn)
    parts = [split(observed, number, 3, 4) for number in range(4)]
    tests = np.concatenate([part.test for part in parts])
    assert sorted(tests) == np.flatnonzero(drawn).tolist()
    for part in parts:
        rows = np.concatenate([part.test, part.start, part.rest])
        assert sorted(rows) == list(range(120))


@pytest.mark.parametrize(("n", "drawn"), [(59, 59), (100, 11)])
def test_too_few_labels_are_said_to_be_too_few(n, drawn):
    with pytest.raises(UserError, match="too few labels to assess"):
        split(observe(n, drawn=np.arange(n) < drawn), 0, 0, 6)


@pytest.mark.parametrize("operator", ["reducible", "calibrated"])
def test_a_repeat_is_paired_and_the_same_every_time(way, operator):
    observed = observe()
    first = replay_once(observed, way(operator=operator), flat, 1, 7)
    tested = first.tested
    sizes = tested.groupby("arm")["labels"].first()
    assert sizes["active"] == sizes["random"] > sizes["start"]
    assert all(rows["row"].tolist() == split(observed, 1, 7, 6).test.tolist() for _, rows in tested.groupby("arm"))
    assert np.isfinite(tested[["measured", "predicted", "sd"]]).all(axis=None)
    assert tested.loc[tested["arm"] == "start", "informativeness"].gt(0).all()
    pd.testing.assert_frame_equal(tested, replay_once(observed, way(operator=operator), flat, 1, 7).tested)


def test_labels_of_the_test_reach_no_prediction(way):
    observed = observe()
    test = split(observed, 0, 7, 6).test
    poisoned = observed.values.copy()
    poisoned[test] = 1e6
    other = Observed(observed.features, poisoned, observed.variances)
    clean, dirty = (replay_once(each, way(), flat, 0, 7).tested for each in (observed, other))
    pd.testing.assert_frame_equal(clean.drop(columns="measured"), dirty.drop(columns="measured"))
    assert (dirty["measured"] == 1e6).all()


def test_the_strategy_sees_no_label_that_it_could_choose(way):
    observed = observe()
    parts = split(observed, 0, 7, 6)
    poisoned = observed.values.copy()
    poisoned[parts.rest] = 1e6
    other = Observed(observed.features, poisoned, observed.variances)
    clean, dirty = (replay_once(each, way(), flat, 0, 7).tested for each in (observed, other))
    start = clean["arm"] == "start"
    pd.testing.assert_frame_equal(clean[start], dirty[start])
    assert not np.allclose(clean[~start]["predicted"], dirty[~start]["predicted"])


def test_random_alone_has_no_pairs(way):
    tested = replay_once(observe(), way("random"), flat, 0, 7).tested
    evidence = weigh(tested, "continuous", 80, 0)
    assert evidence.pairs == ()
    assert evidence.difference.value is None
    assert evidence.signal.value is not None


def test_classes_are_told_by_the_share_that_is_wrong(way):
    observed = observe()
    classes = Observed(observed.features, (observed.values > 0).astype(float), observed.variances)
    both = [replay_once(classes, way(kind="binary"), flat, number, 7).tested for number in (0, 1)]
    evidence = weigh(pd.concat(both), "binary", 80, 0)
    for pair in evidence.pairs:
        assert pair.difference == pytest.approx(pair.active - pair.random)
        assert 0 <= pair.active <= 1
    assert evidence.coverage.value is None


def test_light_settings_keep_the_model_and_its_size():
    settings = light(TINY.model_copy(update={"members": 16}))
    assert (settings.members, settings.epochs, settings.hidden) == (4, 2, (8,))
    assert light(ForestSettings(model="forest")).members == 25


def test_of_the_test_as_large_a_share_would_be_measured_as_of_the_rest(way):
    observed = observe(300)
    tested = pd.concat([replay_once(observed, way(), flat, number, 7).tested for number in range(6)])
    left = {arm: rows["left"] for arm, rows in tested.groupby("arm")}
    assert (left["start"] == 1).all()
    assert left["random"].to_numpy() == pytest.approx(2 / 3, abs=0.01)
    assert set(left["active"]) == {0.0, 1.0}
    assert left["active"].mean() == pytest.approx(2 / 3, abs=0.1)


def made_up(strategy_error, seed=0):
    """Tables of a replay in which the strategy's errors are so many times those of random order."""
    rng = np.random.default_rng(seed)
    tables = []
    for repeat in range(6):
        measured = rng.normal(size=50)
        for arm, size in (("start", 0.6), ("random", 0.4), ("active", 0.4 * strategy_error)):
            error = size * rng.normal(size=50)
            tables.append(
                pd.DataFrame(
                    {
                        "arm": arm, "labels": 100, "row": np.arange(50) + 50 * repeat, "measured": measured,
                        "predicted": measured + error, "sd": size, "informativeness": error**2, "baseline": 0.0,
                        "left": 1.0, "repeat": repeat,
                    }
                )
            )  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def test_the_difference_is_the_log_of_the_ratio():
    evidence = weigh(made_up(0.5), "continuous", 300, 0)
    assert evidence.difference.low < np.log(0.5) < evidence.difference.high < 0
    assert weigh(made_up(2.0), "continuous", 300, 0).difference.low > 0
    assert evidence.agreement.value == pytest.approx(1.0)
    assert evidence.coverage.value == pytest.approx(0.9, abs=0.05)
    assert evidence.signal.low < 1 - 0.16 < evidence.signal.high


def test_who_measures_what_the_model_has_wrong_wins_though_the_model_is_no_better():
    tables = made_up(1.0)
    tables["predicted"] = np.where(tables["arm"] == "active", np.nan, tables["predicted"])
    tables = tables.assign(predicted=tables.groupby("row")["predicted"].transform("last"))  # both models are one
    wrong = (tables["measured"] - tables["predicted"]).abs()
    tables.loc[tables["arm"] == "active", "left"] = (wrong <= wrong.quantile(0.7)).astype(float)
    tables.loc[tables["arm"] == "random", "left"] = 0.7
    evidence = weigh(tables, "continuous", 300, 0)
    assert evidence.model.value == 0.0
    assert evidence.difference.value < np.log(0.7)
    assert evidence.difference.high < 0
    classes = tables.assign(
        measured=(tables["measured"] > 0).astype(float), predicted=(tables["predicted"] > 0).astype(float)
    )
    for pair, (_, rows) in zip(weigh(classes, "binary", 300, 0).pairs, classes.groupby("repeat"), strict=True):
        error = (rows["measured"] != rows["predicted"]) & (rows["arm"] == "active")
        assert pair.model_difference == 0.0
        assert pair.random == pytest.approx(0.7 * error.sum() / 50)
        assert pair.active == pytest.approx((error & (rows["left"] == 1)).sum() / 50)


def test_a_small_test_that_would_all_be_measured_wins_by_ten_at_most():
    tables = made_up(1.0)
    tables.loc[tables["arm"] == "active", "left"] = 0.0
    assert weigh(tables, "continuous", 300, 0).difference.value == pytest.approx(-np.log(10))


def test_an_assessment_survives_json(way):
    observed = observe()
    found = assess_screen(observed, observed.features, way(repeats=3), 0)
    assert Assessment.model_validate_json(found.model_dump_json()) == found
    assert found.schema_version == 1
    assert len(found.pairs) == 3
