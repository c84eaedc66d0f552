from concurrent.futures import ThreadPoolExecutor

import anndata
import numpy as np
import pandas as pd
import pytest

from tasks.checkpoints.payloads import Payload, UnreadablePayload, content_digest, decode, encode, file_digests


def library():
    obs = pd.DataFrame({"value": [1.0, np.nan], "name": ["é", ""], "flag": [True, False]}, index=["b", "a"])
    adata = anndata.AnnData(X=np.arange(6, dtype=np.float32).reshape(2, 3), obs=obs)
    adata.uns["certificate"] = {"bound": 0.9, "rule": "audit"}
    return adata


PAYLOADS = {
    "table": lambda: pd.DataFrame({"id": ["a", "NA", "007"], "x": [0.1, np.nan, -0.0], "n": [1, 2, 3]}),
    "array": lambda: np.linspace(0, 1, 7, dtype=np.float32)[::2],
    "tensors": lambda: {"b": np.ones((2, 3), dtype=np.float32), "a": np.arange(3)},
    "json": lambda: {"plates": [1, 2.5, None], "name": "Σ"},
    "text": lambda: "barcode,well\nP1,A01\n",
    "anndata": library,
}


def same(kind, left, right):
    if kind == "table":
        pd.testing.assert_frame_equal(left, right)
    elif kind == "array":
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype
    elif kind == "tensors":
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name])
    elif kind == "anndata":
        np.testing.assert_array_equal(left.X, right.X)
        pd.testing.assert_frame_equal(left.obs, right.obs, check_dtype=False)
        assert dict(left.uns["certificate"]) == dict(right.uns["certificate"])
    else:
        assert left == right


@pytest.mark.parametrize("kind", PAYLOADS)
def test_a_payload_comes_back_as_it_was(kind):
    value = PAYLOADS[kind]()
    same(kind, decode(kind, encode(Payload(kind, value))), value)


@pytest.mark.parametrize("kind", PAYLOADS)
def test_the_same_value_gives_the_same_bytes(kind):
    first, second = (encode(Payload(kind, PAYLOADS[kind]())) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("kind", PAYLOADS)
def test_one_changed_byte_changes_the_digest(kind):
    files = encode(Payload(kind, PAYLOADS[kind]()))
    whole = content_digest(file_digests(files))
    for name, data in files.items():
        damaged = {**files, name: data[:-1] + bytes([data[-1] ^ 1])}
        assert content_digest(file_digests(damaged)) != whole
    renamed = {f"{name}x" if i == 0 else name: data for i, (name, data) in enumerate(files.items())}
    assert content_digest(file_digests(renamed)) != whole


def test_objects_are_never_stored_or_loaded():
    with pytest.raises(TypeError):
        encode(Payload("array", np.array([{"a": 1}], dtype=object)))
    with pytest.raises(TypeError):
        encode(Payload("table", {"a": 1}))
    import io

    pickled = io.BytesIO()
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UnreadablePayload, match="allow_pickle"):
        decode("array", {"": pickled.getvalue()})


def test_json_with_nan_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        encode(Payload("json", {"x": float("nan")}))


def test_threads_that_encode_side_by_side_leave_the_settings_of_the_process_alone():
    """The settings under which AnnData is written belong to the process, and count for the bytes."""
    before, data = anndata.settings.auto_shard_zarr_v3, library()
    alone = encode(Payload("anndata", data))
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda _: encode(Payload("anndata", data)), range(40)))
    assert all(files == alone for files in written)
    assert anndata.settings.auto_shard_zarr_v3 is before
