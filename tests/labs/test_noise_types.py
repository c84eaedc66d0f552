import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import UserError
from tasks.labs.noise_types import NOISE_TYPES, NoisySurface


def experiments(surface, count, rows=None):
    rows = np.arange(len(surface)) if rows is None else rows
    return np.stack([surface.measure(rows, np.random.default_rng([7, number])) for number in range(count)])


def test_the_surface_is_that_of_the_preprint():
    surface = NoisySurface("I")
    assert len(surface) == 2500
    assert surface.points.shape == (2500, 2)
    assert surface.points.min() == 0.0
    assert surface.points.max() == 2 * np.pi
    x1, x2 = surface.points[1234]
    assert surface.truth[1234] == pytest.approx(np.sin(1.5 * x1) * np.sin(1.5 * x2))
    assert surface.truth.std() == pytest.approx(0.49, abs=0.005)


def test_type_one_measures_the_truth():
    surface = NoisySurface("I")
    rows = np.array([5, 99, 2499])
    assert np.array_equal(surface.measure(rows, np.random.default_rng(0)), surface.truth[rows])
    assert not surface.sd.any()
    assert not surface.covariance(rows).any()


@pytest.mark.parametrize("noise", ["II", "III"])
def test_noise_has_the_covariance_it_says(noise):
    surface = NoisySurface(noise, side=6, correlation_length=1.5)
    seen = np.cov(experiments(surface, 20_000), rowvar=False)
    said = surface.covariance(np.arange(len(surface)))
    # A covariance of n draws has a standard error of at most √2·σ²/√n; 36² of them are looked at.
    assert np.abs(seen - said).max() < 5 * np.sqrt(2 / 20_000) * surface.sd.max() ** 2
    assert np.abs(said - np.diag(np.diag(said))).max() > 0.05 if noise == "III" else np.count_nonzero(said) == 36


def test_types_two_and_three_differ_in_correlation_alone():
    two, three = NoisySurface("II"), NoisySurface("III")
    assert np.array_equal(two.sd, three.sd)
    assert two.sd[0] == 0.05
    assert two.sd[-1] == pytest.approx(0.45)
    rows = np.array([0, 1, 1225, 2499])
    assert np.diag(three.covariance(rows)) == pytest.approx(np.diag(two.covariance(rows)))


def test_type_three_is_alike_nearby_and_forgotten_afar():
    surface = NoisySurface("III")
    near, far = surface.covariance(np.array([1225, 1226])), surface.covariance(np.array([1225, 1249]))
    assert near[0, 1] > 0.95 * near[0, 0]
    assert abs(far[0, 1]) < 0.01 * far[0, 0]


@given(noise=st.sampled_from(NOISE_TYPES), rows=st.lists(st.integers(0, 99), min_size=1, max_size=20, unique=True))
@settings(max_examples=40, deadline=None)
def test_a_points_noise_does_not_depend_on_its_company(noise, rows):
    surface = NoisySurface(noise, side=10)
    whole = surface.measure(np.arange(100), np.random.default_rng(3))
    assert np.array_equal(surface.measure(np.array(rows), np.random.default_rng(3)), whole[rows])


def test_experiments_draw_noise_of_their_own():
    surface = NoisySurface("III")
    first, second = experiments(surface, 2)
    assert np.abs(first - second).max() > 0.5


def test_a_point_is_measured_once():
    with pytest.raises(UserError, match="once in an experiment"):
        NoisySurface("II").measure(np.array([3, 3]), np.random.default_rng(0))


@pytest.mark.parametrize(
    "wrong", [{"noise": "IV"}, {"side": 1}, {"least_sd": -0.1}, {"largest_sd": -0.1}, {"correlation_length": 0.0}]
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(UserError, match="noisy surface"):
        NoisySurface(**({"noise": "II"} | wrong))
