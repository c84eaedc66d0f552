"""Finished screens: read, parted, answered from."""

import numpy as np
import pandas as pd
import pytest
from hills import N, made_up_screen

from tasks.campaigns.config import ReadoutSection
from tasks.errors import UserError
from tasks.replays.readings import read_labels
from tasks.replays.screens import as_screen, classes, read_screen, split
from tasks.replays.settings import NoiseSection, ProtocolSection, ReadoutSettings, ScreenSection

CONTINUOUS = ReadoutSection(tolerance=0.5)


def section(path, **change):
    return ScreenSection(
        **({"name": "hills", "uri": str(path), "value": ("value_0", "value_1"), "features": "f"} | change)
    )


@pytest.fixture
def screen(screen_file):
    return as_screen(read_screen(section(screen_file, truth=("truth",))))


def test_values_are_in_sds_of_the_label_from_its_mean(screen):
    label = screen.measured.mean(axis=1)
    assert label.mean() == pytest.approx(0, abs=1e-12)
    assert label.std() == pytest.approx(1)
    table = made_up_screen()
    raw = table[["value_0", "value_1"]].mean(axis=1)
    np.testing.assert_allclose(screen.truth, (table["truth"] - raw.mean()) / raw.std(ddof=0))
    assert screen.features.shape == (N, 4)


def test_values_are_never_features(screen_file):
    stored = read_screen(section(screen_file, features="X", value=("value_0",), truth=("truth",)))
    assert list(stored.var_names) == ["f0", "f1", "f2", "f3", "value_1"]


def test_perturbations_without_a_value_are_left_out(tmp_path):
    table = made_up_screen()
    table.loc[:9, "value_0"] = np.nan
    table.to_csv(tmp_path / "gaps.csv", index=False)
    found = as_screen(read_screen(section(tmp_path / "gaps.csv")))
    assert len(found) == N - 10
    assert "CPD-000" not in found.ids


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": ("nosuch",)}, "no column 'nosuch'"),
        ({"truth": ("nosuch",)}, "no column 'nosuch'"),
    ],
)
def test_a_missing_column_is_named(screen_file, change, said):
    with pytest.raises(UserError, match=said):
        read_screen(section(screen_file, **change))


def test_a_screen_without_variation_or_of_few_perturbations_is_refused(tmp_path):
    table = made_up_screen()
    table.assign(value_0=1.0).to_csv(tmp_path / "flat.csv", index=False)
    with pytest.raises(UserError, match="all values are the same"):
        read_screen(section(tmp_path / "flat.csv", value=("value_0",)))
    table.head(20).to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(UserError, match="too few perturbations"):
        read_screen(section(tmp_path / "few.csv"))


def test_a_split_depends_on_the_seed_alone_and_parts_all(screen):
    protocol = ProtocolSection(test=0.2, initial=40, batch=20, rounds=2)
    pool, test = split(screen, protocol, 1)
    assert sorted(pool.ids + test.ids) == sorted(screen.ids)
    assert len(test) == round(0.2 * N)
    again = split(screen, protocol, 1)[0]
    assert again.ids == pool.ids
    assert split(screen, protocol, 2)[0].ids != pool.ids
    smaller, same = split(screen, protocol.model_copy(update={"pool": 100}), 1)
    assert len(smaller) == 100
    assert same.ids == test.ids
    assert set(smaller.ids) < set(pool.ids)


def test_a_pool_that_is_too_small_is_refused(screen):
    with pytest.raises(UserError, match="the pool is too small"):
        split(screen, ProtocolSection(initial=200, batch=60), 0)


def test_classes_are_above_the_median_or_a_threshold(screen):
    halves = classes(screen, ReadoutSettings(kind="binary"))
    assert halves.truth.mean() == pytest.approx(0.5, abs=0.01)
    few = classes(screen, ReadoutSettings(kind="binary", threshold=1.5))
    assert 0 < few.truth.mean() < 0.15
    assert classes(screen, ReadoutSettings()) is screen


def batches(screen):
    return {0: np.arange(0, 80), 1: np.arange(100, 160)}


def test_replicates_tell_the_noise_of_labels(screen):
    reading = read_labels(screen, batches(screen), None, CONTINUOUS, 0)
    labels, noise = reading.labels, reading.noise
    rows = np.concatenate(list(batches(screen).values()))
    assert labels.table["perturbation"].tolist() == sorted(screen.ids[row] for row in rows)
    expected = dict(zip(screen.ids, screen.measured.mean(axis=1), strict=True))
    np.testing.assert_allclose(labels.table["value"], [expected[name] for name in labels.table["perturbation"]])
    within = np.square(screen.measured[rows, 0] - screen.measured[rows, 1]).mean() / 2
    assert noise.average == pytest.approx(within, rel=0.3)
    assert (labels.table["n"] == 2).all()


def test_a_single_value_is_exact(screen_file):
    single = as_screen(read_screen(section(screen_file, value=("value_0",))))
    reading = read_labels(single, batches(single), None, CONTINUOUS, 0)
    labels, noise = reading.labels, reading.noise
    assert not labels.table["variance"].any()
    assert noise.average < 1e-6
    expected = dict(zip(single.ids, single.measured[:, 0], strict=True))
    np.testing.assert_array_equal(labels.table["value"], [expected[name] for name in labels.table["perturbation"]])


def error_of(screen, noise, seed=0):
    reading = read_labels(screen, batches(screen), noise, CONTINUOUS, seed)
    labels, model = reading.labels, reading.noise
    truth = pd.Series(screen.truth, index=screen.ids).loc[labels.table["perturbation"]].to_numpy()
    return labels.table["value"].to_numpy() - truth, labels, model, truth


def test_added_noise_is_what_was_asked_for_and_is_known(screen):
    error, labels, model, _ = error_of(screen, NoiseSection(level=0.4, replicates=2))
    assert error.std() == pytest.approx(0.4 / np.sqrt(2), rel=0.25)
    assert np.sqrt(model.average) == pytest.approx(0.4, rel=0.2)
    assert (labels.table["n"] == 2).all()


def test_type_ii_noise_grows_with_the_value_and_the_model_sees_it(screen):
    error, _, model, truth = error_of(screen, NoiseSection(level=0.3, slope=0.6, replicates=4))
    high = truth > np.median(truth)
    assert error[high].std() > 1.3 * error[~high].std()
    low, above = model.well_variance(np.array([-1.0, 1.0]))
    assert above > 1.5 * low


def test_type_iii_noise_is_shared_by_plates_until_controls_remove_it(screen):
    few, many = (NoiseSection(level=0.3, plate=3.0, wells=20, controls=count) for count in (2, 32))
    for noise, largest in ((few, 0.5), (many, 0.3)):
        error, _, model, _ = error_of(screen, noise)
        assert error.std() < largest  # the plates' own 3 sds are gone
        assert min(model.plates.values()) > 0
    assert np.mean(list(error_of(screen, few)[2].plates.values())) > 4 * np.mean(
        list(error_of(screen, many)[2].plates.values())
    )


def test_noise_is_the_same_for_the_same_seed_and_stays_when_rounds_are_added(screen):
    noise = NoiseSection(level=0.4)
    first = error_of(screen, noise)[1].table
    pd.testing.assert_frame_equal(first, error_of(screen, noise)[1].table)
    assert not np.allclose(first["value"], error_of(screen, noise, seed=1)[1].table["value"])
    alone = read_labels(screen, {0: np.arange(0, 80)}, noise, CONTINUOUS, 0).labels
    both = first.set_index("perturbation").loc[alone.table["perturbation"], "value"]
    # The wells are the same; how replicates are weighed depends on the noise that all of them tell.
    np.testing.assert_allclose(both, alone.table["value"], atol=0.02)


def test_a_perturbation_is_read_while_one_of_its_plates_is(screen):
    rows = batches(screen)
    noise = NoiseSection(level=0.4, replicates=2, wells=20, failures=0.5)
    reading = read_labels(screen, rows, noise, CONTINUOUS, 0)
    counts = reading.labels.table.set_index("perturbation")["n"]
    assert set(counts) == {1, 2}
    assert set(counts.index) == set().union(*reading.read.values())
    assert 0 < sum(map(len, reading.read.values())) < 140
    whole = read_labels(screen, rows, noise.model_copy(update={"failures": 0.0}), CONTINUOUS, 0)
    assert [len(read) for read in whole.read.values()] == [80, 60]
