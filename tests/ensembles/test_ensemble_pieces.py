"""The pieces of an ensemble: each reads its own part of the library, and no more."""

import gc
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces_at_hand import ask, learn, made_up, recipe

from tasks.campaigns.compute_settings import ComputeSection
from tasks.checkpoints.checkpointer import Checkpointer
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.lazy import open_rows
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.ensembles.pieces import predict_rows, torch_device, training_set
from tasks.ensembles.recipe import Learnt, plates_of
from tasks.ensembles.task import device_of, member_groups
from tasks.errors import UserError


class Counting(Storage):
    """A storage that notes the size of what is read of it."""

    def __init__(self, url):
        super().__init__(url)
        self.sizes = []

    def read(self, path):
        data = super().read(path)
        self.sizes.append((path, len(data)))
        return data

    def of_x(self):
        """Names of the files of X that were read, each as often as it was."""
        return sorted(path.split("/X/c/")[1] for path, _ in self.sizes if "/X/c/" in path)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """A library of 70,000 rows in five files, labels of 60 of them, a small ensemble."""
    storage = Counting(str(tmp_path_factory.mktemp("pieces")))
    cp = Checkpointer(CheckpointStore(storage))
    learnt = made_up(cp, rows=70_000, labelled=np.arange(20_000, 20_060))
    return cp, learnt, learn(cp, None, learnt)


def test_learning_reads_the_files_with_labelled_rows_alone(campaign):
    cp, learnt, _ = campaign
    cp.store.storage.sizes.clear()
    train = training_set(cp.store, learnt)
    assert cp.store.storage.of_x() == ["1/0"]
    library, table = cp.load(learnt.library), cp.load(learnt.labels)
    np.testing.assert_array_equal(train.features, library[table["perturbation"].tolist()].X)
    np.testing.assert_array_equal(train.targets[:, 0], table["value"])
    np.testing.assert_array_equal(train.variances[:, 0], table["variance"])
    assert train.plates.shape == (60, 6)


@pytest.mark.parametrize(
    ("rows", "files"), [((0, 100), ["0/0"]), ((16_384, 32_768), ["1/0"]), ((32_000, 34_000), ["1/0", "2/0"])]
)
def test_predicting_reads_the_files_of_its_rows_once(campaign, rows, files):
    cp, learnt, ensemble = campaign
    cp.store.storage.sizes.clear()
    predict_rows(cp.store, learnt.library, (ensemble["tensors"], ensemble["facts"]), *rows, "cpu")
    assert cp.store.storage.of_x() == files


def test_memory_does_not_grow_with_the_library(campaign):
    """The first half of the library and all of it: the most that is reachable at once is about the same."""
    cp, learnt, ensemble = campaign

    def most(rows):
        gc.freeze()  # what is older need not be looked through again and again
        tracemalloc.start()
        for start in range(0, rows, 2000):
            gc.collect()  # zarr's requests are cycles; how many wait for the collector does not matter
            predict_rows(cp.store, learnt.library, (ensemble["tensors"], ensemble["facts"]), start, start + 2000, "cpu")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        gc.unfreeze()
        return peak

    most(2000)  # what is kept once and for all
    assert most(68_000) < 1.2 * most(34_000)


def test_chunks_together_say_what_one_chunk_says(campaign):
    cp, learnt, ensemble = campaign
    whole = ask(cp, None, learnt, ensemble, [(0, 1000)])[0]
    parts = ask(cp, None, learnt, ensemble, [(0, 300), (300, 999), (999, 1000)])
    for name in whole.refs:
        np.testing.assert_allclose(
            np.concatenate([cp.load(part[name]) for part in parts]), cp.load(whole[name]), rtol=1e-5, atol=1e-6
        )


def test_a_label_of_a_stranger_is_an_error(campaign):
    cp, learnt, _ = campaign
    table = cp.load(learnt.labels)
    table.loc[3, "perturbation"] = "stranger"
    labels = cp.run("other", Stage("other", 1), lambda: {"t": Payload("table", table)}, outputs=("t",))["t"]
    with pytest.raises(UserError, match="a labelled perturbation is not in the library; got 'stranger'"):
        training_set(cp.store, Learnt(learnt.library, labels, learnt.incidence))


def test_row_order_of_the_labels_changes_nothing_but_row_order(campaign):
    cp, learnt, _ = campaign
    table = cp.load(learnt.labels).iloc[::-1].reset_index(drop=True)
    labels = cp.run("turned", Stage("turned", 1), lambda: {"t": Payload("table", table)}, outputs=("t",))["t"]
    turned, straight = (
        training_set(cp.store, Learnt(learnt.library, ref, learnt.incidence)) for ref in (labels, learnt.labels)
    )
    np.testing.assert_array_equal(turned.features[::-1], straight.features)
    np.testing.assert_array_equal(turned.plates[::-1], straight.plates)


PAIRS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["P1.1", "P2.1", "P2.2", "P9.1"])), max_size=20)


@given(pairs=PAIRS, order=st.permutations("abcd"))
def test_plates_are_those_of_the_incidence_table_in_any_order(pairs, order):
    incidence = pd.DataFrame(sorted(set(pairs)), columns=["perturbation", "barcode"], dtype=object).assign(weight=0.5)
    stands = plates_of(pd.Series(order, dtype=object), incidence.sample(frac=1, random_state=0))
    plates = sorted({plate for name, plate in pairs if name in order})
    assert stands.shape == (4, len(plates))
    for row, name in enumerate(order):
        assert {plate for plate, on in zip(plates, stands[row], strict=True) if on} == {
            plate for other, plate in pairs if other == name
        }


def test_the_grid_is_set_by_configuration_and_not_by_the_cluster():
    for workers, dask in ((0, "local"), (7, "local"), (0, "tcp://127.0.0.1:8786")):
        compute = ComputeSection(workers=workers, dask=dask, group_members=3)
        groups = member_groups(recipe(members=7), compute)
        assert [member for group in groups for member in group] == list(range(7))
        assert [len(group) for group in groups] == [3, 3, 1]


def test_devices(monkeypatch):
    import torch

    assert torch_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto").type == "cpu"
    with pytest.raises(UserError, match=r"compute\.device: no GPU here"):
        torch_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert torch_device("auto").type == torch_device("cuda").type == "cuda"
    assert torch_device("cpu").type == "cpu"
    assert device_of(recipe(), ComputeSection(device="cuda")) == "cuda"


def test_a_library_that_was_cut_in_another_way_is_read_too(tmp_path, monkeypatch):
    """As those of campaigns that were opened before X was cut by rows alone."""
    import tasks.checkpoints.payloads as payloads

    cut = {"chunks": (70, 2)}
    monkeypatch.setattr(
        payloads,
        "_write_rows_together",
        lambda write, group, key, value, dataset_kwargs, iospec: write(
            group, key, value, dataset_kwargs={**dataset_kwargs, **(cut if key == "X" else {})}
        ),
    )
    cp = Checkpointer(CheckpointStore(Storage(str(tmp_path))))
    learnt = made_up(cp)
    assert open_rows(cp.store, learnt.library).chunks == (70, 2)
    table = cp.load(learnt.labels)
    expected = cp.load(learnt.library)[table["perturbation"].tolist()].X
    np.testing.assert_array_equal(training_set(cp.store, learnt).features, expected)
