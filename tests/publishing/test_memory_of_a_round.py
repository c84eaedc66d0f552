"""The nodes after the prediction: none holds all members of all perturbations unless a strategy asks for them."""

import gc
import tracemalloc
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest

from tasks.batches.task import propose_batch
from tasks.campaigns.config import CampaignConfig
from tasks.checkpoints.checkpointer import Checkpointer
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.operators.task import Omega
from tasks.publishing.task import make_screen
from tasks.readouts.noise import NoiseModel
from tasks.stopping.evidence import Wells
from tasks.stopping.task import decide_round, forecast_errors

CHUNKS, ROWS, MEMBERS = 20, 250, 1000
SIZE = CHUNKS * ROWS
ALL_MEMBERS = 4 * SIZE * MEMBERS  # bytes
IDS = [f"CPD-{row:05d}" for row in range(SIZE)]
NOISE = NoiseModel(
    average=0.01, source="negcon", n=50, floor=0.005, knots=(0.0,), variances=(0.01,), plates={"P1.1": 0.0},
    scales={"P1.1": 0.0}, runs={"P1.1": "A"}, run_variances={"A": 0.0}, reagent=0.0, anchors={"A": 0.0},
)  # fmt: skip


def config(*slots, **batch):
    return CampaignConfig.model_validate(
        {
            "campaign": {"name": "large", "seed": 1, "storage": "campaigns"},
            "library": {"uri": "library.csv"},
            "readout": {"tolerance": 1.0, "unit": "log units"},
            "plates": {"negcon": {"wells": ["A01:H02"]}, "poscon": {"wells": ["A23:H24"]}, "per_round": 1},
            "batch": {"slots": [{"strategy": name, "share": 1 / len(slots)} for name in slots], **batch},
        }
    )


def labelled(rows):
    """Labels on one plate, and where they stand."""
    names = [IDS[row] for row in rows]
    table = pd.DataFrame({"perturbation": names, "value": 0.1, "n": 1, "variance": 0.01, "plates": "P1"})
    return table, pd.DataFrame({"perturbation": names, "barcode": "P1.1", "weight": 1.0})


def chunk_of(rng):
    """What the ensemble and Ω say of a chunk of the library."""
    coordinates = rng.standard_normal((ROWS, 3)).astype(np.float32)
    return {
        "members": rng.standard_normal((ROWS, MEMBERS), dtype=np.float32),
        "features": rng.standard_normal((ROWS, 4)).astype(np.float32),
        "coordinates": coordinates,
        "diagonal": np.square(coordinates.astype(np.float64)).sum(axis=1),
        "variance": rng.uniform(0.1, 1.0, (ROWS, 3)),
        "noise": np.full(ROWS, 0.01),
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Predictions, Ω and labels of a library of 5,000 with 1,000 members: 20 MB of members in 20 chunks."""
    cp = Checkpointer(CheckpointStore(Storage(str(tmp_path_factory.mktemp("round")))))

    def stored(node, payloads):
        return cp.run(node, Stage("stored", 1), lambda: payloads, outputs=tuple(payloads), params={"node": node})

    rng = np.random.default_rng(0)
    chunks = [
        stored(f"chunk {i}", {name: Payload("array", array) for name, array in chunk_of(rng).items()})
        for i in range(CHUNKS)
    ]
    rows = np.arange(SIZE)
    tables = dict(zip(("training", "incidence"), labelled(range(20)), strict=True))
    tables |= dict(zip(("audit", "audit_incidence"), labelled(range(20, 60)), strict=True))
    tables["membership"] = pd.DataFrame(
        {"perturbation": IDS, "chosen": rows < 20, "hidden": (rows >= 20) & (rows < 60), "vetoed": False, "round": 0}
    )
    tables["membership"]["arm"] = np.where(rows < 20, "initial", np.where(rows < 60, "audit", ""))
    rest = {name: Payload("table", table) for name, table in tables.items()}
    rest["noise"] = Payload("json", NOISE.model_dump(mode="json"))
    rest["library"] = Payload("anndata", anndata.AnnData(np.zeros((SIZE, 1), np.float32), pd.DataFrame(index=IDS)))
    rest["platemap"] = Payload("text", "barcode,well,role,perturbation\nP1,A01,sample,CPD-00000\n")
    levels = pd.DataFrame(columns=["perturbation", "level", "reagent", "group", "value", "n", "variance"])
    rest |= {name: Payload("table", levels) for name in ("levels", "audit_levels")}
    rest["tensors"] = Payload("tensors", {"out_of_fold.mean": np.zeros((20, 1), np.float32)})
    rest["eigenvalues"] = Payload("array", np.array([3.0, 2.0, 1.0]))
    found = stored("rest", rest)
    omega = Omega(SimpleNamespace(), chunks, found, chunks)
    return SimpleNamespace(cp=cp, chunks=chunks, omega=omega, found=found)


def most(call, *rounds):
    """The most bytes that are reachable at once meanwhile; in the round of least, for other threads allocate too."""
    return min(peak_of(call, number) for number in rounds)


def peak_of(call, number):
    gc.collect()
    gc.freeze()  # what is older need not be looked through again and again
    tracemalloc.start()
    call(number)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    gc.unfreeze()
    return peak


def propose(world, settings, number):
    found = world.found
    fitted = SimpleNamespace(refs={})
    return propose_batch.fn(
        world.cp, world.omega, fitted, world.chunks, found["membership"], found["training"], found["library"],
        settings, number,
    )  # fmt: skip


def decide(world, number):
    settings, found = config("random"), world.found
    forecast = forecast_errors.fn(
        world.cp, found["training"], found["membership"], world.chunks, world.omega, settings.readout
    ).data
    return decide_round.fn(
        world.cp, found, found["membership"], world.chunks, forecast, found["tensors"], None, settings.readout,
        settings.stopping, number, (), None, Wells(used=60, full=SIZE), [],
    )  # fmt: skip


def test_a_batch_is_proposed_without_all_members(world):
    frugal = ("eigenmodes", "eigenspace-clusters", "expected-improvement", "soft-bald", "k-means-embedding")
    settings = config(*frugal, hits={"share": 0.2})
    propose(world, settings, 1)  # what is kept once and for all
    peak = most(lambda number: propose(world, settings, number), 2, 3)
    assert set(world.cp.load(world.cp.records["propose"].outputs["batch"])["slot"]) == {*frugal, "ucb", "random"}
    assert peak < ALL_MEMBERS / 2


def test_a_strategy_that_asks_for_the_members_gets_them(world):
    settings = config("random", "query-by-committee")
    assert most(lambda number: propose(world, settings, number), 4, 5) > ALL_MEMBERS


def test_the_audit_is_looked_at_without_all_members(world):
    decide(world, 0)
    assert most(lambda number: decide(world, number), 1, 2) < ALL_MEMBERS / 2


def test_the_screen_is_made_without_all_members(world):
    found = world.found
    decide(world, 3)
    decision = world.cp.records["decide"].outputs["decision"]

    def screen(number):
        return make_screen.fn(
            world.cp, config("random"), number, found["library"], world.chunks, world.omega, found,
            found["membership"], decision, {0: found["platemap"]}, {"P1": "waived"},
        )  # fmt: skip

    screen(0)
    assert most(screen, 1, 2) < ALL_MEMBERS / 2
