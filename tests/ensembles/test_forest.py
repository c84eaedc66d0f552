"""Random forests: the same trees as scikit-learn's, evaluated without it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_properties import BINARY, ClassProperties, classes_of, features
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tasks.ensembles import MODELS, TrainingSet
from tasks.ensembles import forest as module
from tasks.ensembles.forest import _rounded_down


def bag(train: TrainingSet, rng: np.random.Generator) -> np.ndarray:
    """How often each label of equal variance is drawn."""
    n = len(train)
    return np.bincount(rng.choice(n, size=n, p=np.full(n, 1 / n)), minlength=n)


def sklearn_tree(train: TrainingSet, seed: int, member: int):
    """Tree `member` as scikit-learn alone grows it, on labels of equal variance; what it says, and its bag."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, member)))
    counts = bag(train, rng)
    tree = DecisionTreeRegressor(random_state=int(rng.integers(2**31)))
    mean = float(np.float32(train.targets.mean()))
    tree.fit(train.features, train.targets - mean, sample_weight=counts)
    return tree, lambda x: mean + tree.predict(x), counts


class TestForest(ClassProperties):
    NAME = "forest"
    SETTINGS: ClassVar = {"members": 60}
    SIZES = (25, 40)
    RMSE = 0.6

    def test_trees_say_what_scikit_learns_trees_say(self, train: TrainingSet) -> None:
        ensemble = self.fit(train)
        x = np.concatenate([features(300, seed=20), train.features])
        said = self.predict(ensemble, x).members
        for member in (0, 7, 59):
            _, predicted, _ = sklearn_tree(train, seed=1, member=member)
            np.testing.assert_allclose(said[:, member], predicted(x), rtol=3e-7)

    def test_leaves_are_the_same_at_values_on_a_threshold(self) -> None:
        """Features on a grid fall exactly on, or within rounding of, many thresholds."""
        rng = np.random.default_rng(0)
        x = (rng.integers(0, 8, size=(200, 4)) * np.float32(0.1)).astype(np.float32)
        train = TrainingSet(x, rng.normal(size=200), np.zeros(200))
        said = self.predict(self.fit(train), x).members
        tree, predicted, _ = sklearn_tree(train, seed=1, member=3)
        thresholds = tree.tree_.threshold[tree.tree_.children_left >= 0]
        on = np.nextafter(thresholds.astype(np.float32), [[-np.inf], [0], [np.inf]]).astype(np.float32)
        probes = np.concatenate([x, np.repeat(on.reshape(-1, 1), 4, axis=1)])
        np.testing.assert_allclose(said[:, 3], predicted(x), rtol=3e-7)
        np.testing.assert_allclose(self.predict(self.fit(train), probes).members[:, 3], predicted(probes), rtol=3e-7)

    @given(st.floats(-(2.0**90), 2.0**90), st.floats(-(2.0**90), 2.0**90, width=32))
    def test_rounded_thresholds_divide_float32_alike(self, threshold: float, value: float) -> None:
        rounded = _rounded_down(np.array([threshold]))[0]
        around = np.nextafter(np.float32(threshold), np.float32([-np.inf, np.inf]))
        for x in (np.float32(value), np.float32(threshold), *around):
            assert (x <= rounded) == (np.float64(x) <= threshold)

    def test_classes_are_learned_by_the_classifiers_trees(self, train: TrainingSet) -> None:
        binary = classes_of(train)
        x = features(300, seed=21)
        said = self.predict(self.fit(binary, BINARY), x).members
        for member in (0, 11):
            rng = np.random.default_rng(np.random.SeedSequence(1, spawn_key=(0, member)))
            counts = bag(train, rng)
            tree = DecisionTreeClassifier(random_state=int(rng.integers(2**31)))
            tree.fit(binary.features, binary.targets[:, 0], sample_weight=counts)
            agree = np.isclose(said[:, member], tree.predict_proba(x)[:, 1], atol=1e-6)
            assert agree.mean() > 0.97  # splits that are equally good to rounding may change places

    def test_a_tree_is_the_same_in_any_group_and_among_any_number(self, train: TrainingSet) -> None:
        x = features(50, seed=22)
        few, many = self.fit(train, members=30), self.fit(train, members=60, size=60)
        np.testing.assert_array_equal(self.predict(few, x).members, self.predict(many, x).members[:, :30])

    def test_held_out_is_what_the_bootstrap_left(self, train: TrainingSet) -> None:
        part = self.fit_part(train, range(5, 30))
        _, _, counts = sklearn_tree(train, seed=1, member=7)
        np.testing.assert_array_equal(part.arrays["held_out"][2], counts == 0)
        assert 0.3 < part.arrays["held_out"].mean() < 0.44

    def test_a_held_out_label_changes_nothing_in_its_tree(self, train: TrainingSet) -> None:
        """Two labels change places, so that the mean and the sd of all stay what they were."""
        ensemble, x = self.fit(train), features(300, seed=26)
        held = ensemble.tensors["held_out"].numpy()
        first, second = np.flatnonzero(held[4])[:2]
        targets = train.targets.copy()
        targets[[first, second]] = targets[[second, first]]
        swapped = self.fit(TrainingSet(train.features, targets, train.variances))
        before, after = (self.predict(each, x).members for each in (ensemble, swapped))
        same = (before == after).mean(axis=0)
        neither = (held[:, first] == 1) & (held[:, second] == 1)
        assert (same[neither] == 1).all()
        assert (same[~neither] < 1).all()

    def test_a_bootstrap_always_leaves_a_label_out(self) -> None:
        """All of four labels come up in 9% of the draws."""
        rng = np.random.default_rng(0)
        assert all((module._bootstrap(np.full(4, 0.25), rng) == 0).any() for _ in range(200))

    def test_all_perturbations_see_the_same_trees(self, train: TrainingSet) -> None:
        """Bits, not rounding: whatever the chunk, and however many pairs are evaluated at a time."""
        ensemble, x = self.fit(train), features(700, seed=23)
        whole = self.predict(ensemble, x)
        for rows in (1, 256, 699):
            np.testing.assert_array_equal(self.predict(ensemble, x, rows=rows).members, whole.members)

    def test_pairs_evaluated_at_a_time_change_nothing(
        self, train: TrainingSet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ensemble, x = self.fit(train), features(100, seed=24)
        whole = self.predict(ensemble, x).members
        monkeypatch.setattr(module, "_PAIRS", 150)
        monkeypatch.setattr(module, "_STEPS", 1)
        np.testing.assert_array_equal(self.predict(ensemble, x).members, whole)

    def test_settings_reach_the_trees(self, train: TrainingSet) -> None:
        depth_one = self.fit_part(train, range(25), max_depth=1)
        assert depth_one.arrays["tree.feature"].shape[1] == 3
        assert (
            self.fit_part(train, range(25), min_leaf=20).facts["nodes"]
            < self.fit_part(train, range(25)).facts["nodes"] / 3
        )
        narrow = self.fit_part(train, range(60), max_features=0.2).arrays["tree.feature"][:, 0]
        assert len(np.unique(narrow)) > len(np.unique(self.fit_part(train, range(60)).arrays["tree.feature"][:, 0]))

    def test_memory_is_bounded_by_pairs_not_by_the_forest(
        self, train: TrainingSet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []

        def spy(trees, x, evaluate=module.evaluate):
            seen.append(len(trees["tree.feature"]) * len(x))
            return evaluate(trees, x)

        monkeypatch.setattr(module, "evaluate", spy)
        ensemble = self.fit(train)
        seen.clear()
        MODELS["forest"].say(ensemble, torch.from_numpy(features(4096, seed=25)))
        assert max(seen) <= module._PAIRS
        assert sum(seen) == 60 * 4096
