"""Ω chunk by chunk against Ω at once, from storage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.campaigns.config import OperatorsSection
from tasks.checkpoints.checkpointer import Checkpointer
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.operators import cobias_factor, eigenmodes, hstack
from tasks.operators.calibrated import calibrate_error, rescale
from tasks.operators.cobias import quadratic_delta, root_factor
from tasks.operators.difference import difference_factor
from tasks.operators.epistemic import epistemic_factor, mean_factor
from tasks.operators.estimates import Measured, calibrate, estimate_change, estimate_cobias
from tasks.operators.factors import Factor
from tasks.operators.history import ResidualSet
from tasks.operators.pieces import Chunk, Plan, Terms, find_modes, measure_chunk, place_chunk
from tasks.readouts.noise import NoiseModel

N, M, P, STEP = 90, 6, 4, 35
IDS = [f"C{i:03d}" for i in range(N)]
NOISE = NoiseModel(
    average=0.04, source="negcon", n=30, floor=0.0, knots=(0.0,), variances=(0.04,), anchors={"run": 0.0},
    plates={f"P{i}.1": 0.01 for i in range(4)}, scales={f"P{i}.1": 0.0 for i in range(4)},
    runs={f"P{i}.1": "run" for i in range(4)}, run_variances={"run": 0.0},
)  # fmt: skip


class World:
    """Three ensembles over a library in chunks, labels of its first 60 rows, forward residuals of the last 30."""

    def __init__(self, folder):
        rng = np.random.default_rng(0)
        self.cp = Checkpointer(CheckpointStore(Storage(str(folder))))
        self.ensembles = [
            {"members": rng.normal(size=(N, M)), "within": 0.3 * rng.normal(size=(N, 2)),
             "features": np.c_[rng.normal(size=(N, P - 1)), np.ones(N)], "gradients": rng.normal(size=(N, 5))}
            for _ in range(3)
        ]  # fmt: skip
        self.ensembles = [{name: a.astype(np.float32) for name, a in one.items()} for one in self.ensembles]
        self.refs = [[self.store(**self.rows(one, cut)) for cut in self.cuts()] for one in self.ensembles]
        self.labels = pd.DataFrame({"perturbation": IDS[:60], "value": rng.normal(size=60), "variance": 0.04})
        incidence = self.labels[["perturbation"]].assign(barcode=[f"P{i % 4}.1" for i in range(60)], weight=1.0)
        stored = self.store(training=self.labels, incidence=incidence, noise=NOISE.model_dump(mode="json"))
        self.measured = Measured(stored["training"], stored["incidence"], stored["noise"], "continuous")
        self.newest = np.arange(30, 60)
        self.forward = self.residuals_of(1, self.newest)

    def cuts(self):
        return [slice(start, min(start + STEP, N)) for start in range(0, N, STEP)]

    @staticmethod
    def rows(arrays, cut):
        return {name: array[cut] for name, array in arrays.items()}

    def store(self, **values):
        kinds = {np.ndarray: "array", pd.DataFrame: "table", dict: "json"}
        payloads = {name: Payload(kinds[type(value)], value) for name, value in values.items()}
        number = len(self.cp.records)
        return self.cp.run(f"n{number}", Stage(f"s{number}", 1), lambda: payloads, outputs=tuple(payloads)).refs

    def keep(self, payloads):
        return self.cp.run(f"k{len(self.cp.records)}", Stage(f"s{len(self.cp.records)}", 1), lambda: payloads,
                           outputs=tuple(payloads)).refs  # fmt: skip

    def residuals_of(self, ensemble, rows):
        said = {name: array[rows] for name, array in self.ensembles[ensemble].items()}
        predicted = said["members"].mean(axis=1, dtype=np.float64)
        table = pd.DataFrame(
            {
                "perturbation": [IDS[i] for i in rows],
                "row": rows,
                "predicted": predicted,
                "measured": self.labels["value"].to_numpy()[rows],
            }
        )
        return self.store(table=table, **said)

    def noise(self, rows):
        return self.measured.covariance(self.cp.store, [IDS[i] for i in rows])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("omega"))


def calibration_of(world, count=60):
    rng = np.random.default_rng(1)
    tensors = {
        "out_of_fold.mean": np.where(np.arange(60) < count, rng.normal(size=60), np.nan)[:, None].astype(np.float32),
        "out_of_fold.variance": np.full((60, 1), np.nan, dtype=np.float32),
        "out_of_fold.count": (np.arange(60) < count).astype(np.float32),
    }
    library = world.cp.run("library", Stage("library", 1), lambda: {"library": Payload("anndata", made_library())},
                           outputs=("library",))["library"]  # fmt: skip
    ensemble = world.keep({"tensors": Payload("tensors", tensors)})["tensors"]
    return tensors, calibrate(world.cp.store, library, world.measured, ensemble, world.refs[0], seed=3)


def made_library():
    import anndata

    return anndata.AnnData(X=np.zeros((N, 1), dtype=np.float32), obs=pd.DataFrame(index=IDS))


@pytest.fixture(scope="module")
def terms(world):
    settings = OperatorsSection(ridge=0.1, decay=0.5)
    features = [refs["features"] for refs in world.refs[1]]
    rounds = [(0, world.forward), (1, world.residuals_of(2, np.arange(10, 30)))]
    cobias = estimate_cobias(world.cp.store, world.measured, rounds, features, settings, seed=1)
    seen = world.store(training=world.labels.iloc[:10])["training"]
    change = estimate_change(world.cp.store, world.measured, world.forward, world.refs[2], seen, settings, seed=2)
    _, calibration = calibration_of(world)
    kept = {name: world.keep(part) for name, part in
            (("cobias", cobias), ("difference", change), ("calibration", calibration))}  # fmt: skip
    return Terms(
        world.measured.noise,
        kept["calibration"]["calibration"],
        kept["cobias"]["cobias"],
        kept["difference"]["difference"],
    )


def chunked(world, terms, asked, plan=None, pool=None):
    """Ω in chunks: modes, coordinates, diagonal, variance, noise."""
    store, plan = world.cp.store, plan or Plan("continuous", 2, False)
    pool = np.ones(N, dtype=bool) if pool is None else pool
    chunks = [Chunk(*(refs[i] for refs in world.refs)) for i in range(len(world.cuts()))]
    parts = [world.keep(measure_chunk(store, chunk, terms, plan, pool[cut])) for chunk, cut in
             zip(chunks, world.cuts(), strict=True)]  # fmt: skip
    modes = world.keep(find_modes(store, [part["grams"] for part in parts], asked))
    chosen = modes["rotation"], modes["chosen"]
    placed = [world.keep(place_chunk(store, chunk, terms, plan, part["variance"], chosen)) for chunk, part in
              zip(chunks, parts, strict=True)]  # fmt: skip
    found = {name: np.concatenate([store.load(one[name]) for one in placed]) for name in ("coordinates", "diagonal")}
    found |= {name: np.concatenate([store.load(one[name]) for one in parts]) for name in ("variance", "noise")}
    return found | {name: store.load(modes[name]) for name in modes}


def at_once(world, terms, name, variance):
    """The same operator over the whole library."""
    load = world.cp.store.load
    now, reference, older = world.ensembles
    sigma_f = epistemic_factor(now["members"], now["within"])
    if name == "members":
        return sigma_f
    if name == "difference":
        change = load(terms.difference)
        spreads = (epistemic_factor(one["members"], one["within"]) for one in (older, reference))
        return difference_factor(
            *spreads, root_factor(reference["features"].astype(float), change["root"], change["signs"])
        )
    if name == "gradients":
        return rescale(Factor(now["gradients"]), variance[:, 2])
    whole = hstack([sigma_f, root_factor(reference["features"], load(terms.cobias)["root"])])
    return rescale(whole, variance[:, 2]) if name == "calibrated" else whole


@pytest.mark.parametrize("name", ["members", "reducible", "calibrated", "gradients", "difference"])
def test_chunks_give_the_operator_of_the_whole_library(world, terms, name):
    pool = np.arange(N) % 3 > 0
    found = chunked(world, terms, name, pool=pool)
    assert found["chosen"] == {"asked": name, "operator": name, "why": ""}
    factor = at_once(world, terms, name, found["variance"])
    modes = eigenmodes(factor, chosen=pool)
    np.testing.assert_allclose(found["eigenvalues"], modes.values[: modes.positive], rtol=1e-6)
    np.testing.assert_allclose(found["spectra"][name], found["eigenvalues"])
    z, expected = found["coordinates"].astype(float), modes.coordinates(factor)
    assert found["coordinates"].dtype == np.float32
    np.testing.assert_allclose(z @ z.T, expected @ expected.T, atol=1e-4 * np.abs(expected @ expected.T).max())
    np.testing.assert_allclose(found["diagonal"], factor.diagonal(), rtol=1e-5, atol=1e-6)


def test_variances_are_the_diagonals_and_the_calibrated_error(world, terms):
    found = chunked(world, terms, "calibrated")
    variance = found["variance"]
    assert variance.shape == (N, 3)
    now = world.ensembles[0]
    np.testing.assert_allclose(variance[:, 0], epistemic_factor(now["members"], now["within"]).diagonal(), rtol=1e-6)
    np.testing.assert_allclose(found["diagonal"], variance[:, 2], rtol=1e-4)
    np.testing.assert_allclose(found["noise"], (0.04 + 0.01) / 2, rtol=1e-9)
    spectra = found["spectra"]
    assert set(spectra) == {"members", "cobias", "reducible", "calibrated", "gradients", "difference"}
    assert sum(spectra["members"]) == pytest.approx(variance[:, 0].sum(), rel=1e-5)
    assert found["members"]["rank"] == M - 1 + 2


def test_drops_are_weighed_by_what_remains_where_that_is_asked_for(world, terms):
    plain, weighed = (chunked(world, terms, "difference", Plan("continuous", 2, flag)) for flag in (False, True))
    remaining = world.cp.store.load(terms.difference)["remaining"][0]
    expected = plain["diagonal"] * plain["variance"][:, 2] / remaining
    np.testing.assert_allclose(weighed["diagonal"], expected, rtol=1e-4, atol=1e-6)


def test_without_estimates_the_members_are_all_there_is_and_it_is_said(world, terms):
    bare = Terms(world.measured.noise, world.keep(calibration_of(world, count=19)[1])["calibration"])
    for asked, why in (("calibrated", "too few out-of-fold residuals"), ("difference", "two earlier rounds")):
        found = chunked(world, bare, asked)
        assert (found["chosen"]["asked"], found["chosen"]["operator"]) == (asked, "reducible")
        assert why in found["chosen"]["why"]
        assert found["variance"].shape == (N, 2)
        assert not found["variance"][:, 1].any()
        assert found["spectra"]["cobias"] == []
    facts = calibration_of(world, count=19)[1]["facts"].value
    assert facts == {"left out": "19 out-of-fold residuals, 20 are needed"}


def test_a_difference_that_was_left_out_is_no_operator(world, terms):
    seen = world.store(everybody=world.labels)["everybody"]
    change = estimate_change(world.cp.store, world.measured, world.forward, world.refs[2], seen, OperatorsSection(), 1)
    assert "left out" in change["facts"].value
    empty = world.keep({"difference": change["difference"]})["difference"]
    found = chunked(world, Terms(terms.noise, terms.calibration, terms.cobias, empty), "difference")
    assert found["chosen"]["operator"] == "reducible"
    assert "labels that neither has seen" in found["chosen"]["why"]
    assert "difference" not in found["spectra"]


def test_cobias_is_that_of_the_residual_sets_in_the_reference_features(world):
    settings = OperatorsSection(ridge=0.1, decay=0.5)
    reference = world.ensembles[1]
    earlier = np.arange(10, 30)
    rounds = [(0, world.forward), (1, world.residuals_of(2, earlier))]
    features = [refs["features"] for refs in world.refs[1]]
    found = estimate_cobias(world.cp.store, world.measured, rounds, features, settings, seed=1)
    value = world.labels["value"].to_numpy()
    sets = []
    for age, (rows, number) in enumerate(((world.newest, 1), (earlier, 2))):
        one = world.ensembles[number]
        spread = mean_factor(one["members"][rows], one["within"][rows])
        r = value[rows] - one["members"][rows].mean(axis=1, dtype=float)
        sets.append(ResidualSet(reference["features"][rows], r, world.noise(rows) + spread, age=age))
    expected = quadratic_delta(sets, 0.1, 0.5)
    every = reference["features"].astype(float)
    np.testing.assert_allclose(
        root_factor(every, found["cobias"].value["root"]).diagonal(),
        cobias_factor(every, expected).diagonal(),
        rtol=1e-5,
    )
    facts = found["facts"].value
    assert (facts["rounds"], facts["residuals"], facts["estimator"]) == (2, 50, "quadratic")
    alone = estimate_cobias(world.cp.store, world.measured, rounds[:1], features, settings, seed=1)
    assert alone["facts"].value["rounds"] == 1


def test_direct_cobias_reports_its_upward_bias(world):
    settings = OperatorsSection(ridge=0.1, cobias="direct")
    features = [refs["features"] for refs in world.refs[1]]
    found = estimate_cobias(world.cp.store, world.measured, [(0, world.forward)], features, settings, seed=1)
    facts = found["facts"].value
    assert (facts["estimator"], facts["rank"]) == ("direct", 1)
    assert 0 < facts["upward_bias"] < facts["mean_square"]


def test_labels_that_are_gone_or_were_seen_leave_their_residuals_out(world):
    stored = world.store(training=world.labels.iloc[:40], older=world.labels.iloc[:31])
    fewer = Measured(stored["training"], world.measured.incidence, world.measured.noise, "continuous")
    features, settings = [refs["features"] for refs in world.refs[1]], OperatorsSection()
    found = estimate_cobias(world.cp.store, fewer, [(0, world.forward)], features, settings, seed=1)
    assert found["facts"].value["residuals"] == 10
    args = (world.forward, world.refs[2], stored["older"], settings, 1)
    assert estimate_change(world.cp.store, fewer, *args)["facts"].value["residuals"] == 9
    none = world.store(training=world.labels.iloc[:20])["training"]
    gone = Measured(none, world.measured.incidence, world.measured.noise, "continuous")
    empty = estimate_cobias(world.cp.store, gone, [(0, world.forward)], features, settings, seed=1)
    assert empty["cobias"].value["root"].shape == (P, 0)
    assert "left out" in empty["facts"].value
    nothing = estimate_change(world.cp.store, gone, *args)
    assert nothing["difference"].value["root"].shape == (P, 0)


def test_residuals_of_few_members_lose_what_the_mean_of_all_does_not_have(world):
    tensors, payloads = calibration_of(world)
    now = world.ensembles[0]
    spread = now["members"][:60].var(axis=1, ddof=1, dtype=float)
    value = world.labels["value"].to_numpy()
    plates = np.arange(60)[:, None] % 4 == np.arange(4)
    squared = np.square(value - tensors["out_of_fold.mean"][:, 0])
    noise = world.noise(np.arange(60)).diagonal() + spread * (1 - 1 / M)
    expected = calibrate_error(now["features"][:60], squared, noise, plates, seed=3)
    model = expected.model
    wanted = [model.base, model.centre, model.slope, model.level]
    np.testing.assert_allclose(payloads["calibration"].value["numbers"], wanted, rtol=1e-6, atol=1e-9)
