"""What nodes read of a prediction that lies in chunks: the mean of all rows, or all that is said of some rows."""

import gc
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces_at_hand import ask, learn, made_up

from tasks.checkpoints.checkpointer import Checkpointer
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.ensembles.pieces import PREDICTED
from tasks.ensembles.predicting import Prediction
from tasks.ensembles.task import Reference, forward_residuals, load_prediction, mean_prediction


class Reading(CheckpointStore):
    """A store that notes what is loaded of it."""

    def __init__(self, folder):
        super().__init__(Storage(str(folder)))
        self.loaded = []

    def load(self, ref):
        self.loaded.append(ref)
        return super().load(ref)


def stored(cp, node, **payloads):
    return cp.run(node, Stage("stored", 1), lambda: payloads, outputs=tuple(payloads), params={"node": node})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A library of 400 rows in eight chunks, its prediction, and the prediction in one place."""
    cp = Checkpointer(Reading(tmp_path_factory.mktemp("chunks")))
    learnt = made_up(cp)
    chunks = ask(cp, None, learnt, learn(cp, None, learnt), [(start, start + 50) for start in range(0, 400, 50)])
    whole = Prediction(**{name: np.concatenate([cp.load(chunk[name]) for chunk in chunks]) for name in PREDICTED})
    return cp, learnt, chunks, whole


def test_the_mean_has_the_bits_of_the_mean_in_one_place(world):
    cp, _, chunks, whole = world
    found = mean_prediction(cp, chunks)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, whole.members.mean(axis=1, dtype=np.float64))
    np.testing.assert_array_equal(found, whole.mean)


@given(rows=st.lists(st.integers(0, 399), max_size=30))
def test_some_rows_are_those_of_the_whole(world, rows):
    """In any order, the same one twice, or none at all."""
    cp, _, chunks, whole = world
    rows = np.array(rows, dtype=np.intp)
    said = load_prediction(cp, chunks, rows)
    for name in PREDICTED:
        found, expected = getattr(said, name), getattr(whole, name)[rows]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("row", [-1, 400])
def test_a_row_that_is_not_there_is_an_error(world, row):
    cp, _, chunks, _ = world
    with pytest.raises(IndexError, match="of 400"):
        load_prediction(cp, chunks, np.array([3, row]))


def test_forward_residuals_read_the_chunks_of_new_labels_alone(world):
    cp, learnt, chunks, whole = world
    seen = cp.load(learnt.labels)
    names = [f"CPD-{row:06d}" for row in range(400)]
    new = [row for row in (331, 121, 101, 348, 130, 345) if names[row] not in set(seen["perturbation"])]
    assert {row // 50 for row in new} == {2, 6}
    labels = pd.DataFrame({"perturbation": [names[row] for row in new], "value": 1.0, "variance": 0.01})
    standing = pd.DataFrame({"perturbation": names, "arm": "strategy", "round": 1})
    tables = {"labels": pd.concat([seen, labels]), "standing": standing}
    given = stored(cp, "given", **{name: Payload("table", table) for name, table in tables.items()})
    cp.store.loaded.clear()
    reference = Reference(0, chunks, learnt.labels)
    forward_residuals.fn(cp, "forward", learnt.library, reference, given["labels"], given["standing"])
    of_chunks = {ref: number for number, chunk in enumerate(chunks) for ref in chunk.refs.values()}
    read = [of_chunks[ref] for ref in cp.store.loaded if ref in of_chunks]
    assert sorted(read) == [2] * len(PREDICTED) + [6] * len(PREDICTED)
    outputs = cp.records["forward"].outputs
    table = cp.load(outputs["table"])
    assert table["row"].tolist() == new
    np.testing.assert_array_equal(table["predicted"], whole.mean[new])
    np.testing.assert_array_equal(table["sd"], whole.sd[new, 0].astype(np.float64))
    for name in ("members", "within", "features"):
        np.testing.assert_array_equal(cp.load(outputs[name]), getattr(whole, name)[new])


def test_memory_does_not_grow_with_the_library(tmp_path):
    """2 MB of members in a chunk: of ten and of twenty chunks as much is in memory at once, but for the means."""
    cp = Checkpointer(Reading(tmp_path))
    rng = np.random.default_rng(0)
    chunks = [
        stored(cp, f"chunk {i}", members=Payload("array", rng.standard_normal((500, 1000), dtype=np.float32)))
        for i in range(20)
    ]

    def most(count):
        gc.freeze()  # what is older need not be looked through again and again
        tracemalloc.start()
        mean_prediction(cp, chunks[:count])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        gc.unfreeze()
        return peak

    most(1)  # what is kept once and for all
    assert most(20) < 1.2 * most(10)
