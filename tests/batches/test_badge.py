"""Gradients of the last layer, against what automatic differentiation gives, and the draw from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tasks.batches import ExhaustedStrategy, PoolView
from tasks.batches.badge import gradient_embedding, hallucinated, pick_badge
from tasks.errors import UserError
from tasks.operators.rows import MemoryRows


def library(kind, columns, size=60, observed=5, seed=0):
    rng = np.random.default_rng(seed)
    said = rng.standard_normal((size, columns)) if columns else rng.standard_normal(size)
    if kind == "binary":
        said = 1 / (1 + np.exp(-2 * said))
    elif kind == "multi-class":
        said = np.exp(said) / np.exp(said).sum(axis=1, keepdims=True)
    return PoolView(
        coordinates=np.ones((size, 1)),
        eigenvalues=np.ones(1),
        variance=np.ones(size),
        predictions=said,
        members=np.ones((size, 2)),
        open=np.arange(size) >= observed,
        kind=kind,
        embedding=MemoryRows(rng.standard_normal((size, 4)), 7),
    )


def gradients(pool, seed=0):
    rows = gradient_embedding(pool.embedding, hallucinated(pool, np.random.default_rng(seed)))
    return rows.take(np.arange(len(pool)))


def pick(pool, n, seed=0):
    return pick_badge(pool, n, np.random.default_rng(seed))


def by_autograd(pool, row, target):
    """Gradient by the weights of a last layer whose outputs are the predictions."""
    features = torch.from_numpy(pool.embedding.array[row])
    said = torch.from_numpy(np.atleast_1d(pool.predictions[row]))
    wanted = torch.logit(said) if pool.kind == "binary" else said.log() if pool.kind == "multi-class" else said
    weights = torch.outer(wanted, features) / features.square().sum()
    weights.requires_grad_()
    out = weights @ features
    if pool.kind == "multi-class":
        loss = torch.nn.functional.cross_entropy(out[None], said.argmax()[None])
    elif pool.kind == "binary":
        loss = torch.nn.functional.binary_cross_entropy_with_logits(out, (said >= 0.5).double())
    else:
        loss = (out - target).square().sum() / 2
    loss.backward()
    return weights.grad.numpy().ravel()


@pytest.mark.parametrize(("kind", "columns"), [("binary", 0), ("multi-class", 3), ("continuous", 0), ("continuous", 2)])
def test_gradients_are_those_of_the_last_layer(kind, columns):
    pool = library(kind, columns)
    given = gradients(pool)
    assert given.shape == (60, max(columns, 1) * 4)
    # A label drawn as ŷ − ε has the gradient ε ⊗ h.
    drawn = np.random.default_rng(0).standard_normal((60, max(columns, 1)))
    for row in (0, 17, 42):
        target = torch.from_numpy(np.atleast_1d(pool.predictions[row]) - drawn[row])
        np.testing.assert_allclose(given[row], by_autograd(pool, row, target), atol=1e-12)


@pytest.mark.parametrize(("kind", "columns"), [("binary", 0), ("multi-class", 3), ("continuous", 0), ("continuous", 2)])
def test_each_pick_is_scored_by_its_distance_to_those_before(kind, columns):
    pool = library(kind, columns)
    picks, embedded = pick(pool, 20, seed=3), gradients(pool, seed=3)
    assert pool.open[picks.rows].all()
    assert picks.score[0] == pytest.approx(np.linalg.norm(embedded[picks.rows[0]]))
    for place in range(1, 20):
        to = embedded[picks.rows[:place]]
        assert picks.score[place] == pytest.approx(np.linalg.norm(to - embedded[picks.rows[place]], axis=1).min())


def test_draws_where_the_ensemble_is_unsure():
    pool = library("binary", 0, size=400, observed=0)
    later = np.concatenate([pick(pool, 11, seed).rows[1:] for seed in range(20)])
    sure = np.abs(pool.predictions - 0.5)
    assert sure[later].mean() < sure.mean() - 0.05


def test_what_the_ensemble_is_certain_of_is_drawn_once_at_most():
    """All of it has the gradient 0, which is a place like others once there is a pick, but not before."""
    pool = library("multi-class", 3, size=30, observed=0)
    sure = pool.predictions.copy()
    sure[:25] = [1.0, 0.0, 0.0]
    pool = replace(pool, predictions=sure)
    for seed in range(10):
        assert pick(pool, 1, seed).rows[0] >= 25
        assert set(range(25, 30)) < set(pick(pool, 6, seed).rows.tolist())
    with pytest.raises(ExhaustedStrategy, match=r"badge, pick 7: .*every perturbation left coincides"):
        pick(pool, 7)
    with pytest.raises(ExhaustedStrategy, match=r"badge, pick 1: "):
        pick(replace(pool, predictions=np.repeat([[1.0, 0.0, 0.0]], 30, axis=0)), 1)


def test_the_observed_play_no_part():
    pool = library("binary", 0)
    embedded = pool.embedding.array.copy()
    embedded[:5] = 50.0
    other = replace(pool, embedding=MemoryRows(embedded, 7))
    np.testing.assert_array_equal(pick(pool, 15).rows, pick(other, 15).rows)


def test_an_embedding_is_needed():
    with pytest.raises(UserError, match=r"strategy badge.*needs embedding"):
        pick(replace(library("binary", 0), embedding=None), 1)


def test_what_was_picked_and_waits_for_its_label_is_a_centre():
    """Twelve copies of three gradients: after one of each was picked nothing differs from them."""
    pool = library("binary", 0, size=36, observed=0)
    embedded, said = np.repeat(pool.embedding.array[:3], 12, axis=0), np.repeat(pool.predictions[:3], 12)
    pool = replace(pool, embedding=MemoryRows(embedded, 7), predictions=said)
    for seed in range(10):
        first = pick(pool, 2, seed)
        left = pool.without(np.isin(np.arange(36), first.rows))
        third = pick(left, 1, seed + 1)
        assert {*(first.rows // 12).tolist(), *(third.rows // 12).tolist()} == {0, 1, 2}
        with pytest.raises(ExhaustedStrategy, match=r"badge, pick 2: .*every perturbation left coincides"):
            pick(left, 2, seed)
