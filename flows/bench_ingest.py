"""`bench ingest`: plate files → parsed → matched → judged → aligned, every step a checkpoint on this machine's disk.

The floor is reading the bytes of the files. Steps run without Prefect's server, two plates at a time, run after run, as
plates arrive from a lab.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from flows.bench import Measured, Stopwatch
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.designs import table_text
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import sha256
from tasks.checkpoints.manifest import peak_rss_gib
from tasks.checkpoints.progress import current_listener
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.labs.made_up import full_platemap, plate_file
from tasks.readouts.cohorts import Cohort
from tasks.readouts.layouts import EXCLUSION_COLUMNS
from tasks.readouts.task import align_run, heads_of, judge_plate, parse_upload
from tasks.readouts.wells import plate_shape, position_to_well

DEFAULTS = {"plates": 1000, "wells": 384, "features": 1}
_PLATES_A_RUN = 20


def run(folder: Path, sizes: dict[str, int]) -> Measured:
    """Ingest plates of made-up values.

    Args:
        folder: Where files and checkpoints go.
        sizes: plates, wells (of a plate), features (of a well).
    """
    config, watch = _config(sizes), Stopwatch()
    storage, listener = Storage(str(folder)), current_listener()
    cp = Checkpointer(CheckpointStore(storage))
    platemap = full_platemap(config.plates)
    listener.started("ingest")
    for done, barcodes in _runs(sizes["plates"]):
        files = {barcode: f"inbox/{barcode}.csv" for barcode in barcodes}
        for number, barcode in enumerate(barcodes, start=done):
            text = plate_file(platemap, barcode, barcodes[0], sizes["features"], number)
            storage.write(files[barcode], text.encode())
        design = _write_design(storage, platemap, barcodes)
        with watch.of("floor"):
            for path in files.values():
                storage.read(path)
        with watch.of("work"):
            uploads = {b: Ref(uri=files[b], sha256=sha256(storage.read(files[b])), kind="text") for b in barcodes}
            _ingest_run(cp, uploads, design, config)
        listener.advanced("ingest", done, sizes["plates"])
    return Measured(watch.wall["work"], watch.cpu["work"], peak_rss_gib(), watch.wall["floor"])


def _ingest_run(cp: Checkpointer, uploads: Mapping[str, Ref], design: Ref, config: CampaignConfig) -> None:
    """Every node of the plates of one run."""

    def one(barcode: str) -> Outputs:
        name = f"{barcode}.csv"
        parsed = _outputs(parse_upload.fn(cp, name, uploads[barcode], config.readout, config.plates.format))
        (head,) = heads_of(cp, name, parsed)
        nothing = pd.DataFrame(columns=list(EXCLUSION_COLUMNS))
        return _outputs(judge_plate.fn(cp, head, parsed, design, None, None, nothing, config))

    with ThreadPoolExecutor(2) as pool:
        judged = dict(zip(uploads, pool.map(one, uploads), strict=True))
    wells = {f"{barcode}.1": outputs["wells"] for barcode, outputs in judged.items()}
    run = next(iter(uploads))
    cohort = Cohort(run, wells, frozenset(wells), dict.fromkeys(uploads, 0))
    align_run.fn(cp, f"align/{run}", cohort, design, config.alignment, config.plates, config.readout.output)


def _outputs(state: Any) -> Outputs:
    """What a node gave: outside a flow a task's function answers with a state that holds it."""
    outputs: Outputs = state.data
    return outputs


def _config(sizes: Mapping[str, int]) -> CampaignConfig:
    """The left column holds negative, the right one positive controls."""
    rows, columns = plate_shape(sizes["wells"])
    left, right = (
        f"{position_to_well(0, column, sizes['wells'])}:{position_to_well(rows - 1, column, sizes['wells'])}"
        for column in (0, columns - 1)
    )
    several = {} if sizes["features"] == 1 else {"features": ["f*"], "output": "f0"}
    return CampaignConfig.model_validate(
        {
            "campaign": {"name": "bench"},
            "library": {"uri": "none"},
            "readout": {"tolerance": 1.0, **several},
            "plates": {"format": sizes["wells"], "negcon": {"wells": [left]}, "poscon": {"wells": [right]}},
        }
    )


def _runs(plates: int) -> Iterator[tuple[int, list[str]]]:
    """Plates done after each run, and its barcodes."""
    for first in range(0, plates, _PLATES_A_RUN):
        last = min(first + _PLATES_A_RUN, plates)
        yield last, [f"bench-P{number:05d}" for number in range(first, last)]


def _write_design(storage: Storage, platemap: pd.DataFrame, barcodes: list[str]) -> Ref:
    """Plate maps of one run."""
    text = table_text(pd.concat([platemap.assign(barcode=barcode) for barcode in barcodes], ignore_index=True))
    path = f"designs/{barcodes[0]}.csv"
    storage.write(path, text.encode())
    return Ref(uri=path, sha256=sha256(text.encode()), kind="text")
