"""Variance components: oracles, what they are immune to, and the recorded benchmark's requirements."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.readouts.two_way import fit_two_way, plate_keys, prepare
from tasks.readouts.variance_components import reagent_component, variance_components
from tasks.readouts.well_noise import MIN_REPLICATE_DF, evaluate, replicate_noise

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "variance_components.py"


@pytest.fixture(scope="module")
def benchmark_module():
    spec = importlib.util.spec_from_file_location("benchmark_variance_components", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _table(plate, value, *, content=None, run=None, reagent=None):
    """Wells on plates given by index; controls unless they hold something."""
    n = len(plate)
    table = pd.DataFrame(
        {
            "barcode": [f"P{p:03d}" for p in plate],
            "attempt": 1,
            "run": [f"R{r:03d}" for r in (np.zeros(n, dtype=int) if run is None else run)],
            "role": "negcon" if content is None else "sample",
            "perturbation": "" if content is None else content,
            "aligned": value,
        }
    )
    return table if reagent is None else table.assign(reagent=reagent)


def _normal(rng, variance, shape):
    return rng.normal(0, np.sqrt(variance), shape)


def _bounded(rng, variance, shape):
    """No value far out."""
    return rng.uniform(-1, 1, shape) * np.sqrt(3 * variance)


def _balanced(rng, runs=6, plates=4, wells=5, v=(1.0, 2.0, 4.0), draw=_normal):
    """Wells (runs, plates, wells) of a balanced nested design."""
    y = draw(rng, v[2], (runs, 1, 1)) + draw(rng, v[1], (runs, plates, 1)) + draw(rng, v[0], (runs, plates, wells))
    plate = np.repeat(np.arange(runs * plates), wells)
    return y, _table(plate, y.ravel(), run=plate // plates)


@pytest.mark.parametrize("seed", range(5))
def test_balanced_designs_give_the_anova_estimates(seed):
    """Oracle: mean squares of the nested analysis of variance. Nothing is clipped here; 0.5% is given back."""
    y, table = _balanced(np.random.default_rng(seed), draw=_bounded)
    runs, plates, wells = y.shape
    within = ((y - y.mean(2, keepdims=True)) ** 2).sum() / (runs * plates * (wells - 1))
    between = wells * ((y.mean(2) - y.mean((1, 2))[:, None]) ** 2).sum() / (runs * (plates - 1))
    over = wells * plates * ((y.mean((1, 2)) - y.mean()) ** 2).sum() / (runs - 1)
    found = variance_components(table)
    assert found.well.variance == pytest.approx(within, rel=2e-4)
    assert found.plate.untruncated == pytest.approx((between - within) / wells, rel=0.02)
    assert found.run.untruncated == pytest.approx((over - between) / (wells * plates), rel=0.02)
    assert (found.well.df, found.plate.df, found.run.df) == (96, 18, 5)
    assert (found.well.n, found.plate.n, found.run.n) == (120, 24, 6)
    assert found.reagent is None


def test_negative_estimates_become_zero_and_are_still_reported():
    estimates = []
    for seed in range(60):
        found = variance_components(_balanced(np.random.default_rng(seed), v=(1.0, 0.0, 0.0))[1])
        estimates.append((found.plate.untruncated, found.run.untruncated))
        assert found.plate.variance == max(found.plate.untruncated, 0.0)
        assert found.run.variance == max(found.run.untruncated, 0.0)
    assert np.min(estimates) < 0
    standard_error = np.std(estimates, axis=0) / np.sqrt(60)
    assert np.all(np.abs(np.mean(estimates, axis=0)) < 3 * standard_error)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_what_the_perturbations_are_does_not_matter(seed):
    """Replicates are compared with each other alone: any effect, however chosen, changes nothing."""
    rng = np.random.default_rng(seed)
    plate, content = rng.integers(0, 8, 90), np.repeat([f"x{i:02d}" for i in range(30)], 3)
    value = rng.standard_normal(90) + rng.normal(0, 1, 8)[plate]
    plain = variance_components(_table(plate, value, content=content, run=plate // 2))
    moved = value + np.repeat(rng.normal(0, 30, 30), 3)
    shifted = variance_components(_table(plate, moved, content=content, run=plate // 2))
    for name in ("well", "plate", "run"):
        before, after = getattr(plain, name), getattr(shifted, name)
        assert after.untruncated == pytest.approx(before.untruncated, rel=1e-4, abs=1e-6)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_row_order_changes_no_bit(seed):
    rng = np.random.default_rng(seed)
    plate, content = rng.integers(0, 6, 60), np.repeat([f"x{i:02d}" for i in range(20)], 3)
    reagent = np.tile(["a", "b", "b"], 20)
    table = _table(plate, rng.normal(0, 1, 60) * 10 ** rng.integers(0, 3, 60), content=content, reagent=reagent)
    assert variance_components(table.iloc[rng.permutation(60)]) == variance_components(table)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_free_shares_are_those_of_the_hat_matrix(seed):
    rng = np.random.default_rng(seed)
    plate, content = rng.integers(0, 5, 40), rng.integers(0, 9, 40).astype(str)
    fit = fit_two_way(prepare(_table(plate, rng.standard_normal(40), content=content), "aligned"))
    design = np.hstack([fit.group[:, None] == np.arange(40), fit.plate[:, None] == np.arange(40)]).astype(float)
    hat = design @ np.linalg.pinv(design)
    np.testing.assert_allclose(fit.free, 1 - np.diag(hat), atol=1e-8)
    assert fit.df == round(len(hat) - np.trace(hat))


def test_gross_outliers_do_not_carry_the_components_away():
    clean, spoilt = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        _, table = _balanced(rng, runs=8, plates=5, wells=8)
        clean.append(variance_components(table))
        wrong = rng.random(len(table)) < 0.02
        spoilt.append(variance_components(table.assign(aligned=table["aligned"] + np.where(wrong, 300.0, 0.0))))
    for name in ("well", "plate", "run"):
        before, after = (np.mean([getattr(each, name).untruncated for each in found]) for found in (clean, spoilt))
        assert after == pytest.approx(before, rel=0.05)


def test_one_plate_far_off_adds_no_more_than_stated():
    rng = np.random.default_rng(0)
    plate = np.repeat(np.arange(50), 8)
    value = rng.normal(0, 1, 50)[plate] + rng.standard_normal(400)
    before = variance_components(_table(plate, value)).plate.variance
    after = variance_components(_table(plate, value + np.where(plate == 7, 1e6, 0.0))).plate.variance
    assert before < after < 1.25 * before


def test_the_design_decides_what_can_be_told():
    rng = np.random.default_rng(0)
    single = variance_components(_table(np.arange(20), rng.standard_normal(20)))
    assert (single.well, single.plate, single.run, single.reagent) == (None, None, None, None)
    plate = np.repeat(np.arange(20), 4)
    values = rng.standard_normal(80) + rng.normal(0, 3, 20)[plate]
    one_run = variance_components(_table(plate, values))
    plate_a_run = variance_components(_table(plate, values, run=plate))
    assert one_run.run is None
    assert plate_a_run == one_run  # plates and runs cannot be told apart: their sum is the plates'
    apart = variance_components(_table(plate, values, content=[f"x{p}" for p in plate]))
    assert apart.plate is None  # no perturbation stands on two plates
    assert apart.well.df == 60
    assert variance_components(_table(plate, values).iloc[:0]).well is None


def test_values_that_are_equal_have_no_noise():
    found = variance_components(_table(np.repeat(np.arange(6), 4), np.full(24, 3.25)))
    assert found.well.variance == 0.0
    assert found.plate.variance == 0.0


def test_rows_that_are_neither_control_nor_sample_do_not_count():
    _, table = _balanced(np.random.default_rng(0))
    other = table.assign(role="other", aligned=1e9)
    missing = table.assign(aligned=np.nan)
    assert variance_components(pd.concat([table, other, missing])) == variance_components(table)


def test_reagents_differ_by_their_own_variance():
    """Each guide once, so that its own noise is told by controls alone; plates and runs are shared."""
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        genes, guides = 150, 4
        plate = np.tile(np.arange(guides), genes)
        value = np.repeat(rng.normal(0, 5, genes), guides) + rng.normal(0, np.sqrt(0.8), genes * guides)
        value += rng.normal(0, np.sqrt(0.5), guides)[plate] + rng.standard_normal(genes * guides)
        content = np.repeat([f"g{i:03d}" for i in range(genes)], guides)
        reagent = [f"{gene}-{k}" for gene, k in zip(content, plate, strict=True)]
        table = _table(plate, value, content=content, reagent=reagent)
        wells = prepare(table, "aligned")
        shared = dict.fromkeys(plate_keys(table), 0.5)
        found.append(reagent_component(wells, np.ones(len(wells)), shared, {"R000": 0.0}))
    assert np.mean([each.untruncated for each in found]) == pytest.approx(0.8, abs=0.12)
    assert found[0].n == 600
    assert found[0].df == 450
    assert variance_components(table).reagent is None  # nothing tells the wells' own noise


def test_reagents_measured_twice_tell_everything():
    rng = np.random.default_rng(1)
    guide = np.repeat(np.arange(600), 2)
    plate = np.tile([0, 1], 600)
    value = np.repeat(rng.normal(0, 5, 200), 6) + rng.normal(0, 1.5, 600)[guide] + rng.standard_normal(1200)
    content, reagent = [f"g{g // 3:03d}" for g in guide], [f"s{g}" for g in guide]
    found = variance_components(_table(plate, value, content=content, reagent=reagent))
    assert found.well.variance == pytest.approx(1.0, rel=0.1)
    assert found.reagent.variance == pytest.approx(1.5**2, rel=0.15)


def _replicates(seed, n, variance, scale=3.0):
    rng = np.random.default_rng(seed)
    true = rng.normal(0, scale, n)
    value = np.repeat(true, 2) + np.repeat(np.sqrt(variance(true)), 2) * rng.standard_normal(2 * n)
    content = np.repeat([f"x{i:04d}" for i in range(n)], 2)
    return true, prepare(_table(np.tile([0, 1], n), value, content=content), "aligned")


def _none(fit):
    return np.zeros(len(fit.residual))


def test_noise_that_depends_on_the_value_is_found_and_right_on_average():
    def variance(true):
        return np.exp(0.3 * true)

    model, constant, average = [], [], []
    for seed in range(20):
        true, wells = _replicates(seed, 600, variance)
        fit, found = replicate_noise(wells, _none)
        logs = np.log(evaluate(found.knots, found.variances, true))
        model.append(np.mean((logs - 0.3 * true) ** 2))
        constant.append(np.mean((np.log(fit.variance) - 0.3 * true) ** 2))
        average.append(found.average / np.mean(variance(true)))
        assert len(found.knots) > 1
        assert min(found.variances) > 0
    assert np.sqrt(np.mean(model)) < 0.3 * np.sqrt(np.mean(constant))
    assert np.mean(average) == pytest.approx(1.0, abs=0.05)


def test_constant_noise_is_told_no_worse_than_by_one_number():
    model, constant = [], []
    for seed in range(100):
        true, wells = _replicates(seed, 100, np.ones_like)
        fit, found = replicate_noise(wells, _none)
        model.append(np.mean(np.log(evaluate(found.knots, found.variances, true)) ** 2))
        constant.append(np.log(fit.variance) ** 2)
    assert np.mean(model) < 1.1 * np.mean(constant)


def test_few_replicates_tell_no_function():
    _, wells = _replicates(0, MIN_REPLICATE_DF, np.ones_like)
    assert replicate_noise(wells, _none)[1] is None  # one degree of freedom goes to the plates
    _, wells = _replicates(0, 30, lambda true: np.exp(true))
    assert len(replicate_noise(wells, _none)[1].knots) == 1


@pytest.mark.slow
def test_the_benchmark_holds_for_components(benchmark_module):
    table = benchmark_module.components(benchmark_module.SCREENS)
    assert len(table) == 11
    assert table["mean_over_truth"].between(0.95, 1.05).all(), table
    assert table["spread_over_ideal"].le(1.2).all(), table
    assert table["error_over_spread"].between(0.85, 1.15).all(), table


@pytest.mark.slow
def test_the_benchmark_holds_for_offsets(benchmark_module):
    table = benchmark_module.offsets(benchmark_module.SCREENS // 2)
    assert set(table["quantity"]) == {"offset, 1 controls", "offset, 4 controls", "offset, 16 controls"}
    assert table["said_over_truth"].between(0.9, 1.1).all(), table
