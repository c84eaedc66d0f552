"""What every strategy promises, whatever it maximises: one template over the whole registry."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.batches import STRATEGIES, ExhaustedStrategy, PoolView
from tasks.batches.compose import compose
from tasks.batches.options import read_options
from tasks.campaigns.batch_settings import Slot
from tasks.errors import UserError
from tasks.operators.rows import MemoryRows

READOUTS = {
    "continuous": ("continuous", 0),
    "several outputs": ("continuous", 3),
    "binary": ("binary", 0),
    "multi-class": ("multi-class", 4),
}
#: Strategies that use no chance at all: the order of the library breaks their ties.
WITHOUT_CHANCE = {"in-order"}
CASES = [
    (name, readout)
    for name, strategy in sorted(STRATEGIES.items())
    for readout, (kind, _) in READOUTS.items()
    if kind in strategy.kinds
]


def gradient(features):
    """Variance x² summed, and its slope; row by row, so that chunks change nothing."""
    return np.square(features).sum(axis=1) + 0.1, 2.0 * features


def said_by_members(rng, size, kind, columns):
    """(N, M) or (N, M, C): 12 members that disagree here more and there less."""
    width, columns_ = rng.uniform(0.5, 3.0, (size, 1, 1)), max(columns, 1)
    logits = rng.standard_normal((size, 1, columns_)) + width * rng.standard_normal((size, 12, columns_))
    if kind == "continuous":
        said = logits
    elif kind == "binary":
        said = 1 / (1 + np.exp(-logits))
    else:
        said = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    return (said if columns else said[..., 0]).astype(np.float32)


def library(readout, size=60, observed=10, rank=20, seed=0, chunk=16_384):
    """A library with all that any strategy may ask for; the observed rows are spread over it."""
    kind, columns = READOUTS[readout]
    rng, everything = np.random.default_rng(seed), size + observed
    members = said_by_members(rng, everything, kind, columns)
    coordinates = np.linalg.qr(rng.standard_normal((everything, rank)))[0] * np.sqrt(np.linspace(5.0, 0.5, rank))
    return PoolView(
        coordinates=MemoryRows(coordinates.astype(np.float32), chunk),
        eigenvalues=np.linspace(5.0, 0.5, rank),
        variance=np.square(coordinates.astype(np.float32).astype(np.float64)).sum(axis=1),
        predictions=members.mean(axis=1, dtype=np.float64),
        members=members,
        noise=rng.uniform(0.05, 0.2, everything),
        open=~np.isin(np.arange(everything), rng.choice(everything, observed, replace=False)),
        kind=kind,
        features=MemoryRows(rng.standard_normal((everything, 6)).astype(np.float32), chunk),
        embedding=MemoryRows(rng.standard_normal((everything, 5)).astype(np.float32), chunk),
        gradient=gradient,
    )


def identical(readout, size=6):
    """Perturbations that no strategy can tell apart, all uncertain, beside one observed that differs."""
    kind, columns = READOUTS[readout]
    # The members disagree: half of them say the opposite of the others.
    half = said_by_members(np.random.default_rng(3), 1, kind, columns)
    other = np.roll(half, 1, axis=2) if kind == "multi-class" else (1 - half if kind == "binary" else -half)
    members = np.repeat(np.concatenate([half, other], axis=1), size + 1, axis=0)
    coordinates = np.repeat(np.array([[1.0, 0.0], [0.0, 0.5]]), [size, 1], axis=0)
    return PoolView(
        coordinates=MemoryRows(coordinates),
        eigenvalues=np.array([float(size), 0.25]),
        variance=np.square(coordinates).sum(axis=1),
        predictions=members.mean(axis=1, dtype=np.float64),
        members=members,
        noise=np.full(size + 1, 0.1),
        open=np.arange(size + 1) < size,
        kind=kind,
        features=MemoryRows(coordinates + 1.0),
        embedding=MemoryRows(coordinates + 1.0),
        gradient=gradient,
    )


def draw(name, pool, n, seed=0):
    return STRATEGIES[name].pick(pool, n, np.random.default_rng(seed))


def arrays(pool):
    rows = [pool.coordinates, pool.features, pool.embedding]
    plain = [pool.eigenvalues, pool.variance, pool.predictions, pool.members, pool.noise, pool.open]
    return [matrix.array for matrix in rows] + plain


@pytest.mark.parametrize(("name", "readout"), CASES)
class TestEveryStrategy:
    @pytest.mark.parametrize("n", [0, 1, 6])
    def test_supplies_distinct_open_rows(self, name, readout, n):
        pool = library(readout)
        picks = draw(name, pool, n)
        assert len(np.unique(picks.rows)) == n
        assert pool.open[picks.rows].all()
        assert np.isfinite(picks.score).all()
        assert all(picks.reason)
        assert ((picks.mode >= -1) & (picks.mode < 20)).all()

    def test_takes_the_whole_pool_or_says_at_which_pick_it_cannot(self, name, readout):
        pool = library(readout, size=30)
        try:
            picks = draw(name, pool, 30)
        except ExhaustedStrategy as error:
            pick = int(str(error).split(f"strategy {name}, pick ")[1].split(":")[0])
            assert 6 < pick <= 30
        else:
            assert sorted(picks.rows.tolist()) == np.flatnonzero(pool.open).tolist()

    def test_says_when_the_pool_is_too_small(self, name, readout):
        with pytest.raises(ExhaustedStrategy, match=rf"{name}, pick 13: .*got 12 perturbations"):
            draw(name, library(readout, size=12), 13)

    def test_depends_on_the_seed_alone_and_changes_nothing(self, name, readout):
        pool = library(readout)
        before = [array.copy() for array in arrays(pool)]
        first, again = draw(name, pool, 6, seed=3), draw(name, pool, 6, seed=3)
        np.testing.assert_array_equal(first.rows, again.rows)
        assert first.reason == again.reason
        for array, copy in zip(arrays(pool), before, strict=True):
            np.testing.assert_array_equal(array, copy)

    def test_chunks_change_nothing(self, name, readout):
        whole, pieces = (draw(name, library(readout, chunk=chunk), 6, seed=1) for chunk in (16_384, 7))
        np.testing.assert_array_equal(whole.rows, pieces.rows)
        np.testing.assert_allclose(whole.score, pieces.score, rtol=1e-6)

    def test_ties_are_drawn(self, name, readout):
        """Identical perturbations: each is picked by some seed, none always."""
        pool, first, every = identical(readout), set(), set(range(6))
        for seed in range(60):
            first.add(int(draw(name, pool, 1, seed=seed).rows[0]))
            if first == every:
                break
        assert first == ({0} if name in WITHOUT_CHANCE else every)

    def test_is_blind_to_the_audit(self, name, readout):
        """What it is asked for first does not depend on who is hidden, nor do the rows that it gives."""
        pool = library(readout)
        sequences = set()
        for seed in range(3):
            hidden = pool.open & (np.random.default_rng(seed).random(len(pool)) < 0.3 * seed)
            batch = compose(pool, hidden, (Slot(strategy=name, share=1.0),), 3, 0.0, 5, [str(i) for i in range(70)])
            sequences.add(tuple(batch["perturbation"][:3]))
        assert len(sequences) == 1


@pytest.mark.parametrize(
    ("name", "readout"), [(n, r) for n in sorted(STRATEGIES) for r in READOUTS if (n, r) not in CASES]
)
def test_a_readout_without_a_definition_is_refused(name, readout):
    with pytest.raises(UserError, match=f"strategy {name}"):
        draw(name, library(readout), 3)


#: Parts of the pool view that are left out where no strategy needs them.
OPTIONAL = ("members", "features", "embedding", "gradient")


@pytest.mark.parametrize(("name", "readout"), CASES)
def test_what_a_strategy_needs_must_be_there_and_nothing_else(name, readout):
    pool, needs = library(readout), STRATEGIES[name].needed(READOUTS[readout][0])
    if (name, readout) == ("ucb", "several outputs"):
        needs = ("members",)  # campaigns have one output of a kind without classes
    for part in needs:
        with pytest.raises(UserError, match=f"strategy {name}: the strategy needs {part}"):
            draw(name, replace(pool, **{part: None}), 3)
    bare = replace(pool, **{part: None for part in OPTIONAL if part not in needs})
    assert draw(name, bare, 6).rows.tolist() == draw(name, pool, 6).rows.tolist()


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_noise_matters_where_it_is_said_to(name):
    """The flag of the table: picks of the greedy ones change with the noise if and only if they claim to see it."""
    strategy = STRATEGIES[name]
    pool = library(next(r for r, (kind, _) in READOUTS.items() if kind in strategy.kinds))
    order = np.random.default_rng(8).permutation(len(pool))
    loud = replace(pool, noise=np.where(order % 2 == 0, 100.0, 1e-3))
    differs = any(
        draw(name, pool, 6, seed=seed).rows.tolist() != draw(name, loud, 6, seed=seed).rows.tolist()
        for seed in range(3)
    )
    assert differs == strategy.noise_aware


class TestOptions:
    def test_defaults_are_filled_in(self):
        assert read_options("ucb", STRATEGIES["ucb"].pick, {"beta": 3}) == {"beta": 3.0, "tail": "high", "output": 0}

    def test_an_unknown_option_is_refused(self):
        with pytest.raises(
            UserError, match=r"strategy ucb, option gamma: .*no such option; expected beta, tail, output"
        ):
            read_options("ucb", STRATEGIES["ucb"].pick, {"gamma": 1})

    def test_a_strategy_without_options_says_so(self):
        with pytest.raises(UserError, match=r"strategy random, option seed: .*no such option; expected no options"):
            read_options("random", STRATEGIES["random"].pick, {"seed": 1})

    @pytest.mark.parametrize(
        ("name", "given"),
        [
            ("soft-bald", {"temperature": 0}),
            ("soft-bald", {"temperature": float("inf")}),
            ("ucb", {"beta": "much"}),
            ("ucb", {"tail": "middle"}),
            ("greedy-hits", {"output": -1}),
        ],
    )
    def test_a_value_that_does_not_fit_is_refused(self, name, given):
        with pytest.raises(UserError, match=f"batch, strategy {name}, option {next(iter(given))}: .*got "):
            read_options(name, STRATEGIES[name].pick, given)
