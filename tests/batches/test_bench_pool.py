"""The pool, the jobs and the peers of `bench select`."""

from dataclasses import replace

import numpy as np
import pytest
import zarr

from tasks.batches import bench_select
from tasks.batches.bench_peers import PARTS, PEERS, Given, installed, open_given
from tasks.batches.bench_pool import Sizes, centred, open_pool, open_rows, write_pool
from tasks.batches.bench_select import OPERATORS, floor, job_of
from tasks.batches.registry import STRATEGIES
from tasks.errors import UserError

ASKED = {
    "pool": 400, "observed": 30, "members": 9, "batch": 7, "features": 5, "labels": 80, "from_disk": False,
}  # fmt: skip
SIZES = Sizes(pool=400, observed=30, members=9, features=5)
ALL = tuple(SIZES.shapes())


def here(rows):
    return rows


def pick(folder, strategy, **changes):
    job = job_of({**ASKED, "strategy": strategy, **changes})
    write_pool(folder, job.sizes, tuple(dict.fromkeys([*job.parts, *PARTS])))
    return job.prepare(folder, here)()


@pytest.mark.parametrize("name", [*STRATEGIES, *OPERATORS])
def test_everything_can_be_timed(name, tmp_path):
    job = job_of({**ASKED, "strategy": name})
    write_pool(tmp_path, job.sizes, job.parts)
    rows = job.prepare(tmp_path, here)()
    assert len(rows) > 0
    assert (rows < 400).all()
    if name in STRATEGIES:
        assert len(set(rows.tolist())) == 7
    assert job.work.passes + job.work.values > 0
    assert job.tall in job.parts or not job.work.passes


def test_the_pool_is_the_eigenspace_of_its_members(tmp_path):
    write_pool(tmp_path, SIZES, ALL)
    pool = open_pool(tmp_path, SIZES, ("members", "features", "embedding", "gradient"))
    factor = np.load(tmp_path / "factor.npy").astype(np.float64)
    np.testing.assert_allclose(factor @ factor.T, np.cov(pool.members), atol=1e-5)
    z = pool.coordinates.take(np.arange(430)).astype(np.float64)
    np.testing.assert_allclose(z @ z.T, factor @ factor.T, atol=1e-5)
    np.testing.assert_allclose(z.T @ z, np.diag(pool.eigenvalues), atol=1e-2)
    assert (np.diff(pool.eigenvalues) < 0).all()
    np.testing.assert_allclose(pool.variance, np.square(z).sum(axis=1))
    np.testing.assert_allclose(pool.predictions, pool.members.mean(axis=1), atol=1e-6)
    assert pool.available == 400
    assert pool.observed.tolist() == list(range(400, 430))
    assert (pool.noise == 0.1 * pool.variance.mean()).all()
    assert pool.features.shape == pool.embedding.shape == (430, 5)


def test_the_gradient_is_that_of_the_variance(tmp_path):
    write_pool(tmp_path, SIZES, ALL)
    gradient = open_pool(tmp_path, SIZES, ("gradient",)).gradient
    points = np.random.default_rng(0).standard_normal((4, 5))
    _, slope = gradient(points)
    for axis, step in enumerate(1e-6 * np.eye(5)):
        difference = (gradient(points + step)[0] - gradient(points - step)[0]) / 2e-6
        np.testing.assert_allclose(slope[:, axis], difference, rtol=1e-4, atol=1e-6)


def test_a_larger_pool_begins_with_the_smaller_one(tmp_path):
    for name, size in (("small", 20_000), ("large", 40_000)):
        (tmp_path / name).mkdir()
        write_pool(tmp_path / name, Sizes(size, 0, 4), ("members",))
    small, large = (np.load(tmp_path / name / "members.npy") for name in ("small", "large"))
    assert np.array_equal(large[:20_000], small)
    assert len(np.unique(large)) > 0.99 * large.size  # chunks differ


@pytest.mark.parametrize("kind", ["binary", "multi-class"])
def test_members_may_be_probabilities(kind, tmp_path):
    sizes = replace(SIZES, kind=kind)
    write_pool(tmp_path, sizes, ALL)
    pool = open_pool(tmp_path, sizes, ("members",))
    assert 0 < pool.members.min() < pool.members.max() < 1
    if kind == "multi-class":
        assert pool.members.shape == (430, 9, 3)
        np.testing.assert_allclose(pool.members.sum(axis=2), 1.0, rtol=1e-5)


def test_chunks_on_disk_hold_the_same_numbers(tmp_path):
    sizes = Sizes(20_000, 10, 6, 3, from_disk=True)  # more than one chunk
    for name, of in (("disk", sizes), ("memory", replace(sizes, from_disk=False))):
        (tmp_path / name).mkdir()
        write_pool(tmp_path / name, of, ALL)
    for part in ("factor", "coordinates", "features"):
        stored = open_rows(tmp_path / "disk", part, sizes)
        assert stored.shape == (20_010, sizes.shapes()[part][1])
        rows = np.array([0, 16_383, 16_384, 20_009])
        assert np.array_equal(stored.take(rows), np.load(tmp_path / "memory" / f"{part}.npy")[rows])


def test_the_floor_grows_with_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_select, "floor_seconds", lambda read, products, columns: read + products)
    asked = {**ASKED, "strategy": "eigenspace-clusters"}
    one_look = 430 + 400 * 8 * 4
    beside = 2 * 400 * 8  # variance and noise, by which its rows are weighed
    assert floor(tmp_path, job_of(asked)) == one_look + beside + 400 * 8 * 30
    assert floor(tmp_path, job_of({**asked, "observed": 0})) == one_look + beside - 30 + 400 * 8
    assert floor(tmp_path, job_of({**asked, "strategy": "k-centre"})) == one_look + 400 * 8 * 30
    assert floor(tmp_path, job_of({**asked, "strategy": "eigenmodes"})) == one_look
    assert floor(tmp_path, job_of({**asked, "strategy": "max-determinant"})) == one_look + 400 * 8 + 400 * 8
    assert floor(tmp_path, job_of({**asked, "strategy": "expected-improvement"})) == one_look + 400 * 8 + 400 * 64
    assert floor(tmp_path, job_of({**asked, "strategy": "badge"})) == 430 + 400 * 5 * 4 + 400 * 5
    assert floor(tmp_path, job_of({**asked, "strategy": "adversarial-bim"})) == 430 + 400 * 5 * 4 + 400 * 5 * 7
    assert floor(tmp_path, job_of({**asked, "strategy": "eigenmodes-alone"})) == 2 * 400 * 9 * (4 + 9)
    assert floor(tmp_path, job_of({**asked, "strategy": "cobias"})) == 480 * 5 * 4 + 80 * 25 + 400 * 5


def replaced(pool, part):
    """The pool with other numbers of the open rows in one array: the same rows, or the same noise, put elsewhere."""
    rng = np.random.default_rng(5)
    given = getattr(pool, part)
    if part == "noise":
        return replace(pool, noise=given * np.exp(2.0 * rng.standard_normal(len(given))))
    order = np.arange(len(pool))
    order[pool.open] = rng.permutation(order[pool.open])
    return replace(pool, **{part: np.asarray(given)[order]})


BESIDE = ("variance", "predictions", "noise")


@pytest.mark.parametrize("kind", ["continuous", "binary"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_floor_looks_at_what_decides_the_picks(name, kind, tmp_path, monkeypatch):
    """Oracle: an array is read if other numbers in it give other picks. Of these one look at the open rows."""
    strategy = STRATEGIES[name]
    if kind not in strategy.kinds:
        pytest.skip("not defined for it")
    job = job_of({**ASKED, "strategy": name})
    sizes, needs = replace(job.sizes, kind=kind), strategy.needed(kind)
    write_pool(tmp_path, sizes, tuple(part for part in ALL if part in {*job.parts, *needs}))
    pool = open_pool(tmp_path, sizes, needs)

    def picks(of):
        return strategy.pick(of, 7, np.random.default_rng(0)).rows.tolist()

    ours = picks(pool)
    given = ("coordinates", *(part for part in ("members", "features", "embedding") if part in needs), *BESIDE)
    deciding = [part for part in given if picks(replaced(pool, part)) != ours]
    looks = pool.open.nbytes + sum(np.asarray(getattr(pool, part))[pool.open].nbytes for part in deciding)
    monkeypatch.setattr(bench_select, "floor_seconds", lambda read, products, columns: read)
    tall, work = bench_select._least(name, sizes, 7)
    assert floor(tmp_path, replace(job, sizes=sizes, work=work, tall=tall)) == looks
    assert work.passes == len({"coordinates", "features", "embedding"} & set(deciding))


@pytest.mark.parametrize(("name", "tall"), [("eigenmodes-alone", "factor"), ("badge", "features")])
def test_the_floor_of_chunks_on_disk_reads_them(name, tall, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_select, "floor_seconds", lambda read, products, columns: read + products)
    job = job_of({**ASKED, "strategy": name, "from_disk": True})
    write_pool(tmp_path, job.sizes, job.parts)
    besides = job.work.values + job.work.products
    assert besides < floor(tmp_path, job) < besides + 60  # and the seconds of reading
    (tmp_path / tall / "c" / "0" / "0").write_bytes(b"no chunk")
    with pytest.raises(RuntimeError, match="Zstd"):
        floor(tmp_path, job)


def test_the_floor_of_chunks_on_disk_does_not_judge_them(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_select, "floor_seconds", lambda read, products, columns: 0.0)
    job = job_of({**ASKED, "strategy": "eigenmodes", "from_disk": True})
    write_pool(tmp_path, job.sizes, job.parts)
    zarr.open_array(tmp_path / "coordinates", mode="r+")[3, 0] = np.nan
    assert floor(tmp_path, job) > 0


def test_the_floor_of_a_vector_reads_no_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_select, "floor_seconds", lambda read, products, columns: read + products)
    job = job_of({**ASKED, "strategy": "top-variance", "from_disk": True})
    assert floor(tmp_path, job) == 430 + 8 * 400  # there are none: nothing was written


def test_a_pool_tells_how_much_disk_it_takes(tmp_path):
    sizes = Sizes(20_000, 10, 6, 3, kind="multi-class")
    write_pool(tmp_path, sizes, ALL)
    stored = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert sizes.disk(ALL) == pytest.approx(stored, rel=0.01)


def test_an_unknown_strategy_is_named():
    with pytest.raises(UserError, match=r"unknown strategy; got 'luck', expected random, .*eigenmodes-alone, cobias"):
        job_of({**ASKED, "strategy": "luck"})


def peer(name, of):
    found = PEERS[of][name]
    if not installed(found):
        pytest.skip(f"{found.package} is not installed")
    return found


def test_peers_are_of_strategies_there_are():
    assert set(PEERS) <= {*STRATEGIES, *OPERATORS}
    assert not installed(replace(PEERS["top-variance"]["bmdal_reg MaxDiag"], package="a_package_that_is_not_there"))


@pytest.mark.usefixtures("lean_peer")
@pytest.mark.parametrize(
    ("strategy", "name", "n"),
    [
        ("expected-improvement", "bmdal_reg BAIT-F", 7),
        ("expected-improvement", "dense float64", 7),
        ("max-determinant", "bmdal_reg MaxDet", 7),
        ("eigenspace-clusters", "bmdal_reg LCMD", 7),
        ("k-centre", "bmdal_reg MaxDist", 7),
        ("batch-bald", "batchbald_redux", 2),
    ],
)
def test_peers_that_do_the_same_pick_the_same(strategy, name, n, tmp_path):
    ours = pick(tmp_path, strategy, batch=n)
    theirs, said = peer(name, strategy).pick(open_given(tmp_path, SIZES), n)
    assert theirs.tolist() == ours.tolist()
    assert said == ""


@pytest.mark.parametrize("name", ["dense eigh", "scipy eigsh"])
def test_eigenmodes_alone_are_those_of_the_dense_matrix(name, tmp_path):
    ours = pick(tmp_path, "eigenmodes-alone")
    theirs, _ = peer(name, "eigenmodes-alone").pick(open_given(tmp_path, replace(SIZES, observed=0)), 8)
    assert theirs.tolist() == ours.tolist()


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        ("expected-improvement-backward", "bmdal_reg BAIT-FB"),
        ("d2-sampling", "bmdal_reg k-means++"),
        ("top-variance", "bmdal_reg MaxDiag"),
    ],
)
def test_other_peers_pick_among_the_open(strategy, name, tmp_path):
    pick(tmp_path, strategy)
    theirs, _ = peer(name, strategy).pick(open_given(tmp_path, SIZES), 2)
    assert len(set(theirs.tolist())) == 2
    assert (theirs < 400).all()


@pytest.mark.usefixtures("lean_peer")
def test_batchbald_redux_gets_no_member_that_is_certain(tmp_path):
    """Probabilities of 0 and 1 would make all its scores NaN, and its picks the first rows."""
    given = Given(np.zeros((3, 2)), np.array([[0.5, 0.5], [1.0, 1.0], [0.0, 1.0]], dtype=np.float32), 3, 1.0)
    theirs, _ = peer("batchbald_redux", "batch-bald").pick(given, 1)
    assert theirs.tolist() == [2]


def test_what_a_peer_says_of_its_picks_is_passed_on(tmp_path):
    """Rank 8, no noise: it fills up at random, and says so."""
    sizes = replace(SIZES, pool=60, observed=0)
    write_pool(tmp_path, sizes, PARTS)
    given = replace(open_given(tmp_path, sizes), noise=0.0)
    _, said = peer("bmdal_reg MaxDet", "max-determinant").pick(given, 50)
    assert "selection failed" in said


def test_centred_members_are_a_factor_of_their_covariance():
    members = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    np.testing.assert_allclose(centred(members) @ centred(members).T, np.cov(members), atol=1e-6)
