"""No pickle is read from a file: not by this project's code, and not by the libraries on its behalf.

One exception is on purpose: pieces of work travel between the flow and its own Dask workers as pickle
(`tasks/ensembles/cluster.py`), in memory, over the cluster's own connection, which TLS secures; never through a file.
"""

from __future__ import annotations

import ast
import io
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.numpy
import torch
from examples import SINGLE, binary_plates, library_anndata

from tasks.campaigns.config import LibrarySection
from tasks.campaigns.library import read_library
from tasks.checkpoints.payloads import Payload, UnreadablePayload, decode, encode
from tasks.errors import HybridScreenError
from tasks.readouts.ingest import RejectedInput, read_plate_file

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("tasks/**/*.py"), *ROOT.glob("flows/**/*.py"), *ROOT.glob("deployments/**/*.py")])
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
CALLS = {"read_pickle", "to_pickle", "unpickle", "pickle_load"}
EXCEPTION = "tasks/ensembles/cluster.py"


class Bomb:
    """Who unpickles it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def suspicious(source: str) -> list[str]:
    """Places of a module that read or write pickle, or let a library do so."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name.split(".")[-1] in CALLS or name in ("torch.load", "torch.save", "torch.jit.load"):
                found.append(name)
            if options.get("allow_pickle", "False") != "False" or options.get("weights_only", "True") != "True":
                found.append(f"{name} with pickle allowed")
            if name in ("np.load", "numpy.load") and options.get("allow_pickle") != "False":
                found.append(f"{name} that does not say allow_pickle=False")
    return found


def test_the_code_calls_nothing_that_loads_a_pickle():
    found = {path.relative_to(ROOT).as_posix(): suspicious(path.read_text()) for path in SOURCES}
    assert {name: calls for name, calls in found.items() if calls} == {EXCEPTION: ["pickle"]}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "np.load(f)",
        "torch.load(f)",
        "pd.read_pickle(f)",
        "f(allow_pickle=True)",
    ],
)
def test_the_search_finds_what_it_is_for(line):
    assert suspicious(line)


def test_workers_get_pickle_from_the_flow_and_from_no_file():
    source = (ROOT / EXCEPTION).read_text()
    assert source.count("pickle.loads(") == 1
    assert "pickle.load(" not in source
    assert "open(" not in source


def npy(mark, version=None) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([Bomb(mark)], dtype=object), version, allow_pickle=True)
    return buffer.getvalue()


def npz(mark) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("arr_0.npy", npy(mark))
    return buffer.getvalue()


def torch_zip(mark) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": Bomb(mark)}, buffer)
    return buffer.getvalue()


def safetensors_lie(mark) -> bytes:
    """Offsets beyond the end, and a type that does not exist."""
    data = safetensors.numpy.save({"weight": np.zeros(3)})
    return data.replace(b'"F64"', b'"OBJ"')[: len(data) - 8] + pickle.dumps(Bomb(mark))


@pytest.mark.parametrize("make", [npy, npz, torch_zip, safetensors_lie, lambda mark: pickle.dumps(Bomb(mark))])
@pytest.mark.parametrize("kind", ["array", "tensors", "table", "anndata", "json"])
def test_no_payload_unpickles(make, kind, tmp_path):
    mark = tmp_path / "mark"
    data = make(mark)
    if make is npy:  # the bomb works where pickle is allowed
        np.load(io.BytesIO(data), allow_pickle=True)
        assert mark.exists()
        mark.unlink()
    with pytest.raises(UnreadablePayload):
        decode(kind, {"": data})
    assert not mark.exists()


def with_pickles(file: h5py.File, mark) -> None:
    """Pickle wherever HDF5 can hold bytes: attributes and datasets of opaque type, and as text."""
    data = np.void(pickle.dumps(Bomb(mark)))
    for name in ("/", "obs", "X"):
        file[name].attrs["pickle"] = data
        file[name].attrs["python_class"] = data
    file.create_dataset("uns/pickle" if "uns" in file else "pickle", data=data)


def test_no_hdf5_file_unpickles(tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "l.h5ad"
    library_anndata().write_h5ad(path)
    (files, _) = binary_plates("h5ad")["one"]
    plates = io.BytesIO(next(iter(files.values())))
    for target in (path, plates):
        with h5py.File(target, "r+") as file:
            with_pickles(file, mark)
    try:
        read_library(LibrarySection(uri=str(path)))
    except HybridScreenError as error:
        assert "not AnnData" in str(error)  # noqa: PT017 - read or refused, both are right
    assert len(read_plate_file(plates.getvalue(), "w.h5ad", SINGLE, 96)) == 2
    with h5py.File(plates, "r+") as file:
        del file["X"]
        file.create_dataset("X", data=np.array([np.void(pickle.dumps(Bomb(mark)))] * 192))
    with pytest.raises(RejectedInput):
        read_plate_file(plates.getvalue(), "w.h5ad", SINGLE, 96)
    assert not mark.exists()


def test_no_zarr_folder_unpickles(tmp_path):
    """The codec `pickle` of numcodecs is named in the metadata, as old zarr did for objects."""
    mark = tmp_path / "mark"
    files = encode(Payload("anndata", library_anndata()))
    name = next(name for name in files if name.startswith("obs/name") and name.endswith("zarr.json"))
    files[name] = files[name].replace(b'"vlen-utf8"', b'"numcodecs.pickle"')
    chunk = next(name for name in files if name.startswith("obs/name/c"))
    files[chunk] = pickle.dumps(Bomb(mark))
    with pytest.raises(UnreadablePayload):
        decode("anndata", files)
    assert not mark.exists()
