"""Strategies that score every perturbation by itself: each against its definition, and draws against theirs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, entropy

from tasks.batches import STRATEGIES, ExhaustedStrategy, PoolView
from tasks.batches.pointwise import draw_by_weight, pick_largest
from tasks.batches.probabilities import by_members, mutual_information
from tasks.errors import NumericalError, UserError


def draw(name, pool, n, seed=0, **options):
    return STRATEGIES[name].pick(pool, n, np.random.default_rng(seed), **options)


def view(size=50, kind="continuous", seed=0, **changes):
    rng = np.random.default_rng(seed)
    values = {
        "coordinates": np.zeros((size, 1)),
        "eigenvalues": np.ones(1),
        "variance": rng.uniform(0.1, 2.0, size),
        "predictions": rng.standard_normal(size),
        "members": rng.standard_normal((size, 7)),
        "kind": kind,
    }
    return PoolView(**(values | changes))


def of_classes(members, kind, **changes):
    return view(len(members), kind, members=members, predictions=members.mean(axis=1), **changes)


def softmax(values):
    return np.exp(values) / np.exp(values).sum(axis=-1, keepdims=True)


def three_classes(size=40, members=9, seed=1):
    rng = np.random.default_rng(seed)
    return softmax(2 * rng.standard_normal((size, members, 3)))


def best(score, n):
    return np.argsort(-np.asarray(score), kind="stable")[:n].tolist()


class TestLargest:
    @given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(0, 40), st.integers(0, 99))
    @settings(max_examples=60, deadline=None)
    def test_takes_the_largest_in_order(self, scores, n, seed):
        score = np.array(scores, dtype=float)
        pool = view(len(scores))
        n = min(n, int((score > 0).sum()))
        taken = pick_largest(pool, n, np.random.default_rng(seed), "s", score, lambda s, k: f"{s} {k}")
        assert taken.score.tolist() == sorted(scores, reverse=True)[:n]
        np.testing.assert_array_equal(score[taken.rows], taken.score)
        assert taken.reason == tuple(f"{s} {k + 1}" for k, s in enumerate(taken.score.tolist()))

    def test_scores_are_those_of_the_open_rows(self):
        pool = view(6, open=np.array([True, False, True, True, False, True]))
        taken = pick_largest(pool, 2, np.random.default_rng(0), "s", np.array([1.0, 4.0, 2.0, 3.0]), lambda *_: "")
        assert taken.rows.tolist() == [2, 5]

    def test_ties_at_the_border_are_drawn(self):
        score = np.array([3.0, 1.0, 1.0, 1.0, 0.5])
        seen = set()
        for seed in range(40):
            taken = pick_largest(view(5), 2, np.random.default_rng(seed), "s", score, lambda *_: "")
            assert taken.rows[0] == 0
            seen.add(int(taken.rows[1]))
        assert seen == {1, 2, 3}

    def test_says_at_which_pick_nothing_is_left(self):
        with pytest.raises(
            ExhaustedStrategy, match="strategy s, pick 3: no score left to choose by; got score 0 or less"
        ):
            pick_largest(view(4), 3, np.random.default_rng(0), "s", np.array([0.0, 2.0, 1.0, 0.0]), lambda *_: "")

    def test_refuses_scores_that_are_no_numbers(self):
        with pytest.raises(NumericalError, match="strategy s: the score of row 2 is not a number"):
            pick_largest(view(3), 1, np.random.default_rng(0), "s", np.array([1.0, 2.0, np.nan]), lambda *_: "")


class TestDraws:
    def test_the_first_draw_follows_the_weights(self):
        weight = np.array([1.0, 2.0, 3.0, 4.0])
        counts, pool = np.zeros(4), view(4)
        for seed in range(3000):
            drawn = draw_by_weight(pool, 1, np.random.default_rng(seed), "s", np.log(weight), "weight")
            counts[drawn.rows[0]] += 1
        assert chisquare(counts, 3000 * weight / weight.sum()).pvalue > 1e-3

    def test_the_second_draw_follows_the_weights_of_what_is_left(self):
        weight = np.array([1.0, 2.0, 3.0])
        counts: dict[tuple[int, ...], int] = {}
        pool = view(3)
        for seed in range(4000):
            rows = draw_by_weight(pool, 2, np.random.default_rng(seed), "s", np.log(weight), "weight").rows
            counts[tuple(rows.tolist())] = counts.get(tuple(rows.tolist()), 0) + 1
        pairs = sorted(counts)
        assert len(pairs) == 6
        share = [weight[i] / 6 * weight[j] / (6 - weight[i]) for i, j in pairs]
        assert chisquare([counts[pair] for pair in pairs], 4000 * np.array(share)).pvalue > 1e-3

    def test_weights_far_apart_do_not_overflow(self):
        drawn = draw_by_weight(view(3), 3, np.random.default_rng(0), "s", np.array([5000.0, 0.0, -5000.0]), "weight")
        assert drawn.rows.tolist() == [0, 1, 2]
        np.testing.assert_allclose(drawn.score, [1.0, 0.0, 0.0])

    def test_error_sampling_follows_the_variance(self):
        pool = view(3, variance=np.array([1.0, 0.0, 3.0]))
        counts = np.bincount([int(draw("error-sampling", pool, 1, seed).rows[0]) for seed in range(2000)], minlength=3)
        assert counts[1] == 0
        assert chisquare(counts[[0, 2]], [500, 1500]).pvalue > 1e-3
        np.testing.assert_allclose(sorted(draw("error-sampling", pool, 2).score), [0.25, 0.75])
        with pytest.raises(ExhaustedStrategy, match="strategy error-sampling, pick 3: no reducible error left"):
            draw("error-sampling", pool, 3)

    @pytest.mark.parametrize("temperature", [0.5, 2.0])
    def test_soft_bald_follows_a_power_of_the_variance(self, temperature):
        """Not GeneDisco's code, whose second exponential would make these draws nearly uniform."""
        variance = np.array([1.0, 2.0, 4.0])
        pool = view(3, variance=variance)
        rows = [int(draw("soft-bald", pool, 1, seed, temperature=temperature).rows[0]) for seed in range(3000)]
        weight = variance ** (1 / temperature)
        assert chisquare(np.bincount(rows, minlength=3), 3000 * weight / weight.sum()).pvalue > 1e-3

    def test_a_cold_soft_bald_is_greedy(self):
        pool = view(60)
        assert draw("soft-bald", pool, 10, temperature=1e-6).rows.tolist() == best(pool.variance, 10)

    def test_soft_bald_of_classes_goes_by_mutual_information(self):
        members = three_classes()
        information = entropy(members.mean(axis=1), axis=1) - entropy(members, axis=2).mean(axis=1)
        taken = draw("soft-bald", of_classes(members, "multi-class"), 8, temperature=1e-5)
        assert taken.rows.tolist() == best(information, 8)


class TestClasses:
    def test_least_confidence(self):
        members = three_classes()
        taken = draw("least-confidence", of_classes(members, "multi-class"), 12)
        score = 1 - members.mean(axis=1).max(axis=1)
        assert taken.rows.tolist() == best(score, 12)
        np.testing.assert_allclose(taken.score, np.sort(score)[::-1][:12])

    def test_margin(self):
        members = three_classes()
        ordered = np.sort(members.mean(axis=1), axis=1)
        taken = draw("margin", of_classes(members, "multi-class"), 12)
        assert taken.rows.tolist() == best(1 - (ordered[:, 2] - ordered[:, 1]), 12)

    def test_maximum_entropy(self):
        members = three_classes()
        taken = draw("maximum-entropy", of_classes(members, "multi-class"), 12)
        assert taken.rows.tolist() == best(entropy(members.mean(axis=1), axis=1), 12)

    def test_query_by_committee_counts_votes(self):
        members = three_classes()
        votes = np.stack([(members.argmax(axis=2) == c).mean(axis=1) for c in range(3)], axis=1)
        taken = draw("query-by-committee", of_classes(members, "multi-class"), 12)
        np.testing.assert_allclose(taken.score, np.sort(entropy(votes, axis=1))[::-1][:12])

    def test_a_member_that_cannot_decide_splits_its_vote(self):
        pool = of_classes(np.array([[0.5, 0.5], [0.9, 0.9], [0.9, 0.1]]), "binary")
        np.testing.assert_allclose(draw("query-by-committee", pool, 2).score, np.log(2))

    def test_unanimous_members_are_not_chosen_between(self):
        pool = of_classes(np.array([[0.9, 0.8], [0.2, 0.9], [0.3, 0.1]]), "binary")
        assert draw("query-by-committee", pool, 1).rows.tolist() == [1]
        with pytest.raises(ExhaustedStrategy, match="query-by-committee, pick 2: no disagreement left"):
            draw("query-by-committee", pool, 2)

    @pytest.mark.parametrize("name", ["least-confidence", "margin", "maximum-entropy", "query-by-committee"])
    def test_binary_is_two_classes(self, name):
        p = np.random.default_rng(2).uniform(0.01, 0.99, (50, 8))
        two = np.stack([1 - p, p], axis=2)
        one = draw(name, of_classes(p, "binary"), 10, seed=4)
        np.testing.assert_allclose(one.score, draw(name, of_classes(two, "multi-class"), 10, seed=4).score)

    @pytest.mark.parametrize("name", ["least-confidence", "margin", "maximum-entropy", "query-by-committee"])
    def test_several_outputs_add_up(self, name):
        p = np.random.default_rng(2).uniform(0.01, 0.99, (30, 8, 2))
        both = draw(name, of_classes(p, "binary"), 10)
        alone = [_all(name, p[:, :, output]) for output in range(2)]
        for row, score in zip(both.rows.tolist(), both.score.tolist(), strict=True):
            assert score == pytest.approx(sum(part.get(row, 0.0) for part in alone))

    @pytest.mark.parametrize(
        "name", ["least-confidence", "margin", "maximum-entropy", "query-by-committee", "soft-bald"]
    )
    def test_what_is_certain_is_not_chosen(self, name):
        pool = of_classes(np.array([[1.0, 1.0], [0.4, 0.7], [0.0, 0.0]]), "binary")
        assert draw(name, pool, 1).rows.tolist() == [1]
        with pytest.raises(ExhaustedStrategy, match=f"{name}, pick 2"):
            draw(name, pool, 2)

    def test_values_that_are_no_probabilities_are_refused(self):
        with pytest.raises(NumericalError, match="probabilities between"):
            draw("least-confidence", of_classes(np.array([[0.2, 1.9]]), "binary"), 1)
        with pytest.raises(NumericalError, match=r"sum up to 0\.8"):
            draw("margin", of_classes(np.array([[[0.4, 0.4], [0.4, 0.4]]]), "multi-class"), 1)

    def test_blocks_change_nothing(self, monkeypatch):
        pool = of_classes(three_classes(), "multi-class", open=np.arange(40) % 3 > 0)
        whole = by_members(pool, "s", mutual_information)
        monkeypatch.setattr("tasks.batches.probabilities._NUMBERS", 150)
        np.testing.assert_array_equal(by_members(pool, "s", mutual_information), whole)


def _all(name, p):
    """Score of every row that has one above 0."""
    pool = of_classes(p, "binary")
    for n in range(len(p), 0, -1):
        try:
            picks = draw(name, pool, n)
        except ExhaustedStrategy:
            continue
        return dict(zip(picks.rows.tolist(), picks.score.tolist(), strict=True))
    return {}


class TestContinuous:
    def test_top_variance_takes_the_largest(self):
        pool = view()
        taken = draw("top-variance", pool, 10)
        assert taken.rows.tolist() == best(pool.variance, 10)

    def test_top_variance_does_not_guess_where_there_is_no_variance(self):
        pool = view(5, variance=np.array([1.0, 0.0, 2.0, 0.0, 0.0]))
        assert draw("top-variance", pool, 2).rows.tolist() == [2, 0]
        with pytest.raises(ExhaustedStrategy, match="pick 3: no variance left"):
            draw("top-variance", pool, 4)

    def test_margin_is_the_range_of_the_members(self):
        pool = view()
        assert draw("margin", pool, 10).rows.tolist() == best(np.ptp(pool.members, axis=1), 10)

    def test_query_by_committee_is_the_variance_of_the_members(self):
        pool = view()
        taken = draw("query-by-committee", pool, 10)
        assert taken.rows.tolist() == best(pool.members.var(axis=1, ddof=1), 10)
        same = replace(pool, members=np.full((50, 7), 0.1))
        with pytest.raises(ExhaustedStrategy, match="pick 1: no disagreement"):
            draw("query-by-committee", same, 1)

    @pytest.mark.parametrize("name", ["margin", "query-by-committee"])
    def test_several_outputs_count_together(self, name):
        members = np.random.default_rng(5).standard_normal((40, 6, 3))
        pool = view(40, members=members, predictions=members.mean(axis=1))
        score = {
            "margin": np.linalg.norm(np.ptp(members, axis=1), axis=1),
            "query-by-committee": members.var(axis=1, ddof=1).sum(axis=1),
        }[name]
        assert draw(name, pool, 9).rows.tolist() == best(score, 9)

    def test_maximum_entropy_counts_the_noise(self):
        pool = view(noise=np.random.default_rng(3).uniform(0, 5, 50))
        taken = draw("maximum-entropy", pool, 10)
        total = pool.variance + pool.noise
        assert taken.rows.tolist() == best(total, 10)
        np.testing.assert_allclose(taken.score, 0.5 * np.log(2 * np.pi * np.e * total[taken.rows]))

    def test_a_readout_that_is_certain_has_no_entropy(self):
        with pytest.raises(ExhaustedStrategy, match="maximum-entropy, pick 2: no entropy left"):
            draw("maximum-entropy", view(2, variance=np.array([0.0, 1.0])), 2)


class TestHits:
    @pytest.mark.parametrize(("tail", "sign"), [("high", 1), ("low", -1)])
    def test_tails(self, tail, sign):
        pool = view()
        assert draw("greedy-hits", pool, 9, tail=tail).rows.tolist() == best(sign * pool.predictions, 9)
        score = sign * pool.predictions + 2 * np.sqrt(pool.variance)
        assert draw("ucb", pool, 9, tail=tail, beta=2.0).rows.tolist() == best(score, 9)

    def test_both_tails(self):
        pool = view()
        assert draw("greedy-hits", pool, 9, tail="both").rows.tolist() == best(np.abs(pool.predictions), 9)

    def test_no_optimism_is_greedy(self):
        pool = view()
        np.testing.assert_array_equal(draw("ucb", pool, 9, beta=0.0).rows, draw("greedy-hits", pool, 9).rows)

    def test_values_below_zero_are_still_ranked(self):
        pool = view(4, predictions=np.array([-3.0, -1.0, -2.0, -4.0]))
        assert draw("greedy-hits", pool, 4).rows.tolist() == [1, 2, 0, 3]

    def test_one_of_several_outputs(self):
        members = np.random.default_rng(5).standard_normal((40, 6, 3))
        pool = view(40, members=members, predictions=members.mean(axis=1))
        assert draw("greedy-hits", pool, 5, output=2).rows.tolist() == best(pool.predictions[:, 2], 5)
        score = pool.predictions[:, 1] + members[:, :, 1].std(axis=1, ddof=1)
        assert draw("ucb", pool, 5, output=1).rows.tolist() == best(score, 5)
        with pytest.raises(UserError, match="strategy ucb, option output: no such output; got 3, expected 0 to 2"):
            draw("ucb", pool, 5, output=3)

    def test_a_probability_has_one_tail(self):
        pool = of_classes(np.full((4, 2), 0.3), "binary")
        with pytest.raises(UserError, match="a probability has no two tails"):
            draw("greedy-hits", pool, 1, tail="both")


def test_in_order_takes_the_next_open_rows():
    pool = view(8, open=np.array([False, True, False, True, True, True, False, True]))
    assert draw("in-order", pool, 3).rows.tolist() == [1, 3, 4]


def test_random_is_uniform():
    pool = view(6, open=np.array([True, True, False, True, True, True]))
    counts = np.bincount([int(draw("random", pool, 1, seed).rows[0]) for seed in range(1000)], minlength=6)
    assert counts[2] == 0
    assert chisquare(np.delete(counts, 2)).pvalue > 1e-3
