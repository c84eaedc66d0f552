"""Batches composed by configuration: options, hits, vetoes, repeats, and strategies that look at features."""

import pandas as pd
import pytest

from flows.campaign import checked_config
from flows.plates import mark_plate
from tasks.campaigns.designs import read_table
from tasks.checkpoints.store import CheckpointStore
from tasks.errors import UserError

FAILED = "pilot-R00-P02"
SLOTS = [
    {"strategy": "adversarial-bim", "share": 0.3, "options": {"steps": 5}},
    {"strategy": "k-means-embedding", "share": 0.3},
    {"strategy": "soft-bald", "share": 0.4, "options": {"temperature": 0.5}},
]


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"slots": [{"strategy": "batch-bald", "share": 1.0}]}, ["batch.slots", "batch-bald", "max-determinant"]),
        ({"slots": [{"strategy": "ucb", "share": 1.0, "options": {"beta": -1}}]}, ["option beta", "got -1"]),
        ({"slots": [{"strategy": "random", "share": 1.0, "options": {"beta": 1}}]}, ["no such option", "no options"]),
        ({"hits": {"share": 0.5, "strategy": "random"}}, ["batch.hits.strategy", "greedy-hits", "'random'"]),
        ({"hits": {"share": 0.5, "options": {"tail": "left"}}}, ["strategy ucb, option tail", "'left'"]),
    ],
)
def test_mistakes_are_found_when_the_configuration_is_read(pilot, batch, words):
    for key, value in batch.items():
        pilot.write(**{f"batch__{key}": value})
    with pytest.raises(UserError) as error:
        checked_config(str(pilot.path))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_forest_has_no_gradient(pilot):
    pilot.write(ensemble={"model": "forest"}, batch__slots=SLOTS)
    with pytest.raises(UserError, match=r"batch\.slots: adversarial-bim needs a model with a gradient; got .* forest"):
        checked_config(str(pilot.path))


def test_a_veto_needs_its_annotation(pilot):
    pilot.write(batch__veto="toxic")
    with pytest.raises(UserError, match=r"batch\.veto: the library has no such annotation; got toxic"):
        pilot.open()


def proposal(pilot, number):
    node = pilot.ledger.runs(number)[-1].lock.nodes["propose"]
    return CheckpointStore(pilot.ledger.storage).load(node.outputs["batch"])


def test_a_composed_campaign(make_pilot):
    """Hits, options and vetoes in every batch; what an abandoned plate held is repeated first and keeps its place."""
    batch = {"audit": 0.15, "slots": SLOTS, "hits": {"share": 0.25}, "veto": "stock", "abandoned": "repeat"}
    pilot = make_pilot(batch=batch, failures=((0, 2),))
    library = pd.read_csv(pilot.folder / "library.csv")
    library["stock"] = ["true" if row % 6 == 0 else "" for row in range(len(library))]
    library.to_csv(pilot.folder / "library.csv", index=False)
    vetoed = set(library.loc[library["stock"] == "true", "perturbation"])
    pilot.through(0)
    design = read_table(pilot.ledger.storage.read("rounds/0000/design/batch.csv").decode())
    first = proposal(pilot, 0)
    assert not vetoed & (set(first["perturbation"]) | set(design["perturbation"]))
    assert set(first["slot"]) == {"adversarial-bim", "k-means-embedding", "soft-bald", "ucb", "random"}
    platemap = read_table(pilot.ledger.storage.read("rounds/0000/design/platemap.csv").decode())
    lost = set(platemap.loc[(platemap["barcode"] == FAILED) & (platemap["role"] == "sample"), "perturbation"])
    decided = pilot.ledger.runs(0)[-1].lock.nodes["decide"].outputs["evidence"]
    chosen = lost & set(design.loc[design["arm"] == "initial", "perturbation"])
    assert not chosen & set(first["perturbation"]), "those of a failed plate are pending"
    pending = CheckpointStore(pilot.ledger.storage).load(decided)["audit"]["pending"]
    assert pending == len(vetoed) + len(chosen), "nothing stands for the vetoed ones: they count as wrong"

    mark_plate(str(pilot.path), "abandon", FAILED, "dropped")
    pilot.round(0)
    again = proposal(pilot, 0)
    of_lost = again[again["perturbation"].isin(lost)]
    repeated, picked = (of_lost[of_lost["arm"] == arm] for arm in ("repeat", "strategy"))
    assert len(repeated) + len(picked) == len(lost), "hidden audit members of the plate too"
    assert not set(picked["perturbation"]) & chosen, "strategies are not asked about those chosen before"
    assert (of_lost["action"] == "measure").all()
    assert set(again.loc[again["arm"] == "repeat", "perturbation"]) <= lost
    assert repeated.index.tolist() == list(range(len(repeated))), "repeats come first"
    assert not again["perturbation"].duplicated().any()
    assert (again["arm"] == "random").sum() == (first["arm"] == "random").sum()
