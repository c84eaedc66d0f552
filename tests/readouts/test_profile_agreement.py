"""The same numbers as pycytominer, an independent implementation that the field uses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pycytominer import normalize

from tasks.campaigns.config import AlignmentSection
from tasks.readouts.alignment.profiles import apply_profiles, fit_profiles
from tasks.readouts.robust import control_moments

FEATURES = ["f0", "f1", "f2", "f3"]


def _theirs(wells, **options):
    """pycytominer's normalize, fitted on the negative controls."""
    table = wells.rename(columns={"role": "Metadata_role"})
    done = normalize(table, FEATURES, meta_features=["Metadata_role"], samples="Metadata_role == 'negcon'", **options)
    return done.iloc[:, 1:].to_numpy()


def _mine(wells, plates, method, scale="plate", regularisation=None):
    section = AlignmentSection(method=method, scale=scale, shrinkage=False, regularisation=regularisation)
    return apply_profiles(wells, fit_profiles(wells, section, plates, "f0"))[FEATURES].to_numpy()


def _less_control_mean(wells, values):
    return values - values[(wells["role"] == "negcon").to_numpy()].mean(axis=0)


@pytest.mark.parametrize("negcon", [2, 6, 7, 32, 200])
def test_negcon_is_mad_robustize_on_every_plate(make_profiles, plates, negcon):
    """Up to the correction of the MAD for few wells, which pycytominer does not make."""
    wells = make_profiles(negcon=negcon)
    correction = np.exp(control_moments(negcon).log_mad_bias)
    for _, plate in wells.groupby("barcode"):
        theirs = _theirs(plate, method="mad_robustize", mad_robustize_epsilon=0.0)
        np.testing.assert_allclose(_mine(plate, plates, "negcon") / correction, theirs, rtol=1e-6, atol=1e-6)
    together = pd.DataFrame(_mine(wells, plates, "negcon") / correction)
    theirs = np.vstack(
        [_theirs(plate, method="mad_robustize", mad_robustize_epsilon=0.0) for _, plate in wells.groupby("barcode")]
    )
    np.testing.assert_allclose(together, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", ["plate", "common"])
def test_tvn_of_one_plate_is_spherize_zca_cor(make_profiles, plates, seed, scale):
    """Up to the centre: median here, mean there."""
    wells = make_profiles(seed, n_plates=1)
    theirs = _theirs(wells, method="spherize", spherize_method="ZCA-cor", spherize_epsilon=0.0)
    mine = _mine(wells, plates, "tvn", scale, regularisation=0.0)
    np.testing.assert_allclose(_less_control_mean(wells, mine), theirs, rtol=1e-6, atol=1e-6)


def test_tvn_is_spherize_zca_of_standardised_features(make_profiles, plates):
    wells = make_profiles(1, n_plates=1)
    controls = wells.loc[wells["role"] == "negcon", FEATURES]
    wells[FEATURES] = (wells[FEATURES] - controls.mean()) / controls.std()
    theirs = _theirs(wells, method="spherize", spherize_method="ZCA", spherize_epsilon=0.0)
    mine = _mine(wells, plates, "tvn", regularisation=0.0)
    np.testing.assert_allclose(_less_control_mean(wells, mine), theirs, rtol=1e-6, atol=1e-6)


def test_tvn_is_spherize_pca_cor_rotated_back(make_profiles, plates):
    """The same distances and angles between wells."""
    wells = make_profiles(2, n_plates=1)
    theirs = _theirs(wells, method="spherize", spherize_method="PCA-cor", spherize_epsilon=0.0)
    mine = _less_control_mean(wells, _mine(wells, plates, "tvn", regularisation=0.0))
    np.testing.assert_allclose(mine @ mine.T, theirs @ theirs.T, rtol=1e-6, atol=1e-6)


def test_tvn_of_several_plates_is_spherize_of_the_pooled_residuals(make_profiles, plates):
    """Controls less their plate's mean have N − P degrees of freedom, where pycytominer counts N − 1."""
    wells = make_profiles(3, negcon=12)
    controls = wells[wells["role"] == "negcon"].copy()
    residual = controls[FEATURES] - controls.groupby("barcode")[FEATURES].transform("mean")
    theirs = _theirs(residual.assign(role="negcon"), method="spherize", spherize_method="ZCA-cor", spherize_epsilon=0.0)
    mine = pd.DataFrame(_mine(controls, plates, "tvn", "common", regularisation=0.0))
    mine -= mine.groupby(controls["barcode"].to_numpy()).transform("mean")
    n, p = len(controls), controls["barcode"].nunique()
    np.testing.assert_allclose(mine, theirs * np.sqrt((n - p) / (n - 1)), rtol=1e-6, atol=1e-6)
