"""Composition of a batch: shares, releases, random arm, blindness to the audit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, chisquare

from tasks.batches import STRATEGIES, ExhaustedStrategy, Picks, Strategy
from tasks.batches.compose import BATCH_COLUMNS, compose, initial_batch
from tasks.batches.slots import read_slots
from tasks.campaigns.batch_settings import Hits, Slot
from tasks.errors import NumericalError, UserError

IDS = [f"c{i:04d}" for i in range(1000)]
CLUSTERS = (Slot(strategy="eigenspace-clusters", share=1.0),)
MIXED = (
    Slot(strategy="eigenspace-clusters", share=0.5),
    Slot(strategy="eigenmodes", share=0.3),
    Slot(strategy="random", share=0.2),
)


def hide(size, count, seed=1, observed=0):
    """Some of the first `size` rows; the `observed` ones after them are never hidden."""
    mask = np.zeros(size + observed, dtype=bool)
    mask[np.random.default_rng(seed).choice(size, count, replace=False)] = True
    return mask


class TestInitialBatch:
    def test_audit_and_training_set_are_disjoint_and_full(self):
        batch = initial_batch(1000, IDS, audit=80, wells=300, seed=5)
        assert tuple(batch.columns) == BATCH_COLUMNS
        assert batch["arm"].value_counts().to_dict() == {"initial": 220, "audit": 80}
        assert batch["perturbation"].is_unique
        assert set(batch["action"]) == {"measure"}

    def test_every_perturbation_is_as_likely_to_be_audited(self):
        counts = np.zeros(20)
        for seed in range(800):
            batch = initial_batch(20, IDS[:20], audit=5, wells=12, seed=seed)
            audited = batch.loc[batch["arm"] == "audit", "perturbation"]
            counts[[IDS.index(name) for name in audited]] += 1
        assert chisquare(counts).pvalue > 1e-3

    def test_a_small_library_is_measured_whole(self):
        batch = initial_batch(20, IDS[:20], audit=5, wells=100, seed=0)
        assert sorted(batch["perturbation"]) == IDS[:20]

    def test_the_audit_must_leave_room_for_training(self):
        with pytest.raises(
            UserError, match=r"leaves nothing to train on.*audit set of 80, room for 80.*plates.initial"
        ):
            initial_batch(1000, IDS, audit=80, wells=80, seed=0)


class TestCompose:
    def test_fills_the_wells_exactly(self, make_pool):
        hidden = hide(400, 60, observed=20)
        batch = compose(make_pool(400, 8, observed=20), hidden, MIXED, 100, 0.1, 7, IDS)
        measured = batch[batch["action"] == "measure"]
        assert len(measured) == 100
        assert batch["perturbation"].is_unique
        assert (measured["arm"] == "random").sum() == 10
        strategic = measured[measured["arm"] == "strategy"]
        assert strategic["slot"].value_counts().to_dict() == {"eigenspace-clusters": 45, "eigenmodes": 27, "random": 18}
        for _, group in batch.groupby(["arm", "slot"]):
            assert group["rank"].tolist() == list(range(len(group)))

    def test_exactly_the_picked_members_are_released(self, make_pool):
        hidden = hide(400, 100, observed=20)
        batch = compose(make_pool(400, 8, observed=20), hidden, MIXED, 100, 0.1, 7, IDS)
        is_hidden = batch["perturbation"].map(dict(zip(IDS, hidden, strict=False)))
        assert (batch["action"] == "release").sum() > 10
        assert ((batch["action"] == "release") == is_hidden).all()
        assert not is_hidden[batch["arm"] == "random"].any()

    @pytest.mark.parametrize(
        "slots", [CLUSTERS, (Slot(strategy="top-variance", share=1.0),)], ids=lambda s: s[0].strategy
    )
    def test_strategies_are_blind_to_the_audit(self, make_pool, slots):
        """A strategy whose picks continue one another picks the same sequence, whoever is hidden."""
        pool = make_pool(300, 6, observed=15)
        sequences = []
        for seed in range(6):
            batch = compose(pool, hide(300, 20 * seed, seed, observed=15), slots, 60, 0.0, 3, IDS)
            sequences.append(batch["perturbation"].tolist())
        shortest = min(map(len, sequences))
        assert shortest == 60
        assert all(sequence[:shortest] == sequences[0][:shortest] for sequence in sequences)

    def test_a_later_slot_sees_what_an_earlier_one_took(self, make_pool, monkeypatch):
        seen = []

        def spy(pool, n, rng):
            seen.append((pool.available, len(pool.observed)))
            return STRATEGIES["random"].pick(pool, n, rng)

        monkeypatch.setitem(STRATEGIES, "spy", Strategy(spy))
        slots = (Slot(strategy="random", share=0.5), Slot(strategy="spy", share=0.5))
        compose(make_pool(100, 4, observed=7), np.zeros(107, dtype=bool), slots, 20, 0.0, 0, IDS)
        assert seen == [(90, 17)]

    def test_the_random_arm_is_uniform_over_what_nobody_took(self, make_pool):
        pool, hidden = make_pool(30, 3), hide(30, 6)
        strategic: set[str] = set()
        counts: dict[str, int] = {}
        for seed in range(600):
            batch = compose(pool, hidden, (Slot(strategy="top-variance", share=1.0),), 8, 0.5, seed, IDS)
            strategic |= set(batch.loc[batch["arm"] == "strategy", "perturbation"])
            for name in batch.loc[batch["arm"] == "random", "perturbation"]:
                counts[name] = counts.get(name, 0) + 1
        eligible = {IDS[row] for row in range(30) if not hidden[row]} - strategic
        assert set(counts) == eligible
        assert chisquare([counts[name] for name in sorted(counts)]).pvalue > 1e-3

    def test_the_random_arm_leaves_out_what_was_chosen_once(self, make_pool):
        returned = hide(40, 25, seed=9)
        batch = compose(make_pool(40, 3), np.zeros(40, dtype=bool), CLUSTERS, 12, 0.5, 1, IDS, returned=returned)
        drawn = [IDS.index(name) for name in batch.loc[batch["arm"] == "random", "perturbation"]]
        assert len(drawn) == 6
        assert not returned[drawn].any()

    def test_a_hidden_member_of_an_abandoned_plate_is_measured_when_it_is_picked(self, make_pool):
        hidden = hide(40, 20)
        lost = hidden & (np.arange(40) % 2 == 0)
        batch = compose(make_pool(40, 3), hidden, CLUSTERS, 20, 0.1, 1, IDS, returned=lost)
        picked = batch[batch["arm"] == "strategy"].set_index("perturbation")["action"]
        actions = {"measure": set(), "release": set()}
        for name, action in picked.items():
            actions[action].add(IDS.index(name))
        assert actions["release"] == {row for row in actions["release"] if hidden[row] and not lost[row]} != set()
        assert actions["measure"] & set(np.flatnonzero(lost))
        assert (batch["action"] == "measure").sum() == 20

    @pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.001, 1), (0.1, 5), (1.0, 50)])
    def test_size_of_the_random_arm(self, make_pool, share, expected):
        batch = compose(make_pool(200, 4), np.zeros(200, dtype=bool), CLUSTERS, 50, share, 0, IDS)
        assert (batch["arm"] == "random").sum() == expected
        assert len(batch) == 50

    def test_a_small_pool_is_taken_whole_and_says_so(self, make_pool):
        hidden = hide(30, 10)
        batch = compose(make_pool(30, 3), hidden, CLUSTERS, 50, 0.2, 0, IDS)
        assert set(batch.loc[batch["action"] == "measure", "perturbation"]) == {IDS[i] for i in np.flatnonzero(~hidden)}
        assert batch["reason"].str.contains("nothing is left to measure").all()

    def test_same_seed_same_batch_other_seed_another(self, make_pool):
        pool, hidden = make_pool(200, 5), hide(200, 20)
        first, again = (compose(pool, hidden, MIXED, 40, 0.1, 4, IDS) for _ in range(2))
        pd.testing.assert_frame_equal(first, again)
        other = compose(pool, hidden, MIXED, 40, 0.1, 5, IDS)
        assert set(other["perturbation"]) != set(first["perturbation"])

    def test_ids_are_those_of_the_library_rows(self, make_pool):
        pool = make_pool(10, 2)
        shifted = pool.without(np.arange(10) < 5)
        batch = compose(shifted, np.zeros(10, dtype=bool), CLUSTERS, 5, 0.0, 0, IDS)
        assert sorted(batch["perturbation"]) == IDS[5:10]


TOP = (Slot(strategy="top-variance", share=1.0),)


def where(rows, size=100):
    mask = np.zeros(size, dtype=bool)
    mask[list(rows)] = True
    return mask


class TestHits:
    def test_hits_take_their_share_of_the_strategic_wells(self, make_pool):
        batch = compose(make_pool(200, 4), where([], 200), MIXED, 60, 0.1, 3, IDS, hits=Hits(share=0.5))
        strategic = batch[batch["arm"] == "strategy"]
        counts = {"ucb": 27, "eigenspace-clusters": 14, "eigenmodes": 8, "random": 5}
        found = strategic["slot"].value_counts().to_dict()
        assert found.pop("ucb") == counts.pop("ucb")
        assert all(abs(found[name] - count) <= 1 for name, count in counts.items())
        assert sum(found.values()) == 27
        assert (batch["arm"] == "random").sum() == 6

    def test_hits_are_the_best_predictions_that_are_left(self, make_pool):
        pool = make_pool(100, 4)
        hits = Hits(strategy="greedy-hits", share=0.3, options={"tail": "low"})
        batch = compose(pool, where([]), TOP, 20, 0.0, 0, IDS, hits=hits)
        picked = [IDS.index(name) for name in batch["perturbation"]]
        left = [row for row in np.argsort(pool.predictions).tolist() if row not in picked[:14]]
        assert picked[14:] == left[:6]

    def test_all_wells_may_look_for_hits(self, make_pool):
        batch = compose(make_pool(100, 4), where([]), TOP, 20, 0.0, 0, IDS, hits=Hits(share=1.0))
        assert set(batch["slot"]) == {"ucb"}

    def test_the_seeds_of_the_slots_do_not_depend_on_hits(self, make_pool):
        pool = make_pool(100, 4)
        slots = (Slot(strategy="random", share=1.0),)
        alone = compose(pool, where([]), slots, 10, 0.0, 0, IDS)
        beside = compose(pool, where([]), slots, 20, 0.0, 0, IDS, hits=Hits(share=0.5))
        assert beside["perturbation"][:10].tolist() == alone["perturbation"].tolist()


class TestVetoes:
    def test_a_vetoed_perturbation_is_neither_picked_nor_drawn(self, make_pool):
        vetoed, hidden = hide(60, 20, seed=7), hide(60, 12)
        batch = compose(make_pool(60, 4), hidden, MIXED, 60, 0.5, 1, IDS, vetoed=vetoed)
        rows = [IDS.index(name) for name in batch["perturbation"]]
        assert not vetoed[rows].any()
        assert set(np.flatnonzero(~vetoed & ~hidden)) <= set(rows)

    def test_vetoed_is_not_observed(self, make_pool, monkeypatch):
        seen = []

        def spy(pool, n, rng):
            seen.append((pool.available, pool.observed.tolist()))
            return STRATEGIES["random"].pick(pool, n, rng)

        monkeypatch.setitem(STRATEGIES, "spy", Strategy(spy))
        pool, slots = make_pool(30, 3, observed=2), (Slot(strategy="spy", share=1.0),)
        compose(pool, where([], 32), slots, 3, 0.0, 0, IDS, vetoed=where([4, 5, 30], 32))
        assert seen == [(28, [30, 31])]

    def test_round_0_leaves_them_out(self):
        vetoed = hide(50, 20)
        batch = initial_batch(50, IDS[:50], audit=5, wells=100, seed=3, vetoed=vetoed)
        assert sorted(batch["perturbation"]) == [IDS[row] for row in np.flatnonzero(~vetoed)]

    def test_no_veto_is_the_same_draw(self):
        plain = initial_batch(50, IDS[:50], audit=5, wells=20, seed=3)
        pd.testing.assert_frame_equal(initial_batch(50, IDS[:50], 5, 20, 3, where([], 50)), plain)


class TestRepeats:
    def test_repeats_come_first_on_strategic_wells(self, make_pool):
        repeats = where([3, 90, 17])
        batch = compose(make_pool(100, 4), where([]), TOP, 20, 0.2, 0, IDS, repeats=repeats)
        assert batch["perturbation"][:3].tolist() == [IDS[3], IDS[17], IDS[90]]
        assert batch["arm"].value_counts().to_dict() == {"strategy": 13, "random": 4, "repeat": 3}
        assert set(batch["action"]) == {"measure"}
        assert batch["perturbation"].is_unique

    def test_they_never_take_the_random_arm(self, make_pool):
        """Its size follows from the configuration alone; what finds no room waits, and nobody chooses it meanwhile."""
        batch = compose(make_pool(100, 4), where([]), TOP, 20, 0.2, 0, IDS, repeats=where(range(50)))
        assert batch["arm"].value_counts().to_dict() == {"repeat": 16, "random": 4}
        assert batch.loc[batch["arm"] == "repeat", "perturbation"].tolist() == IDS[:16]
        assert not set(batch.loc[batch["arm"] == "random", "perturbation"]) & set(IDS[:50])

    def test_a_hidden_member_is_repeated_without_being_released(self, make_pool):
        hidden = hide(100, 30)
        row = int(np.flatnonzero(hidden)[0])
        batch = compose(make_pool(100, 4), hidden, TOP, 20, 0.0, 0, IDS, repeats=where([row]))
        assert batch.iloc[0][["perturbation", "action", "arm"]].tolist() == [IDS[row], "measure", "repeat"]

    def test_strategies_do_not_know_which_repeats_are_hidden(self, make_pool):
        """A hidden member that waits for its repeat is picked like anybody else, and then stands on that well."""
        pool, hidden = make_pool(100, 4), hide(100, 30)
        back = hidden & (np.arange(100) % 2 == 0)
        alone = compose(pool, where([]), TOP, 100, 0.0, 0, IDS)["perturbation"].tolist()
        batch = compose(pool, hidden, TOP, 40, 0.0, 0, IDS, returned=back, repeats=back)
        picked = batch[batch["arm"] == "strategy"]
        assert picked["perturbation"].tolist() == alone[: len(picked)]
        rows = [IDS.index(name) for name in picked["perturbation"]]
        assert back[rows].any()
        assert (picked["action"] == "release").tolist() == (hidden & ~back)[rows].tolist()
        assert set(batch.loc[batch["arm"] == "repeat", "perturbation"]) == {
            IDS[row] for row in np.flatnonzero(back) if row not in rows
        }
        assert (batch["action"] == "measure").sum() == 40

    def test_a_veto_is_stronger(self, make_pool):
        batch = compose(make_pool(100, 4), where([]), TOP, 5, 0.0, 0, IDS, repeats=where([7]), vetoed=where([7]))
        assert IDS[7] not in set(batch["perturbation"])


def test_what_waits_for_its_plate_is_not_chosen_again(make_pool):
    waiting = where(range(0, 40, 3), 40)
    batch = compose(make_pool(40, 3).without(waiting), where([], 40), MIXED, 40, 0.5, 1, IDS)
    assert set(batch["perturbation"]) == {IDS[row] for row in np.flatnonzero(~waiting)}


def test_a_strategy_that_runs_out_after_releases_says_after_how_many(make_pool):
    pool = replace(make_pool(40, 4), variance=np.where(np.arange(40) < 8, 1.0, 0.0))
    with pytest.raises(ExhaustedStrategy, match="top-variance, pick 1 after 8 others of this slot"):
        compose(pool, where(range(4), 40), TOP, 8, 0.0, 0, IDS)


class TestSlots:
    def test_a_slot_gives_its_strategy_options(self, make_pool):
        pool = make_pool(100, 4)
        slots = (Slot(strategy="soft-bald", share=1.0, options={"temperature": 1e-6}),)
        cold = compose(pool, where([]), slots, 10, 0.0, 0, IDS)
        greedy = compose(pool, where([]), TOP, 10, 0.0, 0, IDS)
        assert cold["perturbation"].tolist() == greedy["perturbation"].tolist()

    def test_shares_add_up_with_hits(self):
        orders = read_slots(MIXED, Hits(share=0.4), "continuous")
        assert [order.name for order in orders] == ["eigenspace-clusters", "eigenmodes", "random", "ucb"]
        np.testing.assert_allclose([order.share for order in orders], [0.3, 0.18, 0.12, 0.4])

    @pytest.mark.parametrize(
        ("slots", "hits", "kind", "message"),
        [
            (
                (Slot(strategy="ucb", share=1.0, options={"gamma": 2}),),
                None,
                "binary",
                "option gamma: .*no such option",
            ),
            (TOP, Hits(share=0.5, options={"beta": -1}), "binary", "strategy ucb, option beta"),
            ((Slot(strategy="ucb", share=1.0),), Hits(share=0.5), "binary", "one strategy in two slots; got ucb"),
            (
                (Slot(strategy="batch-bald", share=1.0),),
                None,
                "continuous",
                "batch.slots: batch-bald is not defined for it; got a continuous readout, "
                "expected a readout that is binary or multi-class. Use max-determinant",
            ),
        ],
    )
    def test_mistakes_are_found_before_anything_is_computed(self, slots, hits, kind, message):
        with pytest.raises(UserError, match=message):
            read_slots(slots, hits, kind)


class TestMistakes:
    def test_a_strategy_that_picks_what_it_may_not_is_stopped(self, make_pool, monkeypatch):
        def blind(pool, n, rng):
            return Picks(np.arange(n), np.zeros(n), np.full(n, -1), ("",) * n)

        monkeypatch.setitem(STRATEGIES, "blind", Strategy(blind))
        slots = (Slot(strategy="blind", share=1.0),)
        with pytest.raises(NumericalError, match="strategy blind picked row 2, which may not be picked"):
            compose(make_pool(10, 2).without(where([2], 10)), where([], 10), slots, 5, 0.0, 0, IDS)

    def test_unknown_strategy(self, make_pool):
        slots = (Slot(strategy="magic", share=1.0),)
        with pytest.raises(
            UserError, match=r"unknown strategy; got 'magic', expected one of adversarial-bim, badge, batch-bald"
        ):
            compose(make_pool(10, 2), np.zeros(10, dtype=bool), slots, 5, 0.0, 0, IDS)

    def test_a_strategy_twice(self, make_pool):
        slots = (Slot(strategy="random", share=0.5), Slot(strategy="random", share=0.5))
        with pytest.raises(UserError, match="one strategy in two slots"):
            compose(make_pool(10, 2), np.zeros(10, dtype=bool), slots, 5, 0.0, 0, IDS)

    def test_a_strategy_that_falls_short_is_not_filled_up(self, make_pool, monkeypatch):
        def short(pool, n, rng):
            full = STRATEGIES["random"].pick(pool, n, rng)
            return Picks(full.rows[:-1], full.score[:-1], full.mode[:-1], full.reason[:-1])

        monkeypatch.setitem(STRATEGIES, "short", Strategy(short))
        slots = (Slot(strategy="short", share=1.0),)
        with pytest.raises(ExhaustedStrategy, match=r"strategy short, pick 5: .*got 4, expected 5"):
            compose(make_pool(10, 2), np.zeros(10, dtype=bool), slots, 5, 0.0, 0, IDS)

    def test_masks_must_fit(self, make_pool):
        with pytest.raises(UserError, match="hidden_audit does not fit the pool"):
            compose(make_pool(10, 2), np.zeros(9, dtype=bool), CLUSTERS, 5, 0.0, 0, IDS)


@pytest.mark.parametrize("lost", [False, True], ids=["all measured", "half to be repeated"])
def test_hidden_members_stay_a_random_sample_of_what_is_left(make_pool, lost):
    """The heart of the certificate: after adaptive picks, releases and a top-up, all left are as likely to be hidden.

    The trait that the strategy follows (variance) must not differ between hidden members and the rest.
    """
    pool = make_pool(60, 4)
    hidden_high, chosen_high = [], []
    for seed in range(600):
        hidden = hide(60, 12, seed)
        back = hidden & (np.random.default_rng(seed).random(60) < 0.5 * lost)
        batch = compose(pool, hidden, TOP, 20, 0.3, 10_000 + seed, IDS, returned=back, repeats=back)
        rows = np.array([IDS.index(name) for name in batch["perturbation"]])
        strategic = (batch["arm"] == "strategy").to_numpy()
        chosen = np.zeros(60, dtype=bool)
        chosen[rows[strategic]] = True
        hidden_now = hidden & ~chosen
        hidden_now[rows[~strategic]] = True
        left = np.flatnonzero(~chosen)
        if not 0 < hidden_now.sum() < len(left):
            continue
        rank = np.argsort(np.argsort(pool.variance[left])) / (len(left) - 1)
        hidden_high.append(rank[hidden_now[left]].mean())
        chosen_high.append(len(left))
    error = np.std(hidden_high) / np.sqrt(len(hidden_high))
    assert abs(np.mean(hidden_high) - 0.5) < 4 * error


def test_number_of_releases_is_hypergeometric_in_the_mean(make_pool):
    """A strategy that knew the audit would release more or fewer than its share."""
    pool, released, picked = make_pool(200, 4), 0, 0
    for seed in range(60):
        batch = compose(pool, hide(200, 40, seed), (Slot(strategy="eigenmodes", share=1.0),), 30, 0.0, 1, IDS)
        first = batch.iloc[:30]
        released += int((first["action"] == "release").sum())
        picked += len(first)
    assert binomtest(released, picked, 0.2).pvalue > 1e-3
