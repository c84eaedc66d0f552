"""The anatomy of Ω on solubility with noise of three types: what its figures show holds in numbers."""

import numpy as np
import pytest
from notebook_cells import run_small

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def anatomy():
    return run_small("anatomy_of_omega.ipynb")


def whole(anatomy, kind):
    return anatomy["omega"][kind] @ np.eye(len(anatomy["pool"]))


@pytest.mark.parametrize("kind", ["I", "II", "III"])
def test_omega_is_the_sum_of_its_terms(anatomy, kind):
    terms = anatomy["dense"][kind]
    assert list(terms) == ["Σ_F", "Δ", "Σ_Y"]
    np.testing.assert_allclose(whole(anatomy, kind), sum(terms.values()), atol=1e-9)
    np.testing.assert_allclose(anatomy["omega"][kind].diagonal(), np.diag(whole(anatomy, kind)), atol=1e-9)


def test_types_two_and_three_differ_off_the_diagonal_alone(anatomy):
    noise = {kind: anatomy["dense"][kind]["Σ_Y"] for kind in ("I", "II", "III")}
    np.testing.assert_allclose(np.diag(noise["II"]), np.diag(noise["III"]))
    assert not noise["I"].any()
    assert anatomy["shares"]["II"]["Σ_Y"] == pytest.approx(0, abs=1e-12)
    assert anatomy["shares"]["III"]["Σ_Y"] > 0.5
    share = anatomy["off_diagonal_share"]
    assert share(whole(anatomy, "III")) > share(whole(anatomy, "II"))


def test_noise_of_plates_has_as_many_large_modes_as_there_are_plates(anatomy):
    values = np.linalg.eigvalsh(anatomy["dense"]["III"]["Σ_Y"])[::-1]
    plates = anatomy["plates"]
    assert plates == 15
    assert values[plates - 1] > 10 * values[plates]


def test_residuals_of_a_plate_go_together_as_omega_says(anatomy):
    same, different = (dict(zip("123", anatomy["found"][name], strict=True)) for name in anatomy["found"])
    expected = anatomy["expected"][2]
    assert same["3"] == pytest.approx(expected, abs=0.45 * expected)  # ten times fifteen plates: 12% by chance
    for value in (*different.values(), same["1"], same["2"]):
        assert abs(value) < expected / 4


def test_calibrated_error_is_nearer_to_what_is_seen_than_the_members_spread(anatomy):
    for kind in ("I", "II", "III"):
        seen = np.square(anatomy["seen"][kind]).mean()
        raw = anatomy["omega"][kind].diagonal().mean()
        calibrated = (anatomy["calibrated"][kind] + anatomy["terms"][kind]["Σ_Y"].diagonal()).mean()
        assert abs(calibrated - seen) < abs(raw - seen)


def test_plate_noise_is_taken_for_bias_by_who_knows_the_variances_alone(anatomy):
    mistaken = {key: np.array(values) for key, values in anatomy["mistaken"].items()}
    assert (mistaken["III", "variances"] >= mistaken["III", "all"] - 1e-12).all()
    assert mistaken["III", "variances"].mean() > 1.5 * mistaken["III", "all"].mean()
    assert anatomy["worth"]["III", "all"] < anatomy["worth"]["III", "variances"] / 2


def test_figures_show_these_numbers(anatomy):
    drawn = {trace.name: np.asarray(trace.z) for trace in anatomy["maps"].data[4:]}
    shown = np.ix_(anatomy["shown"], anatomy["shown"])
    np.testing.assert_array_equal(drawn["Σ_Y"], anatomy["dense"]["III"]["Σ_Y"][shown])
    np.testing.assert_array_equal(drawn["Ω"], whole(anatomy, "III")[shown])
    heights = [np.sum([trace.y[group] for trace in anatomy["diagonal"].data[-5:-2]]) for group in range(6)]
    assert heights == sorted(heights)
    mean = anatomy["omega"]["III"].diagonal().mean()
    assert np.mean(heights) == pytest.approx(mean)
