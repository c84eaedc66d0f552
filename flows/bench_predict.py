"""`bench predict`: a library of any size, chunk by chunk from zarr to checkpoints, as a campaign predicts it.

Library, ensemble, prediction and floor each have a process of their own, so that the peak memory is that of the
prediction. The floor is the matrix products alone: no reading, encoding, activation or writing.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from flows.bench import Measured, Stopwatch
from flows.bench_child import Child
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.progress import advanced
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.errors import UserError

DEFAULTS = {"pool": 1_000_000, "features": 256, "members": 16, "hidden": 128, "labels": 2_000, "epochs": 2}
_STORED = 1000  # bytes that are stored of a perturbation besides its features and members, more or less
_TIMED = 2  # chunks for each core that the floor is timed on, before and after


@dataclass(frozen=True)
class Predicted:
    """What a prediction of the library took: seconds of wall and of processors, peak memory [GiB]."""

    seconds: float
    cpu_seconds: float
    peak_rss_gib: float
    chunk_rows: int


def run(folder: Path, sizes: dict[str, int]) -> Measured:
    """Predict a made-up library.

    Args:
        folder: Where library and checkpoints go.
        sizes: pool (perturbations), features, members, hidden (width of each of the two hidden layers), labels and
            epochs (that the ensemble is fitted on).

    Raises:
        UserError: The disk is too small.
    """
    _require_disk(folder, sizes)
    with Child() as child:
        library = child.call(make_library, folder, sizes)
    with Child() as child:
        fitted = child.call(fit, folder, sizes)
    with Child() as bare, Child() as child:
        before = bare.call(floor, folder, fitted, sizes["pool"])
        found = child.call(predict, folder, library, fitted, sizes["pool"])
        after = bare.call(floor, folder, fitted, sizes["pool"])
    facts = {
        "chunk_rows": found.chunk_rows,
        "rows_per_second": round(sizes["pool"] / found.seconds),
        "library_bytes": _size(folder / "library"),
        "predicted_bytes": _size(folder / "checkpoints" / "predict"),
    }
    return Measured(found.seconds, found.cpu_seconds, found.peak_rss_gib, (before + after) / 2, facts=facts)


def make_library(folder: Path, sizes: dict[str, int]) -> Ref:
    """Write the library."""
    from tasks.ensembles.bench_predict import write_library

    return write_library(folder, sizes["pool"], sizes["features"])


def fit(folder: Path, sizes: dict[str, int]) -> Outputs:
    """Fit and store the ensemble."""
    from tasks.ensembles.bench_predict import store_ensemble

    return store_ensemble(folder, {name: size for name, size in sizes.items() if name != "pool"})


def predict(folder: Path, library: Ref, fitted: Outputs, pool: int) -> Predicted:
    """Predict every chunk of the library, without Prefect's server; as many at once as there are cores."""
    from tasks.campaigns.config import ComputeSection
    from tasks.checkpoints.manifest import peak_rss_gib
    from tasks.ensembles.cluster import open_cluster
    from tasks.ensembles.task import chunk_bounds, predict_chunk

    compute, watch = ComputeSection(), Stopwatch()
    chunks = chunk_bounds(pool, compute.chunk_rows)
    cp = Checkpointer(CheckpointStore(Storage(str(folder))))
    with watch.of("work"), open_cluster(compute) as place, ThreadPoolExecutor() as tasks:
        asked = [
            tasks.submit(predict_chunk.fn, cp, place, f"predict/{number:05d}", library, fitted, rows, compute.device)
            for number, rows in enumerate(chunks)
        ]
        for done, future in enumerate(as_completed(asked), start=1):
            future.result()
            advanced("predict", done, len(chunks))
    return Predicted(watch.wall["work"], watch.cpu["work"], peak_rss_gib(), compute.chunk_rows)


def floor(folder: Path, fitted: Outputs, pool: int) -> float:
    """Seconds of the bare products."""
    from tasks.campaigns.config import ComputeSection
    from tasks.ensembles.bench_predict import bare_products

    return bare_products(folder, fitted, pool, min(ComputeSection().chunk_rows, pool), _TIMED)


def _require_disk(folder: Path, sizes: dict[str, int]) -> None:
    """Refuse what would fill the disk."""
    needed = sizes["pool"] * (4 * (sizes["features"] + sizes["members"]) + _STORED)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            "the disk is too small for this library",
            where=str(folder),
            got=f"{free / 1e9:.1f} GB free",
            expected=f"{needed / 1e9:.1f} GB",
            todo="Give a smaller --pool, or set TMPDIR to a folder on a larger disk.",
        )


def _size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
