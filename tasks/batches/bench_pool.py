"""A made-up pool of any size for `bench select`: written to a folder once, opened by every contender.

Members are normal deviations with a heavy-tailed scale of their own for each perturbation, as an ensemble gives that
knows some of the library much less than the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from numpy.lib.format import open_memmap

from tasks.batches.pool import FloatArray, Kind, PoolView
from tasks.checkpoints.progress import advanced
from tasks.operators.rows import CHUNK, MemoryRows, Rows
from tasks.operators.stored_rows import StoredRows

#: Standard deviation of the logarithm of a perturbation's scale.
TAIL = 0.5
#: σ²_Y as a share of the mean epistemic variance.
NOISE = 0.1

_TALL = ("factor", "coordinates", "features")
_VECTORS = ("predictions", "variance")

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sizes:
    """What a pool is made of.

    Attributes:
        pool: Perturbations that may be picked, the first rows of the library.
        observed: Perturbations measured before, its last rows.
        members: Members of the ensemble.
        features: Features of a perturbation, and of its embedding; 0 for none.
        kind: continuous, or binary: members then are probabilities; or multi-class: of each of three classes.
        from_disk: Tall matrices as zarr chunks on disk instead of memory.
    """

    pool: int
    observed: int
    members: int
    features: int = 0
    kind: Kind = "continuous"
    from_disk: bool = False

    @property
    def library(self) -> int:
        """All perturbations (N)."""
        return self.pool + self.observed

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays that it may be written as."""
        classes = (3,) if self.kind == "multi-class" else ()
        return {
            "members": (self.library, self.members, *classes),
            "predictions": (self.library, *classes),
            "variance": (self.library,),
            "factor": (self.library, self.members),
            "coordinates": (self.library, self.members - 1),
            "features": (self.library, self.features),
        }

    def disk(self, parts: tuple[str, ...]) -> int:
        """Bytes that some of them take."""
        shapes = self.shapes()
        return sum(int(np.prod(shapes[part])) * (8 if part in _VECTORS else 4) for part in parts)


def write_pool(folder: Path, sizes: Sizes, parts: tuple[str, ...]) -> None:
    """Write a pool.

    Args:
        folder: Where to.
        sizes: Of the pool.
        parts: Arrays to write, of `Sizes.shapes`.
    """
    files = {part: _new(folder, part, sizes) for part in parts}
    gram = np.zeros((sizes.members, sizes.members))
    for start, block in _members(sizes):
        rows = slice(start, start + len(block))
        columns, said = centred(block), _as_kind(block, sizes.kind)
        gram += columns.T.astype(np.float64) @ columns
        _write(files, rows, members=said, predictions=said.mean(axis=1), factor=columns)
        if "features" in parts:
            _write(files, rows, features=_features(start, len(block), sizes.features))
        advanced("pool", rows.stop, 2 * sizes.library)
    eigenvalues, rotation = np.linalg.eigh(gram)
    np.save(folder / "eigenvalues.npy", eigenvalues[:0:-1])  # centred members always leave one at 0
    for start, block in _members(sizes) if "coordinates" in parts or "variance" in parts else ():
        rows = slice(start, start + len(block))
        coordinates = (centred(block).astype(np.float64) @ rotation[:, :0:-1]).astype(np.float32)
        variance = np.square(coordinates, dtype=np.float64).sum(axis=1)
        _write(files, rows, coordinates=coordinates, variance=variance)
        advanced("pool", sizes.library + rows.stop, 2 * sizes.library)
    for written in files.values():
        if isinstance(written, np.memmap):
            written.flush()


def _write(files: Mapping[str, Any], rows: slice, **values: npt.NDArray[Any]) -> None:
    for name, block in values.items():
        if name in files:
            files[name][rows] = block


def centred(members: Float32) -> Float32:
    """Factor of Σ_F: members (n, M) centred over the members, over √(M − 1)."""
    factor: Float32 = members - members.mean(axis=1, keepdims=True)
    factor /= np.sqrt(members.shape[1] - 1)
    return factor


def open_pool(folder: Path, sizes: Sizes, needs: Collection[str] = ()) -> PoolView:
    """The pool that was written, as a strategy sees it.

    Args:
        folder: Where it was written.
        sizes: Of the pool.
        needs: members, features, embedding, gradient, as the strategy asks for.
    """
    variance = np.load(folder / "variance.npy", allow_pickle=False)
    given: dict[str, Any] = {}
    if sizes.features:
        features = open_rows(folder, "features", sizes)
        given = {name: features for name in ("features", "embedding") if name in needs}
    if "members" in needs:
        given["members"] = np.load(
            folder / "members.npy", allow_pickle=False, mmap_mode="r" if sizes.from_disk else None
        )
    if "gradient" in needs:
        given["gradient"] = Slopes(sizes)
    return PoolView(
        coordinates=open_rows(folder, "coordinates", sizes),
        eigenvalues=np.load(folder / "eigenvalues.npy", allow_pickle=False),
        variance=variance,
        predictions=np.load(folder / "predictions.npy", allow_pickle=False),
        noise=np.full(sizes.library, noise_of(variance)),
        open=np.arange(sizes.library) < sizes.pool,
        kind=sizes.kind,
        **given,
    )


def open_rows(folder: Path, name: str, sizes: Sizes) -> Rows:
    """A tall matrix that was written: factor, coordinates or features."""
    if sizes.from_disk:
        return StoredRows.of_zarr(zarr.open_array(folder / name, mode="r"))
    return MemoryRows(np.load(folder / f"{name}.npy", allow_pickle=False))


def noise_of(variance: FloatArray) -> float:
    """σ²_Y of every new measurement, the same for all so that homoscedastic peers do the same job."""
    return NOISE * float(variance.mean())


class Slopes:
    """A variance that grows away from 0, Σ (w·x)² over made-up members w, and its gradient."""

    def __init__(self, sizes: Sizes) -> None:
        self.weights = np.random.default_rng(3).standard_normal((sizes.features, sizes.members)) / sizes.features

    def __call__(self, points: npt.NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
        """Variance (k,) and gradient (k, d) at points (k, d)."""
        values = points.astype(np.float64) @ self.weights
        return np.square(values).sum(axis=1), 2.0 * values @ self.weights.T


def _new(folder: Path, part: str, sizes: Sizes) -> Any:
    """An array to write to: zarr chunks for a tall matrix on disk, else npy."""
    shape = sizes.shapes()[part]
    if sizes.from_disk and part in _TALL:
        return zarr.create_array(folder / part, shape=shape, chunks=(CHUNK, shape[1]), dtype="f4")
    return open_memmap(folder / f"{part}.npy", "w+", "f8" if part in _VECTORS else "f4", shape)


def _members(sizes: Sizes) -> Iterator[tuple[int, Float32]]:
    """Members by chunk, the same whatever the size of the pool."""
    for start in range(0, sizes.library, CHUNK):
        rng = np.random.default_rng([1, start])
        shape = (min(CHUNK, sizes.library - start), sizes.members)
        scale = np.exp(TAIL * rng.standard_normal((CHUNK, 1), dtype=np.float32))[: shape[0]]
        yield start, rng.standard_normal(shape, dtype=np.float32) * scale


def _features(start: int, count: int, features: int) -> Float32:
    return np.random.default_rng([2, start]).standard_normal((count, features), dtype=np.float32)


def _as_kind(members: Float32, kind: Kind) -> Float32:
    """Predictions, or probabilities made of them."""
    if kind == "continuous":
        return members
    odds: Float32 = np.exp(-members)
    if kind == "binary":
        odds += 1.0
        return np.reciprocal(odds)
    classes = np.stack([np.ones_like(odds), odds, np.square(odds)], axis=2)
    probabilities: Float32 = classes / classes.sum(axis=2, keepdims=True)
    return probabilities
