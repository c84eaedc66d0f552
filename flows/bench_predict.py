"""`bench predict`: a library of any size, chunk by chunk from zarr to checkpoints, as a campaign predicts it.

Library, ensemble, prediction and floor each have a process of their own, so that the peak memory is that of the
prediction. The floor is the matrix products alone: no reading, encoding, activation or writing.
"""

import shutil
import statistics
from concurrent.futures import ThreadPoolExecutor
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
_PARTS = 8  # of the prediction; the floor is timed before, between and after them, as other work comes and goes
_TIMED = 1  # chunks for each core that it is timed on


@dataclass(frozen=True)
class Predicted:
    """What a share of the prediction took: seconds of wall and of processors, peak memory [GiB]."""

    seconds: float
    cpu_seconds: float
    peak_rss_gib: float


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
        floors = [bare.call(floor, folder, fitted, sizes["pool"])]
        parts = []
        for share in range(_PARTS):
            parts.append(child.call(predict, folder, library, fitted, share))
            floors.append(bare.call(floor, folder, fitted, sizes["pool"]))
    seconds, cpu_seconds = sum(part.seconds for part in parts), sum(part.cpu_seconds for part in parts)
    facts = {
        "rows_per_second": round(sizes["pool"] / seconds),
        "library_bytes": _size(folder / "library"),
        "predicted_bytes": _size(folder / "checkpoints" / "predict"),
    }
    return Measured(seconds, cpu_seconds, parts[-1].peak_rss_gib, statistics.mean(floors), facts=facts)


def make_library(folder: Path, sizes: dict[str, int]) -> Ref:
    """Write the library."""
    from tasks.ensembles.bench_predict import write_library

    return write_library(folder, sizes["pool"], sizes["features"])


def fit(folder: Path, sizes: dict[str, int]) -> Outputs:
    """Fit and store the ensemble."""
    from tasks.ensembles.bench_predict import store_ensemble

    return store_ensemble(folder, {name: size for name, size in sizes.items() if name != "pool"})


def predict(folder: Path, library: Ref, fitted: Outputs, share: int) -> Predicted:
    """Predict one of `_PARTS` shares of the chunks, as many at once as there are cores; without Prefect's server."""
    from tasks.campaigns.compute_settings import ComputeSection
    from tasks.checkpoints.manifest import peak_rss_gib
    from tasks.ensembles.cluster import open_cluster
    from tasks.ensembles.task import chunk_bounds, predict_chunk

    compute, watch = ComputeSection(), Stopwatch()
    chunks = dict(enumerate(chunk_bounds((library.shape or (0,))[0], compute.chunk_rows)))
    mine = list(chunks)[share * len(chunks) // _PARTS : (share + 1) * len(chunks) // _PARTS]
    cp = Checkpointer(CheckpointStore(Storage(str(folder))))
    with watch.of("work"), open_cluster(compute) as place, ThreadPoolExecutor() as threads:

        def one(number: int) -> None:
            node = f"predict/{number:05d}"
            predict_chunk.fn(cp, place, node, library, fitted, chunks[number], compute.device)

        for done, _ in enumerate(threads.map(one, mine), start=1):
            advanced("predict", mine[0] + done, len(chunks))
    return Predicted(watch.wall["work"], watch.cpu["work"], peak_rss_gib())


def floor(folder: Path, fitted: Outputs, pool: int) -> float:
    """Seconds of the bare products."""
    from tasks.campaigns.compute_settings import ComputeSection
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
