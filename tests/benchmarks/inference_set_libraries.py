"""The libraries of inference set design's experiments: what is known beforehand, and what measuring says."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import MlpSettings
from tasks.ensembles import Target, TrainingSet, fit_ensemble, predict

SHUFFLED = (6, 8, 9)
ROWS_SEEN = 10  # of 28: what is left of a cropped image
MNIST_COMPONENTS, QM9_COMPONENTS = 50, 128
FINGERPRINT_BITS, FINGERPRINT_RADIUS = 1024, 1
QM9_TEST = 0.15
FOLDS, WRONG_MEMBERS = 5, 4  # a molecule is hard where so many of five members that did not see it are wrong
SPLIT, LABELS, FOLD = range(1, 4)  # what a generator is for
OPERATORS = OperatorsSection(within="none", features=4)


@dataclass(frozen=True)
class Screen:
    """A finished screen, and a test that is no part of it.

    Attributes:
        features: (N, d) of the library.
        classes: (N,) what measuring each says, shuffled labels and all.
        hard: (N,) who cannot be predicted: images with a shuffled label, or molecules that models got wrong; nobody
            where the paper names none.
        test_features: (n, d).
        test_classes: (n,).
        target: Kind of the readout.
    """

    features: np.ndarray
    classes: np.ndarray
    hard: np.ndarray
    test_features: np.ndarray
    test_classes: np.ndarray
    target: Target


def settings(labels):
    """Members for so many labels: one hidden layer, and some 100,000 labels seen, or 6 epochs where that is more."""
    epochs = int(np.clip(round(100_000 / labels), 6, 30))
    return MlpSettings(members=4, hidden=(128,), epochs=epochs, ranks=False)


def fit(screen, rows, seed, members=None):
    """An ensemble that knows these rows alone."""
    train = TrainingSet(screen.features[rows], screen.classes[rows], np.zeros(len(rows)))
    how = settings(len(rows))
    how = how if members is None else how.model_copy(update={"members": members})
    return fit_ensemble(train, screen.target, how, OPERATORS, seed)


def mnist(variant, seed):
    """60,000 images; 3,000 others are the test. Shuffled labels are drawn anew for each seed."""
    images, digits, test_images, test_digits = _digits()
    if variant == "cropped":
        images, test_images = crop(images), crop(test_images)
    seen = f"{images.shape[1]} rows"
    features, test_features = components(images, test_images, MNIST_COMPONENTS, seen)
    hard = np.zeros(len(digits), dtype=bool)
    if variant == "shuffled":
        rng = np.random.default_rng([LABELS, seed])
        hard, digits, test_digits = np.isin(digits, SHUFFLED), shuffle(digits, rng), shuffle(test_digits, rng)
    return Screen(features, digits, hard, test_features, test_digits, Target("multi-class", 10))


def crop(images):
    """(n, 28, 28) images with all but their upper rows left out: (n, 10, 28)."""
    return images[:, :ROWS_SEEN]


def shuffle(digits, rng):
    """Digits with every 6, 8 and 9 replaced by one of the three at random, itself included."""
    return np.where(np.isin(digits, SHUFFLED), rng.choice(SHUFFLED, size=len(digits)), digits)


@cache
def qm9():
    """36,208 molecules; 15% of all are the test. Class 1: a gap above the median."""
    import pandas as pd
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    table = pd.read_parquet(data_folder() / "qm9" / "qm9_gap_42k.parquet")
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=FINGERPRINT_RADIUS, fpSize=FINGERPRINT_BITS)
    molecules = map(Chem.MolFromSmiles, table["smiles"])
    counts = np.array([generator.GetCountFingerprintAsNumPy(molecule) for molecule in molecules], dtype=np.float32)
    classes = (table["gap_eV"] > table["gap_eV"].median()).to_numpy(np.int64)
    order = np.random.default_rng(SPLIT).permutation(len(table))
    test, library = np.split(order, [round(QM9_TEST * len(order))])
    library = np.sort(library)  # the order of the file
    features, test_features = components(np.sqrt(counts[library]), np.sqrt(counts[test]), QM9_COMPONENTS, "qm9")
    target, nobody = Target("binary"), np.zeros(len(library), dtype=bool)
    known = Screen(features, classes[library], nobody, test_features, classes[test], target)
    return Screen(features, classes[library], hard_to_predict(known), test_features, classes[test], target)


def hard_to_predict(screen):
    """(N,) whom four of five members got wrong that had not seen them: five-fold, five members a fold."""
    fold = np.random.default_rng(FOLD).permutation(len(screen.classes)) % FOLDS
    hard = np.zeros(len(fold), dtype=bool)
    for number in range(FOLDS):
        ensemble = fit(screen, np.flatnonzero(fold != number), seed=number, members=5)
        left_out = np.flatnonzero(fold == number)
        members = predict(ensemble, screen.features[left_out]).members
        hard[left_out] = ((members > 0.5) != screen.classes[left_out, None]).sum(axis=1) >= WRONG_MEMBERS
    return hard


_COMPONENTS = {}


def components(known, others, count, name):
    """Leading principal components of what is known of the library, of it and of others; computed once a name.

    Every perturbation counts, measured or not: features are known beforehand.
    """
    if name not in _COMPONENTS:
        known, others = (np.reshape(part, (len(part), -1)).astype(np.float32) for part in (known, others))
        mean = known.mean(axis=0)
        values = np.linalg.eigh((known - mean).T @ (known - mean))[1][:, ::-1][:, :count]
        _COMPONENTS[name] = (known - mean) @ values, (others - mean) @ values
    return _COMPONENTS[name]


@cache
def _digits():
    stored = np.load(data_folder() / "mnist" / "mnist_63k.npz")
    images, test_images = (stored[key].reshape(-1, 28, 28) / np.float32(255) for key in ("X_train", "X_test"))
    return images, stored["y_train"].astype(np.int64), test_images, stored["y_test"].astype(np.int64)


def data_folder():
    """Where the data are."""
    data = os.environ.get("HYBRIDSCREEN_DATA")
    if not data:
        sys.exit("HYBRIDSCREEN_DATA is not set: this benchmark reads mnist/ and qm9/ below it")
    return Path(data)
