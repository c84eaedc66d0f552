"""BatchBALD against its definition and against batchbald_redux."""

import itertools

import numpy as np
import pytest
from scipy.stats import entropy

from tasks.batches import ExhaustedStrategy, PoolView
from tasks.batches.batch_bald import pick_batch_bald
from tasks.errors import UserError


def view(members, kind="multi-class", open_=None):
    size = len(members)
    return PoolView(
        coordinates=np.zeros((size, 1)),
        eigenvalues=np.ones(1),
        variance=np.ones(size),
        predictions=members.mean(axis=1),
        members=members,
        open=np.ones(size, dtype=bool) if open_ is None else open_,
        kind=kind,
    )


def probabilities(size, members, classes, seed=0, sharpness=2.0):
    logits = sharpness * np.random.default_rng(seed).standard_normal((size, members, classes))
    return np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)


def information(said):
    """I(y ; m) of the classes of a whole batch (b, M, C), from all configurations."""
    b, _, classes = said.shape
    joint = np.array(
        [np.prod([said[i, :, c] for i, c in enumerate(y)], axis=0) for y in itertools.product(range(classes), repeat=b)]
    )
    return entropy(joint.mean(axis=1)) - entropy(said, axis=2).mean(axis=1).sum()


def greedy(said, n):
    """Picks and information of the batch after each, all configurations and all candidates at every pick."""
    rows: list[int] = []
    totals = []
    for _ in range(n):
        left = [row for row in range(len(said)) if row not in rows]
        gains = [information(said[[*rows, row]]) for row in left]
        rows.append(left[int(np.argmax(gains))])
        totals.append(max(gains))
    return rows, totals


@pytest.mark.parametrize(("classes", "n"), [(2, 6), (3, 4), (4, 3)])
def test_exact_picks_and_gains(classes, n):
    said = probabilities(30, 7, classes, seed=classes)
    rows, totals = greedy(said, n)
    found = pick_batch_bald(view(said), n, np.random.default_rng(0))
    assert found.rows.tolist() == rows
    np.testing.assert_allclose(np.cumsum(found.score), totals, rtol=1e-9)


@pytest.mark.usefixtures("lean_peer")
@pytest.mark.parametrize("seed", range(2))
def test_equals_batchbald_redux(seed):
    batchbald = pytest.importorskip("batchbald_redux.batchbald", reason="the peer is not installed")
    import torch

    said = probabilities(40, 6, 3, seed=seed)
    theirs = batchbald.get_batchbald_batch(
        torch.from_numpy(np.log(said)), batch_size=4, num_samples=5_000, dtype=torch.double
    )
    found = pick_batch_bald(view(said), 4, np.random.default_rng(0))
    assert found.rows.tolist() == theirs.indices
    np.testing.assert_allclose(np.cumsum(found.score), theirs.scores, rtol=1e-6)


def test_binary_readouts_are_two_classes():
    p = probabilities(40, 9, 2, seed=3)
    two = pick_batch_bald(view(p), 6, np.random.default_rng(0))
    one = pick_batch_bald(view(p[:, :, 1], "binary"), 6, np.random.default_rng(0))
    assert one.rows.tolist() == two.rows.tolist()


def test_several_outputs_are_joint_classes():
    p = np.random.default_rng(4).uniform(0.02, 0.98, (25, 6, 2))
    first, second = np.stack([1 - p[..., 0], p[..., 0]], -1), np.stack([1 - p[..., 1], p[..., 1]], -1)
    joint = (first[..., :, None] * second[..., None, :]).reshape(25, 6, 4)
    found = pick_batch_bald(view(p, "binary"), 4, np.random.default_rng(0))
    assert found.rows.tolist() == pick_batch_bald(view(joint), 4, np.random.default_rng(0)).rows.tolist()


def test_looking_only_where_it_could_matter_changes_nothing(monkeypatch):
    said = probabilities(300, 10, 3, seed=5)
    whole = pick_batch_bald(view(said), 6, np.random.default_rng(1)).rows
    monkeypatch.setattr("tasks.batches.batch_bald._NUMBERS", 400)
    np.testing.assert_array_equal(pick_batch_bald(view(said), 6, np.random.default_rng(1)).rows, whole)


def test_drawn_configurations_come_near_the_exact_gains():
    said = probabilities(60, 8, 2, seed=6)
    exact = pick_batch_bald(view(said), 9, np.random.default_rng(0))
    drawn = pick_batch_bald(view(said), 9, np.random.default_rng(0), configurations=128)
    assert information(said[drawn.rows]) > 0.98 * information(said[exact.rows])
    assert drawn.score.sum() == pytest.approx(exact.score.sum(), rel=0.05)


def test_does_not_pay_twice_for_the_same_news():
    """Copies of the most informative perturbation: one is taken, then another question."""
    sharp = np.repeat(np.eye(2)[[0, 0, 0, 0, 1, 1, 1, 1]][None], 6, axis=0)
    sharp[5] = np.eye(2)[[0, 1, 0, 1, 0, 1, 0, 1]]
    found = pick_batch_bald(view(sharp), 2, np.random.default_rng(0))
    assert sorted(row == 5 for row in found.rows.tolist()) == [False, True]
    np.testing.assert_allclose(found.score, np.log(2))
    with pytest.raises(ExhaustedStrategy, match="strategy batch-bald, pick 3: nothing left tells the members apart"):
        pick_batch_bald(view(sharp), 3, np.random.default_rng(0))


def test_what_is_pending_counts_as_part_of_the_batch():
    said = probabilities(40, 7, 3, seed=9)
    whole = pick_batch_bald(view(said), 5, np.random.default_rng(0))
    taken = np.isin(np.arange(40), whole.rows[:2])
    rest = pick_batch_bald(view(said).without(taken), 3, np.random.default_rng(0))
    assert rest.rows.tolist() == whole.rows[2:].tolist()
    np.testing.assert_allclose(rest.score, whole.score[2:])


def test_only_open_rows_are_taken():
    said = probabilities(20, 6, 3, seed=8)
    open_ = np.arange(20) % 2 == 1
    found = pick_batch_bald(view(said, open_=open_), 5, np.random.default_rng(0))
    assert found.rows.tolist() == [2 * row + 1 for row in greedy(said[open_], 5)[0]]


def test_continuous_readouts_are_refused():
    with pytest.raises(UserError, match="strategy batch-bald: the strategy is about classes; got continuous"):
        pick_batch_bald(view(np.zeros((4, 3)), "continuous"), 1, np.random.default_rng(0))


def test_too_many_joint_classes_are_refused():
    with pytest.raises(UserError, match="too many joint classes; got 7 outputs of 2 classes"):
        pick_batch_bald(view(np.full((4, 3, 7), 0.5), "binary"), 1, np.random.default_rng(0))
