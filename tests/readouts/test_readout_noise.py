from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.campaigns.config import AlignmentSection
from tasks.errors import UserError
from tasks.readouts.alignment import apply_alignment, fit_alignment
from tasks.readouts.noise import NoiseModel
from tasks.readouts.noise_estimate import estimate_noise
from tasks.readouts.replicates import aggregate
from tasks.readouts.robust import control_moments, mad_sd, pairwise_variance
from tasks.readouts.sigma_y import SigmaY, sigma_y
from tasks.readouts.well_noise import MIN_REPLICATE_DF


def _pipeline(wells, plates, method="two-point", shrinkage=False):
    fit = fit_alignment(wells, AlignmentSection(method=method, shrinkage=shrinkage), plates)
    aligned = apply_alignment(wells, fit)
    return aligned, fit, estimate_noise(aligned, [fit])


def _tables(shares):
    """Labels and incidence from rows of shares over plates."""
    names = [f"x{i}" for i in range(len(shares))]
    labels = pd.DataFrame(
        {"perturbation": names, "value": np.arange(len(names), dtype=float), "n": 1, "variance": 0.5, "plates": "P"}
    )
    incidence = pd.DataFrame(
        [(names[i], f"P{p}.1", share) for i, row in enumerate(shares) for p, share in enumerate(row) if share > 0],
        columns=["perturbation", "barcode", "weight"],
    )
    return labels, incidence


def _dense(labels, incidence, noise, names):
    """Σ_Y entry by entry, from its definition."""
    label = labels.set_index("perturbation")
    share = {(row.perturbation, row.barcode): row.weight for row in incidence.itertuples()}
    sigma = np.diag([label.loc[name, "variance"] for name in names])
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            for key, variance in noise.plates.items():
                anchor = noise.anchors[noise.runs[key]]
                lever = (label.loc[a, "value"] - anchor) * (label.loc[b, "value"] - anchor)
                both = share.get((a, key), 0.0) * share.get((b, key), 0.0)
                sigma[i, j] += both * (variance + lever * noise.scales[key])
            for run, variance in noise.run_variances.items():
                keys = [key for key in noise.plates if noise.runs[key] == run]
                sigma[i, j] += variance * np.prod([sum(share.get((x, key), 0.0) for key in keys) for x in (a, b)])
    return sigma


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_sigma_y_equals_its_dense_definition(make_noise, seed, n, n_plates):
    rng = np.random.default_rng(seed)
    shares = rng.random((n, n_plates)) * rng.integers(0, 2, (n, n_plates))
    shares[:, 0] += 0.1
    shares /= shares.sum(axis=1, keepdims=True)
    labels, incidence = _tables(shares)
    noise = make_noise(
        [f"P{p}.1" for p in range(n_plates)],
        offset=list(rng.random(n_plates)),
        scale=list(0.1 * rng.random(n_plates)),
        runs=[f"R{run}" for run in rng.integers(0, 2, n_plates)],
        run_variances={"R0": float(rng.random()), "R1": 0.5},
        anchors={"R0": 2.0, "R1": -1.0},
    )
    names = [f"x{i}" for i in rng.permutation(n)]
    sigma = sigma_y(labels, incidence, noise, names, kind="continuous")
    dense = _dense(labels, incidence, noise, names)
    phi = rng.standard_normal((n, 3))
    np.testing.assert_allclose(sigma.matvec(np.eye(n)), dense, atol=1e-12)
    np.testing.assert_allclose(sigma.matvec(phi[:, 0]), dense @ phi[:, 0], atol=1e-12)
    np.testing.assert_allclose(sigma.diagonal(), np.diag(dense), atol=1e-12)
    np.testing.assert_allclose(sigma.quadratic(phi), phi.T @ dense @ phi, atol=1e-10)
    assert np.linalg.eigvalsh(dense).min() > 0


def test_binary_labels_have_no_plate_blocks(make_wells, plates, binary):
    aligned, _, noise = _pipeline(make_wells(offsets=(0.0, 1.0)), plates)
    labels, incidence, _ = aggregate(aligned, noise, binary)
    sigma = sigma_y(labels, incidence, noise, kind="binary")
    np.testing.assert_allclose(sigma.matvec(np.eye(len(labels))), np.diag(labels["variance"]))


def _campaign_errors(make_wells, plates, continuous, campaigns):
    truth = {f"x{i:02d}": value for i, value in enumerate(np.linspace(-4.0, 14.0, 24))}
    errors, sigmas = [], []
    for seed in range(campaigns):
        wells = make_wells(seed=seed, offsets=(3.0, -50.0), scales=(2.0, 0.7), negcon=6, poscon=6, truth=truth)
        aligned, _, noise = _pipeline(wells, plates)
        labels, incidence, _ = aggregate(aligned, noise, continuous)
        errors.append(labels["value"].to_numpy() - np.array(list(truth.values())))
        sigmas.append(sigma_y(labels, incidence, noise, kind="continuous"))
    return np.array(errors), sigmas


def test_sigma_y_is_the_covariance_of_the_labels_errors(make_wells, plates, continuous):
    """Sums, differences between ends and single labels: all of plate offset, plate scale and well noise is needed."""
    errors, sigmas = _campaign_errors(make_wells, plates, continuous, campaigns=80)
    n = errors.shape[1]
    tilt = np.linspace(-1.0, 1.0, n)
    for direction in (np.ones(n), tilt, np.eye(n)[0], np.eye(n)[n // 2]):
        found = np.mean((errors @ direction) ** 2)
        said = np.mean([direction @ sigma.matvec(direction) for sigma in sigmas])
        assert said / found == pytest.approx(1.0, abs=0.25)
    independent = np.mean([sigma.diagonal_part.sum() for sigma in sigmas])
    assert np.mean(errors.sum(axis=1) ** 2) > 2 * independent


def test_replicates_tell_the_well_variance(make_wells, plates):
    truth = {f"x{i:03d}": float(i % 7) for i in range(300)}
    wells = make_wells(seed=4, offsets=(0.0, 5.0, 9.0), scales=(1.0, 2.0, 1.5), truth=truth, noise=1.3)
    _, _, noise = _pipeline(wells, plates)
    assert noise.source == "replicates"
    assert noise.n == 598
    assert noise.average == pytest.approx(1.3**2, rel=0.1)


def test_plate_errors_are_not_taken_for_well_noise(make_wells, plates):
    """Two controls a plate: offsets are off by about one sd, which would add to every difference of replicates."""
    truth = {f"x{i:03d}": 5.0 for i in range(300)}
    estimates, naive = [], []
    for seed in range(25):
        wells = make_wells(seed=seed, offsets=(0.0, 5.0, 2.0), negcon=4, poscon=4, truth=truth)
        aligned, _, noise = _pipeline(wells, plates)
        estimates.append(noise.average)
        naive.append(aligned[aligned["role"] == "sample"].groupby("perturbation")["aligned"].var().mean())
    assert abs(np.mean(estimates) - 1.0) < abs(np.mean(naive) - 1.0)
    assert np.mean(estimates) == pytest.approx(1.0, abs=0.12)


def test_few_replicates_leave_it_to_the_controls(make_wells, plates):
    for samples, source in ((MIN_REPLICATE_DF, "negcon"), (MIN_REPLICATE_DF + 1, "replicates")):
        truth = {f"x{i:02d}": float(i) for i in range(samples)}
        _, _, noise = _pipeline(make_wells(seed=2, offsets=(0.0, 0.0), truth=truth), plates)
        assert noise.source == source


def test_copied_replicates_do_not_make_the_noise_vanish(make_wells, plates):
    truth = {f"x{i:02d}": i / 10 for i in range(100)}
    wells = make_wells(offsets=(0.0, 0.0), truth=truth)
    samples = wells["role"] == "sample"
    wells.loc[samples, "value"] = wells.loc[samples, "perturbation"].map(truth)
    _, fit, noise = _pipeline(wells, plates)
    assert noise.source == "negcon"
    assert noise.average == noise.floor
    np.testing.assert_allclose(noise.well_variance([0.0, 50.0]), noise.floor)
    assert 0.2 * fit.control_noise**2 < noise.floor < fit.control_noise**2


def test_row_order_changes_no_bit(make_wells, plates):
    truth = {f"x{i:02d}": float(i) for i in range(100)}
    aligned, fit, noise = _pipeline(make_wells(offsets=(0.0, 0.0), truth=truth), plates)
    assert estimate_noise(aligned.sample(frac=1.0, random_state=1), [fit]) == noise


def test_json_round_trip(make_wells, plates):
    _, _, noise = _pipeline(make_wells(offsets=(0.0, 1.0)), plates)
    assert NoiseModel.model_validate_json(noise.model_dump_json()) == noise


def _over_runs(make_wells, plates, seed, *, run_sd=0.0, plate_sd=0.0, runs=8, per_run=4):
    """Samples that runs or plates shift beside their controls: alignment cannot see it, replicates can."""
    rng = np.random.default_rng(seed)
    truth = {f"x{i:03d}": float(i % 9) for i in range(120)}
    tables, fits = [], []
    for run in range(runs):
        wells = make_wells(seed=1000 * seed + run, offsets=(0.0,) * per_run, truth=truth, negcon=32, run=f"R{run}")
        wells["barcode"] += f"-{run}"
        sample = wells["role"] == "sample"
        shift = dict(zip(sorted(set(wells["barcode"])), rng.normal(0, plate_sd, per_run), strict=True))
        wells.loc[sample, "value"] += wells["barcode"].map(shift)[sample] + rng.normal(0, run_sd)
        fits.append(fit_alignment(wells, AlignmentSection(method="two-point", shrinkage=True), plates))
        tables.append(apply_alignment(wells, fits[-1]))
    return estimate_noise(pd.concat(tables, ignore_index=True), fits), fits


def test_alignment_is_believed_where_replicates_agree_with_it(make_wells, plates):
    for seed in range(3):
        noise, fits = _over_runs(make_wells, plates, seed)
        assert noise.plates == {plate.key: plate.offset_variance for fit in fits for plate in fit.plates}
        assert noise.run_variances == {fit.run: fit.run_offset_variance for fit in fits}
        assert noise.runs == {plate.key: fit.run for fit in fits for plate in fit.plates}


def test_what_replicates_show_between_runs_is_added(make_wells, plates):
    found = [_over_runs(make_wells, plates, seed, run_sd=1.0)[0].run_variances["R0"] for seed in range(6)]
    assert np.mean(found) == pytest.approx(1.0, abs=0.5)  # 7 degrees of freedom each
    noise, fits = _over_runs(make_wells, plates, 0, run_sd=1.0, runs=4)
    assert noise.run_variances == {fit.run: fit.run_offset_variance for fit in fits}  # 3 are too few


def test_what_replicates_show_between_plates_is_added(make_wells, plates):
    found = []
    for seed in range(4):
        noise, fits = _over_runs(make_wells, plates, seed, plate_sd=1.0)
        found.append(noise.plates["P00-0.1"] - fits[0].plates[0].offset_variance)
    assert np.mean(found) == pytest.approx(1.0, abs=0.35)


def test_replicates_alone_tell_the_noise_where_controls_cannot(make_wells, plates):
    truth = {f"x{i:03d}": float(i % 7) for i in range(200)}
    wells = make_wells(seed=0, offsets=(0.0, 0.0), truth=truth)
    aligned, fit, _ = _pipeline(wells, plates)
    single = aligned[(aligned["role"] != "negcon") | (aligned["column"] == 0)]
    noise = estimate_noise(single, [fit])
    assert (noise.source, noise.floor) == ("replicates", 0.0)
    assert noise.average == pytest.approx(1.0, rel=0.25)


def test_noise_that_grows_with_the_value_reaches_labels_and_survives_json(make_wells, plates, continuous):
    truth = {f"x{i:03d}": i / 30 for i in range(300)}
    wells = make_wells(seed=0, offsets=(0.0, 0.0, 0.0), truth=truth)
    sample, rng = wells["role"] == "sample", np.random.default_rng(0)
    true = wells.loc[sample, "perturbation"].map(truth)
    wells.loc[sample, "value"] = true + np.exp(0.15 * true) * rng.standard_normal(len(true))
    aligned, _, noise = _pipeline(wells, plates)
    assert len(noise.knots) > 3
    low, high = noise.well_variance([0.5, 7.0])
    assert low == pytest.approx(np.exp(0.15), rel=0.35)
    assert high == pytest.approx(np.exp(2.1), rel=0.35)
    assert NoiseModel.model_validate_json(noise.model_dump_json()) == noise
    labels = aggregate(aligned, noise, continuous).table.set_index("perturbation")["variance"]
    assert labels["x290"] > 3 * labels["x005"]


def test_guides_of_a_gene_are_told_from_wells(make_wells, plates):
    """Three guides a gene, each once on its own plate: controls tell the wells, the rest is the guides."""
    rng = np.random.default_rng(0)
    wells = make_wells(seed=0, offsets=(0.0, 0.0, 0.0), truth={f"g{i:03d}": float(i % 5) for i in range(250)})
    sample = wells["role"] == "sample"
    wells["reagent"] = np.where(sample, wells["perturbation"] + "-" + wells["barcode"], "")
    wells.loc[sample, "value"] += rng.normal(0, 1.5, int(sample.sum()))
    _, _, noise = _pipeline(wells, plates)
    assert noise.source == "negcon"
    assert noise.reagent + noise.average == pytest.approx(1.5**2 + 1.0, rel=0.15)


@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_single_controls_tell_the_noise_where_samples_tie_their_plates(make_wells, plates, scale):
    """Nothing stands twice on a plate or on two plates: the controls err around what samples say of their plates."""
    rng = np.random.default_rng(3)
    offsets = rng.normal(0, 4, 60)
    whole = make_wells(3, offsets=tuple(offsets), negcon=1, poscon=0, samples=300)
    sample = whole["role"] == "sample"
    whole.loc[sample, "value"] = np.repeat(offsets, 300) + 2.0 * rng.standard_normal(60 * 300)
    wells = whole.assign(value=scale * whole["value"])
    section = AlignmentSection(method="negcon", anchors=("samples",), min_controls=1)
    fit = fit_alignment(wells, section, plates)
    noise = estimate_noise(apply_alignment(wells, fit), [fit])
    assert (noise.source, noise.n) == ("negcon", 59)
    assert noise.average == pytest.approx(1.0, rel=0.1)  # the unit is the sd of a control
    in_instrument = noise.average * fit.plates[0].scale ** 2
    assert in_instrument == pytest.approx(scale**2, rel=3 * np.sqrt(2 / 59))
    alone = fit_alignment(wells, AlignmentSection(method="plate-median"), plates)
    with pytest.raises(UserError, match="single negcon wells on plates that"):
        estimate_noise(apply_alignment(wells, alone), [alone])


def test_mistakes_are_refused(make_wells, plates, continuous):
    aligned, fit, noise = _pipeline(make_wells(offsets=(0.0, 1.0)), plates)
    with pytest.raises(UserError, match=r"P00\.1: plate attempt aligned twice"):
        estimate_noise(aligned, [fit, fit])
    with pytest.raises(UserError, match=r"P00\.2, P01\.2: plate without an alignment"):
        estimate_noise(aligned.assign(attempt=2), [fit])
    with pytest.raises(UserError, match="do not share one scale; got negcon, two-point"):
        estimate_noise(aligned, [fit, fit.model_copy(update={"method": "negcon"})])
    with pytest.raises(UserError, match="noise of a well cannot be told"):
        estimate_noise(aligned[aligned["role"] != "negcon"], [fit])
    labels, incidence, _ = aggregate(aligned, noise, continuous)
    with pytest.raises(UserError, match="without label; got nobody"):
        sigma_y(labels, incidence, noise, ["nobody"], kind="continuous")
    with pytest.raises(UserError, match="named twice"):
        sigma_y(labels, incidence, noise, ["X0-00", "X0-00"], kind="continuous")
    with pytest.raises(UserError, match="without incidence"):
        sigma_y(labels, incidence[incidence["perturbation"] != "X0-00"], noise, kind="continuous")
    with pytest.raises(UserError, match=r"got Q\.1"):
        sigma_y(labels, incidence.assign(barcode="Q.1"), noise, kind="continuous")


def test_no_dense_matrix_for_many_labels(make_noise):
    n = 200_000
    noise = make_noise(["P0.1"], offset=2.0, run_variances={"R0": 0.5})
    names = [f"x{i}" for i in range(n)]
    labels = pd.DataFrame({"perturbation": names, "value": 0.0, "variance": 1.0})
    incidence = pd.DataFrame({"perturbation": names, "barcode": "P0.1", "weight": 1.0})
    sigma: SigmaY = sigma_y(labels, incidence, noise, kind="continuous")
    np.testing.assert_allclose(sigma.matvec(np.ones(n)), 1.0 + 2.5 * n)


def test_control_moments_of_two_wells_by_hand():
    """Two wells: the median is the mean (variance 1/2) and MAD is half the difference."""
    moments = control_moments(2)
    assert moments.median_variance == pytest.approx(0.5, rel=0.03)
    expected = np.log(1.4826 / np.sqrt(2)) + (-np.euler_gamma - np.log(2)) / 2
    assert moments.log_mad_bias == pytest.approx(expected, abs=0.03)
    assert moments.log_mad_variance == pytest.approx(np.pi**2 / 8, rel=0.05)


def test_control_moments_join_the_large_sample_values():
    simulated, limit = control_moments(128), control_moments(129)
    assert simulated.median_variance == pytest.approx(limit.median_variance, rel=0.05)
    assert simulated.log_mad_variance == pytest.approx(limit.log_mad_variance, rel=0.05)


def test_pooled_pairs_are_unbiased_in_groups_of_two_where_mad_is_not():
    rng = np.random.default_rng(0)
    groups = rng.normal(0, 3.0, (4000, 2)) + rng.normal(0, 100, (4000, 1))
    assert pairwise_variance(groups) == (pytest.approx(9.0, rel=0.08), 4000)
    assert np.median([mad_sd(group) for group in groups]) < 0.85 * 3.0
    spoilt = np.vstack([groups, np.column_stack([np.zeros(400), np.full(400, 1e9)])])
    assert pairwise_variance(spoilt)[0] == pytest.approx(9.0, rel=0.4)


@pytest.mark.parametrize(("n", "groups"), [(2, 4), (2, 16), (4, 4), (16, 1), (16, 8)])
def test_pooled_pairs_are_right_on_average_for_few_wells_too(n, groups):
    rng = np.random.default_rng(0)
    found = np.mean([pairwise_variance(rng.standard_normal((groups, n)))[0] for _ in range(1500)])
    assert found == pytest.approx(1.0, abs=0.08)


def test_groups_of_one_say_nothing():
    variance, df = pairwise_variance([np.ones(1), np.zeros(1)])
    assert np.isnan(variance)
    assert df == 0
