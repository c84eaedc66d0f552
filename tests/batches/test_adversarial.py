"""Adversarial points over the whole pool, and the perturbations nearest to them."""

import weakref
from dataclasses import replace

import numpy as np
import pytest

from tasks.batches import ExhaustedStrategy, PoolView
from tasks.batches.adversarial import pick_adversarial_bim
from tasks.errors import UserError
from tasks.operators.rows import MemoryRows


def bowl(features):
    """Variance that grows away from the origin, most along the first feature."""
    scale = np.array([3.0, 1.0, 0.5])
    return (scale * np.square(features)).sum(axis=1), 2 * scale * features


def view(points, gradient=bowl, chunk=16_384, open_=None):
    size = len(points)
    return PoolView(
        coordinates=np.zeros((size, 1)),
        eigenvalues=np.ones(1),
        variance=np.ones(size),
        predictions=np.zeros(size),
        members=np.zeros((size, 2)),
        open=np.ones(size, dtype=bool) if open_ is None else open_,
        features=MemoryRows(points, chunk),
        gradient=gradient,
    )


def cloud(size=200, seed=0):
    return np.random.default_rng(seed).standard_normal((size, 3))


def oracle(points, n, step=0.05, reach=0.35, steps=100):
    """Straight from the definition, one point and one step at a time."""
    ends = []
    for x in points:
        moved = x.copy()
        for _ in range(steps):
            moved = moved + step * np.sign(bowl(moved[None])[1][0])
            if np.linalg.norm(moved - x) >= reach * np.linalg.norm(x):
                break
        ends.append(moved)
    ends = np.array(ends)
    rows: list[int] = []
    for end in ends[np.argsort(-bowl(ends)[0])[:n]]:
        distance = np.linalg.norm(points - end, axis=1)
        distance[rows] = np.inf
        rows.append(int(np.argmin(distance)))
    return rows


def draw(pool, n, seed=0, **options):
    return pick_adversarial_bim(pool, n, np.random.default_rng(seed), **options)


@pytest.mark.parametrize("options", [{}, {"step": 0.2, "reach": 1.0}, {"steps": 2}])
def test_agrees_with_the_definition(options):
    points = cloud()
    assert draw(view(points), 25, **options).rows.tolist() == oracle(points, 25, **options)


def test_looks_at_the_whole_pool():
    """The most uncertain corner stands in the last rows, which the published code never scores."""
    points = np.concatenate([0.1 * cloud(300, seed=1), np.array([[4.0, 0.0, 0.0], [5.0, 0.1, 0.0]])])
    assert set(draw(view(points), 2).rows.tolist()) == {300, 301}


def test_chunks_change_nothing():
    points = cloud(seed=2)
    whole = draw(view(points), 30)
    pieces = draw(view(points, chunk=9), 30)
    np.testing.assert_array_equal(whole.rows, pieces.rows)
    assert whole.reason == pieces.reason


class Watched(MemoryRows):
    """Rows that count how many answers of a pass are held at once."""

    most = 0

    def map(self, function, *args, along=()):
        given = []
        for part in super().map(function, *args, along=along):
            given += [weakref.ref(part)] if part is not None else []
            self.most = max(self.most, sum(answer() is not None for answer in given))
            yield part


def test_points_of_the_chunks_are_not_gathered():
    rows = Watched(cloud(300), 10)
    draw(replace(view(cloud(300)), features=rows), 20)
    assert 1 <= rows.most <= 3, f"{rows.most} of 30 answers were held at once"


def test_points_that_all_end_in_one_place_claim_different_perturbations(monkeypatch):
    monkeypatch.setattr("tasks.batches.claims._NEAR", 4)
    points = 1.0 + 0.01 * cloud(60, seed=3)
    picks = draw(view(points), 60)
    assert sorted(picks.rows.tolist()) == list(range(60))


def test_only_open_rows_move_and_are_claimed():
    points, open_ = cloud(), np.arange(200) % 4 == 0
    rows = draw(view(points, open_=open_), 12).rows
    assert open_[rows].all()
    assert rows.tolist() == [4 * row for row in oracle(points[open_], 12)]


def test_a_flat_variance_moves_nobody():
    points = cloud(30)
    picks = draw(view(points, lambda features: (1 + features[:, 0] ** 2, np.zeros_like(features))), 5)
    assert picks.rows.tolist() == np.argsort(-(points[:, 0] ** 2))[:5].tolist()
    assert all(reason.startswith("0 from a point") for reason in picks.reason)


def test_says_when_there_is_no_variance():
    nothing = view(cloud(10), lambda features: (np.zeros(len(features)), np.zeros_like(features)))
    with pytest.raises(ExhaustedStrategy, match="strategy adversarial-bim, pick 1: no variance found"):
        draw(nothing, 2)


@pytest.mark.parametrize("part", ["features", "gradient"])
def test_says_what_it_lacks(part):
    with pytest.raises(UserError, match=f"strategy adversarial-bim: the strategy needs {part}"):
        draw(replace(view(cloud(10)), **{part: None}), 2)
