"""Reading a part of a stored AnnData: only its files are fetched, and each is checked."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.checkpoints.checkpointer import Checkpointer
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.lazy import open_group
from tasks.checkpoints.payloads import Payload, decode, encode
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore, DamagedCheckpoint

ROWS, COLUMNS = 40_000, 40  # three files of 16,384 rows


def library(rows=ROWS, columns=COLUMNS):
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"charge": np.arange(rows)}, index=[f"CPD-{i}" for i in range(rows)])
    return anndata.AnnData(X=rng.normal(size=(rows, columns)).astype(np.float32), obs=obs)


class Counting(Storage):
    """A storage that notes what is read of it."""

    def read(self, path):
        data = super().read(path)
        self.__dict__.setdefault("sizes", {})[path] = len(data)
        return data


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A library of three files as a checkpoint's output, in one folder for all tests that change nothing."""
    folder = tmp_path_factory.mktemp("lazy")
    ref = save(Storage(str(folder)), library())
    return folder, ref, library()


def save(storage, adata):
    cp = Checkpointer(CheckpointStore(storage))
    payload = {"library": Payload("anndata", adata)}
    return cp.run("library", Stage("library", 1), lambda: payload, outputs=("library",))["library"]


def opened(stored):
    folder, ref, adata = stored
    storage = Counting(str(folder))
    group = open_group(CheckpointStore(storage), ref)
    storage.sizes.clear()
    return storage, group, adata


def names(storage):
    """Last parts of what was read of X."""
    return {path.split(".zarr/X/c/")[1] for path in storage.sizes if "/X/c/" in path}


def test_x_is_cut_by_rows_alone(stored):
    _, group, _ = opened(stored)
    assert group["X"].chunks == (16384, COLUMNS)
    assert group["X"].dtype == np.float32


@pytest.mark.parametrize(
    ("shape", "rows"), [((100, 3), 100), ((20_000, 512), 4096), ((3000, 1000), 2048), ((2, 2_200_000), 1)]
)
def test_a_file_of_x_has_a_power_of_two_of_rows_and_at_most_8_mib(shape, rows):
    files = encode(Payload("anndata", anndata.AnnData(X=np.zeros(shape, dtype=np.float32))))
    meta = json.loads(files["X/zarr.json"])
    assert meta["chunk_grid"]["configuration"]["chunk_shape"] == [rows, shape[1]]
    np.testing.assert_array_equal(decode("anndata", files).X, 0)


@pytest.mark.parametrize(
    ("rows", "files"),
    [
        (slice(0, 10), {"0/0"}),
        (slice(16384, 32768), {"1/0"}),
        (slice(16000, 17000), {"0/0", "1/0"}),
        (slice(39_990, 40_000), {"2/0"}),
    ],
)
def test_a_slice_reads_its_own_files_alone(stored, rows, files):
    storage, group, adata = opened(stored)
    np.testing.assert_array_equal(group["X"][rows], adata.X[rows])
    assert names(storage) == files


def test_single_rows_read_their_own_files_alone(stored):
    storage, group, adata = opened(stored)
    np.testing.assert_array_equal(group["X"].oindex[np.array([3, 5, 39_000]), :], adata.X[[3, 5, 39_000]])
    assert names(storage) == {"0/0", "2/0"}


def test_the_annotation_is_read_without_x(stored):
    storage, group, adata = opened(stored)
    pd.testing.assert_frame_equal(anndata.io.read_elem(group["obs"]), adata.obs)
    assert names(storage) == set()


def test_the_list_of_files_is_read_once_and_no_file_twice_for_one_slice(stored):
    folder, ref, _ = stored
    storage = Counting(str(folder))
    reads = []
    read = storage.read
    storage.read = lambda path: (reads.append(path), read(path))[1]
    open_group(CheckpointStore(storage), ref)["X"][:5]
    assert len(reads) == len(set(reads))
    assert sum(path.endswith("manifest.json") for path in reads) == 1


@settings(max_examples=25, deadline=None)
@given(bounds=st.lists(st.integers(0, 40_000), min_size=2, max_size=2).map(sorted))
def test_any_slice_is_that_of_the_whole(stored, bounds):
    _, group, adata = opened(stored)
    np.testing.assert_array_equal(group["X"][bounds[0] : bounds[1]], adata.X[bounds[0] : bounds[1]])


def test_nothing_can_be_written_and_strangers_in_the_folder_do_not_exist(stored):
    folder, ref, _ = stored
    _, group, _ = opened(stored)
    with pytest.raises(ValueError, match="read-only"):
        group["X"][0, 0] = 5.0
    (folder / ref.uri / "stranger").mkdir(exist_ok=True)
    (folder / ref.uri / "stranger/zarr.json").write_bytes((folder / ref.uri / "X/zarr.json").read_bytes())
    assert "stranger" not in open_group(CheckpointStore(Storage(str(folder))), ref)
    assert {"X", "obs", "var"} <= set(group)


@pytest.fixture
def small(tmp_path):
    """A library of two files that may be harmed."""
    storage = Storage(str(tmp_path))
    return storage, save(storage, library(20_000, 3)), tmp_path


@pytest.mark.parametrize(("harm", "words"), [("remove", "is missing"), ("flip", "is not what its digest says")])
def test_a_harmed_file_is_named_when_it_is_read_and_the_others_can_be(small, harm, words):
    storage, ref, folder = small
    path = folder / ref.uri / "X/c/1/0"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink() if harm == "remove" else path.write_bytes(data)
    group = open_group(CheckpointStore(storage), ref)
    np.testing.assert_array_equal(group["X"][:10], library(20_000, 3).X[:10])
    with pytest.raises(DamagedCheckpoint, match=f"X/c/1/0 {words}"):
        group["X"][16_380:16_390]


def manifest_of(folder, ref):
    return folder / Path(ref.uri).parent / "manifest.json"


@pytest.mark.parametrize("content", [None, b"[1", b"{}", b'{"payloads": {"library": 5}}'])
def test_without_a_list_of_files_each_is_read_for_its_digest(small, content):
    storage, ref, folder = small
    path = manifest_of(folder, ref)
    path.unlink() if content is None else path.write_bytes(content)
    group = open_group(CheckpointStore(storage), ref)
    np.testing.assert_array_equal(group["X"][16_380:16_390], library(20_000, 3).X[16_380:16_390])
    (folder / ref.uri / "X/c/1/0").unlink()
    with pytest.raises(DamagedCheckpoint, match="is not what its digest says"):
        open_group(CheckpointStore(storage), ref)


def test_a_list_that_was_changed_together_with_a_file_is_not_believed(small):
    """Who can write the storage may change a file and its digest in the list; the reference still knows better."""
    from tasks.checkpoints.keys import sha256

    storage, ref, folder = small
    file = folder / ref.uri / "X/c/1/0"
    before = sha256(file.read_bytes())
    file.write_bytes((folder / ref.uri / "X/c/0/0").read_bytes())
    path = manifest_of(folder, ref)
    path.write_text(path.read_text().replace(before, sha256(file.read_bytes())))
    with pytest.raises(DamagedCheckpoint, match="is not what its digest says"):
        open_group(CheckpointStore(storage), ref)


def test_what_is_not_there_at_all_is_missing(storage, small):
    _, ref, _ = small
    with pytest.raises(DamagedCheckpoint, match="is missing"):
        open_group(CheckpointStore(storage), ref)


def test_the_registered_library_has_its_list_too(storage_url):
    from tasks.campaigns.ledger import Ledger

    storage = Counting(storage_url)
    ref = Ledger(storage).register_library(library(20_000, 3))
    storage.__dict__.setdefault("sizes", {}).clear()
    group = open_group(CheckpointStore(storage), ref)
    np.testing.assert_array_equal(group["X"][19_000:], library(20_000, 3).X[19_000:])
    assert names(storage) == {"1/0"}
