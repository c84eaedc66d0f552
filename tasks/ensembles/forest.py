"""Random forests: scikit-learn grows the trees, which are the members; torch evaluates them, on any device.

Names of the tensors (M trees of at most K nodes, node 0 the root, C columns):
    tree.feature (M, K): column that a node asks about. tree.threshold (M, K): below or at it a row goes left.
    tree.left, tree.right (M, K): next node; a leaf's is the leaf itself. tree.value (M, K, C): what is said there, in
    units of the readout, or as probabilities.
    held_out (M, n): labels outside a tree's bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.tree import DecisionTreeRegressor

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import ForestSettings
from tasks.ensembles.determinism import Purpose, generator
from tasks.ensembles.ensemble import Ensemble, Part, Progress
from tasks.ensembles.models import Said
from tasks.ensembles.target import Target
from tasks.ensembles.training_set import TrainingSet

_PAIRS = 1 << 16  # of a row and a tree that are evaluated at a time: what a cache holds
_STEPS = 8  # down a tree, before pairs that are at a leaf are put aside
_TREE = ("tree.feature", "tree.threshold", "tree.left", "tree.right", "tree.value")

Table = dict[str, npt.NDArray[Any]]


class Forest:
    """Bagged trees, each grown on its own bootstrap of the labels.

    A tree predicts columns of numbers: standardised readouts, 0 and 1, or 0 and 1 a class. Its splits lower the sum of
    their weighted variances, which for 0 and 1 is Gini's impurity: one kind of tree grows the classifier's trees too.

    Source:
        Breiman, Random forests, 2001. As committees for selection: Mehrjou et al., GeneDisco, 2022; there other trees
        are drawn for every 256 perturbations, here the trees are the same for all, so that their covariances mean
        something.
    """

    def fit(
        self,
        train: TrainingSet,
        target: Target,
        settings: ForestSettings,
        seed: int,
        members: range,
        device: torch.device,
        progress: Progress | None = None,
    ) -> Part:
        """Grow some trees; tree j depends on the labels, the settings, the seed and j alone.

        Labels are drawn into a bootstrap in proportion to their weights, averaged over outputs: leaves that hold one
        label give it the same say whatever its weight in the splits. Trees are grown on the CPU whatever the device.
        """
        columns, mean, scale = _columns(train, target)
        shares = _shares(train)
        tables, held_out = [], np.zeros((len(members), len(train)), dtype=np.uint8)
        for row, member in enumerate(members):
            rng = generator(seed, Purpose.MEMBER, member)
            counts = _bootstrap(shares, rng)
            held_out[row] = counts == 0
            tree = DecisionTreeRegressor(
                max_depth=settings.max_depth,
                min_samples_leaf=settings.min_leaf,
                max_features=settings.max_features,
                random_state=int(rng.integers(2**31)),
            ).fit(train.features, columns, sample_weight=counts)
            tables.append(_table(tree, mean, scale))
            if progress is not None:
                progress(row + 1, len(members))
        facts = {"nodes": sum(table["tree.feature"].size for table in tables)}
        return Part(_joined(tables) | {"held_out": held_out}, np.zeros((len(members), 0)), facts)

    def join(
        self,
        train: TrainingSet,
        target: Target,
        settings: ForestSettings,
        operators: OperatorsSection,
        seed: int,
        parts: Sequence[Part],
    ) -> Ensemble:
        """All trees as one forest. Trees have no posterior of their own: `operators` is not read."""
        arrays = _joined([part.arrays for part in parts])
        arrays["held_out"] = np.concatenate([part.arrays["held_out"] for part in parts])
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        meta = {"nodes": sum(part.facts["nodes"] for part in parts), "held_out": "bootstrap"}
        return Ensemble(target, tensors, np.concatenate([part.history for part in parts]), meta)

    def say(self, ensemble: Ensemble, features: torch.Tensor) -> Said:
        """What every tree says about (k, d) features. The embedding is the same numbers, tree after tree."""
        trees = {name: ensemble.tensors[name] for name in _TREE}
        members = features.new_empty(len(features), *trees["tree.value"].shape[::2])
        step = max(1, _PAIRS // max(len(features), 1))
        for start in range(0, members.shape[1], step):
            block = {name: table[start : start + step] for name, table in trees.items()}
            members[:, start : start + step] = evaluate(block, features).transpose(0, 1)
        nothing = members.new_zeros(len(features), 0)
        return Said(members, within=nothing, noise=nothing, embedding=members.flatten(1))


def evaluate(trees: Mapping[str, torch.Tensor], features: torch.Tensor) -> torch.Tensor:
    """What t trees say about (k, d) features: (t, k, C).

    All pairs of a tree and a row take some steps together; then those at a leaf are put aside.
    """
    members, nodes = trees["tree.feature"].shape
    rows, device = len(features), features.device
    first = torch.arange(members, device=device)[:, None] * nodes  # a tree's root in the flattened tables
    feature, threshold = trees["tree.feature"].long().flatten(), trees["tree.threshold"].flatten()
    next_node = torch.stack([trees["tree.left"] + first, trees["tree.right"] + first], dim=-1).flatten()
    flat = features.contiguous().flatten()
    row = (torch.arange(rows, device=device) * features.shape[1]).repeat(members)
    node = first.expand(members, rows).flatten()
    reached, pair = node.clone(), torch.arange(members * rows, device=device)
    while len(pair):
        for _ in range(_STEPS):
            right = flat.take(row + feature.take(node)) > threshold.take(node)
            node = next_node.take(2 * node + right)
        reached[pair] = node
        moving = (next_node.take(2 * node) != node).nonzero().squeeze(1)
        pair, row, node = pair[moving], row[moving], node[moving]
    return trees["tree.value"].flatten(0, 1)[reached.view(members, rows)]


def _columns(
    train: TrainingSet, target: Target
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What trees are grown on (n, C), and the mean and scale (C,) that lead back from it."""
    if target.kind == "multi-class":
        columns = (train.targets == np.arange(target.columns)).astype(np.float64)
    else:
        columns = train.targets
    mean, scale = np.zeros(target.columns), np.ones(target.columns)
    if target.kind == "continuous":  # outputs in different units count alike
        # Rounded, so that the last digit of a mean or sd cannot decide between splits that are equally good.
        mean = columns.mean(axis=0).astype(np.float32).astype(np.float64)
        varies = np.ptp(columns, axis=0) > 0
        scale[varies] = np.exp2(np.round(np.log2(columns.std(axis=0)[varies])))
    return (columns - mean) / scale, mean, scale


def _shares(train: TrainingSet) -> npt.NDArray[np.float64]:
    """(n,) probability that a draw of a bootstrap is this label."""
    weights = train.weights.mean(axis=1)
    return np.asarray(weights / weights.sum())


def _bootstrap(shares: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """How often each of n labels is among n draws; drawn again until one is left out (few labels may all come)."""
    n = len(shares)
    while True:
        counts = np.bincount(rng.choice(n, size=n, p=shares), minlength=n)
        if not counts.all():
            return counts


def _table(tree: DecisionTreeRegressor, mean: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]) -> Table:
    """The tables (1, K, …) of one tree."""
    nodes = tree.tree_
    leaf = nodes.children_left < 0
    itself = np.arange(nodes.node_count)
    return {
        "tree.feature": np.where(leaf, 0, nodes.feature).astype(np.int32)[None],
        "tree.threshold": _rounded_down(np.where(leaf, 0.0, nodes.threshold))[None],
        "tree.left": np.where(leaf, itself, nodes.children_left).astype(np.int32)[None],
        "tree.right": np.where(leaf, itself, nodes.children_right).astype(np.int32)[None],
        "tree.value": (mean + scale * nodes.value[:, :, 0]).astype(np.float32)[None],
    }


def _rounded_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The largest float32 not above: a float32 feature is at or below it just when it is at or below the threshold."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _joined(tables: Sequence[Mapping[str, npt.NDArray[Any]]]) -> Table:
    """Tables of all trees from tables of some each, filled up with nodes that no row comes to."""
    nodes = max(table["tree.feature"].shape[1] for table in tables)

    def filled(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.pad(array, [(0, 0), (0, nodes - array.shape[1]), *[(0, 0)] * (array.ndim - 2)])

    return {name: np.concatenate([filled(table[name]) for table in tables]) for name in _TREE}
