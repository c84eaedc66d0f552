"""Plate maps: controls, capacity, replicates, spread, randomness."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.batches.layout import PLATEMAP_COLUMNS, capacity, lay_out, perturbations_per_round
from tasks.campaigns.config import ControlWells
from tasks.errors import UserError


def make_batch(measure, release=0, modes=1, slots=1):
    rows = np.arange(measure + release)
    return pd.DataFrame(
        {
            "perturbation": [f"p{i:05d}" for i in rows],
            "action": ["measure"] * measure + ["release"] * release,
            "arm": "strategy",
            "slot": [f"s{i % slots}" for i in rows],
            "rank": rows // slots,
            "score": 0.0,
            "mode": (rows // slots) % modes,
            "reason": "",
        }
    )


def samples(platemap):
    return platemap[platemap["role"] == "sample"]


class TestCapacity:
    @pytest.mark.parametrize(
        ("fmt", "edge", "expected"),
        [(96, "use", 88), (96, "empty", 60), (384, "use", 376), (384, "empty", 308), (1536, "use", 1528)],
    )
    def test_wells_left_by_controls_and_edge(self, plates, fmt, edge, expected):
        assert capacity(plates(fmt, edge=edge)) == expected

    def test_controls_inside_the_plate_cost_sample_wells_also_with_an_empty_edge(self, plates):
        inside = plates(edge="empty", negcon=ControlWells(wells=("B02:C03",)), poscon=None)
        assert capacity(inside) == 56

    @pytest.mark.parametrize(("n", "replicates", "expected"), [(4, 1, 352), (4, 2, 176), (5, 2, 220), (4, 3, 117)])
    def test_perturbations_that_fit(self, plates, n, replicates, expected):
        assert perturbations_per_round(plates(replicates=replicates), n) == expected

    def test_too_few_plates_for_the_replicates(self, plates):
        with pytest.raises(UserError, match="fewer plates than replicates; got 1 plates, expected at least 2"):
            perturbations_per_round(plates(replicates=2), 1)


@given(
    replicates=st.integers(1, 4),
    extra=st.integers(0, 4),
    share=st.floats(0.01, 1.0),
    edge=st.sampled_from(["use", "empty"]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_replicate_has_a_well_on_its_own_plate(plates, replicates, extra, share, edge, seed):
    section, n_plates = plates(replicates=replicates, edge=edge), replicates + extra
    count = max(1, int(share * perturbations_per_round(section, n_plates)))
    platemap = lay_out(make_batch(count, release=3), section, n_plates, "c", 2, seed)
    used = samples(platemap)
    assert len(used) == count * replicates
    assert set(used["perturbation"]) == {f"p{i:05d}" for i in range(count)}
    assert not used.duplicated(["perturbation", "barcode"]).any()
    assert (used.groupby("perturbation")["replicate"].apply(sorted).map(tuple) == tuple(range(1, replicates + 1))).all()
    assert not platemap.duplicated(["barcode", "well"]).any()
    per_plate = used.groupby("barcode").size()
    assert per_plate.max() <= capacity(section)
    assert per_plate.max() - per_plate.min() <= 1
    fewest = max(replicates, -(-count * replicates // capacity(section)))
    assert platemap["barcode"].nunique() == len(per_plate) == fewest


class TestLayOut:
    def test_a_plate_map_has_one_row_a_well(self, plates):
        platemap = lay_out(make_batch(100), plates(), 4, "demo", 3, 0)
        assert tuple(platemap.columns) == PLATEMAP_COLUMNS
        assert platemap["barcode"].unique().tolist() == ["demo-R03-P01", "demo-R03-P02"]
        assert len(platemap) == 2 * 96
        first = platemap.iloc[:96]
        assert first["well"].tolist()[:2] == ["A01", "A02"]
        assert first["well"].iloc[-1] == "H12"
        assert (first["row"] * 12 + first["column"]).tolist() == list(range(96))

    def test_controls_stand_at_their_wells_on_every_plate(self, plates):
        platemap = lay_out(make_batch(100), plates(edge="empty"), 2, "demo", 0, 0)
        for _, plate in platemap.groupby("barcode"):
            where = plate.set_index("well")["role"]
            assert set(where[where == "negcon"].index) == {"A01", "B01", "C01", "D01"}
            assert set(where[where == "poscon"].index) == {"E01", "F01", "G01", "H01"}

    def test_only_samples_carry_a_perturbation(self, plates):
        platemap = lay_out(make_batch(30), plates(), 1, "demo", 0, 0)
        others = platemap[platemap["role"] != "sample"]
        assert set(others["perturbation"]) == {""}
        assert set(others["replicate"]) == {0}
        assert set(others["slot"]) == {""}
        assert (samples(platemap)["perturbation"] != "").all()

    def test_no_sample_in_the_outermost_wells(self, plates):
        used = samples(lay_out(make_batch(60), plates(edge="empty"), 1, "demo", 0, 0))
        assert used["row"].between(1, 6).all()
        assert used["column"].between(1, 10).all()

    def test_a_replicate_stays_in_its_plate_group(self, plates):
        used = samples(lay_out(make_batch(176), plates(replicates=2), 4, "demo", 0, 0))
        plate = used["barcode"].str[-2:].astype(int)
        assert (used["replicate"] == np.where(plate <= 2, 1, 2)).all()

    def test_modes_and_slots_are_spread_over_the_plates(self, plates):
        """One plate's error must not fall on one mode: every stratum is level over the plates within one well."""
        batch = make_batch(352, modes=11, slots=2)
        used = samples(lay_out(batch, plates(), 4, "demo", 0, 5)).merge(batch[["perturbation", "mode"]])
        counts = used.groupby(["slot", "mode", "barcode"]).size().unstack(fill_value=0)
        assert counts.shape == (22, 4)
        assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()

    def test_positions_are_random(self, plates):
        """Over many seeds a perturbation is in every sample well about equally often."""
        section = plates()
        counts = pd.Series(0, index=pd.RangeIndex(96))
        for seed in range(300):
            used = samples(lay_out(make_batch(10), section, 1, "demo", 0, seed))
            place = used.loc[used["perturbation"] == "p00003"].iloc[0]
            counts[place["row"] * 12 + place["column"]] += 1
        free = counts[counts.index % 12 != 0]
        assert len(free) == 88
        assert free.sum() == 300
        assert free.max() < 16

    def test_depends_on_the_seed_alone(self, plates):
        section, batch = plates(replicates=2), make_batch(50)
        first, again, other = (lay_out(batch, section, 4, "demo", 0, seed) for seed in (1, 1, 2))
        pd.testing.assert_frame_equal(first, again)
        assert not first.equals(other)

    def test_nothing_to_measure_needs_no_plate(self, plates):
        platemap = lay_out(make_batch(0, release=5), plates(), 2, "demo", 0, 0)
        assert platemap.empty
        assert tuple(platemap.columns) == PLATEMAP_COLUMNS


class TestMistakes:
    def test_a_well_for_two_controls(self, plates):
        section = plates(poscon=ControlWells(wells=("D1:F1",)))
        with pytest.raises(UserError, match=r"plates.poscon.wells: control well named twice; got D01, which is negcon"):
            capacity(section)

    def test_controls_everywhere(self, plates):
        with pytest.raises(UserError, match="controls leave no well for a sample"):
            capacity(plates(negcon=ControlWells(wells=("A01:H12",)), poscon=None))

    def test_more_than_fits(self, plates):
        with pytest.raises(
            UserError, match="does not fit on its plates; got 89 perturbations, expected at most 88 on 1"
        ):
            lay_out(make_batch(89), plates(), 1, "demo", 0, 0)

    def test_a_perturbation_twice(self, plates):
        batch = pd.concat([make_batch(3), make_batch(1)])
        with pytest.raises(UserError, match="perturbation twice in one batch; got p00000"):
            lay_out(batch, plates(), 1, "demo", 0, 0)
