"""Nodes of a replay: its screens, and its cells."""

from functools import partial
from typing import Any

import pandas as pd

from tasks.batches.task import PROPOSE
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload, encode
from tasks.checkpoints.pieces import Place
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import describe
from tasks.checkpoints.task import node_task
from tasks.ensembles.task import ENSEMBLE, FIT, FORWARD, PREDICT
from tasks.operators.task import CALIBRATION, COBIAS, COORDINATES, DIFFERENCE, GRAMS, OMEGA
from tasks.readouts.task import ALIGN, LABELS
from tasks.replays.cell import Cell, play
from tasks.replays.screens import read_screen
from tasks.replays.settings import ScreenSection

SCREEN = Stage("replay/screen", 1)
CELL = Stage("replay/cell", 3)

#: What a cell computes with: where one of these changes its version, the cell is another.
_WITHIN = (
    *(ALIGN, LABELS, FIT, ENSEMBLE, PREDICT, FORWARD),
    *(COBIAS, CALIBRATION, DIFFERENCE, GRAMS, OMEGA, COORDINATES, PROPOSE),
)


@node_task("screen", "screen {section.name}")
def load_screen(cp: Checkpointer, section: ScreenSection) -> Outputs:
    """A finished screen, known by its content wherever it was read from."""
    payload = Payload("anndata", read_screen(section))
    content = describe("screen", payload, encode(payload)).ref().sha256
    return cp.run(
        f"screen/{section.name}", SCREEN, lambda: {"screen": payload}, outputs=("screen",), params={"content": content}
    )


@node_task("cell", "{node}")
def cell_node(cp: Checkpointer, place: Place, node: str, screen: Ref, cell: Cell) -> Outputs:
    """One campaign over a finished screen."""
    return cp.run(
        node,
        CELL,
        partial(play, cp.store, node, screen, cell),
        outputs=("figures", "picks"),
        params={**_params(cell), "stages": {stage.name: stage.version for stage in _WITHIN}},
        inputs={"screen": screen},
        seed=cell.seed,
        place=place,
        device=cell.config.compute.device != "cpu",
    )


def _params(cell: Cell) -> dict[str, Any]:
    """What a cell depends on, and nothing else: other arms, screens and seeds of the replay leave it as it is."""
    config = cell.config
    sections = {name: getattr(config, name).model_dump(mode="json") for name in ("readout", "protocol", "ensemble")}
    del sections["protocol"]["noise"]  # the cell's own says it
    operators = (cell.arm.operators or config.operators).model_dump(mode="json")
    return {
        **sections,
        "operators": operators,
        "arm": cell.arm.model_dump(mode="json", exclude={"name", "operators"}),
        "noise": None if cell.noise is None else cell.noise.model_dump(mode="json"),
        "pieces": config.compute.model_dump(mode="json", include={"group_members", "chunk_rows"}),
    }


def gather(cp: Checkpointer, cells: list[tuple[str, Cell, Outputs]]) -> pd.DataFrame:
    """All figures as one tidy table: screen, arm, seed, then a cell's columns. `cells`: screen, cell, outputs."""
    tables = []
    for screen, cell, outputs in cells:
        table: pd.DataFrame = cp.load(outputs["figures"])
        table.insert(0, "screen", screen)
        table.insert(1, "arm", cell.arm.name)
        table.insert(2, "seed", cell.seed)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def costs(cp: Checkpointer, cells: list[tuple[str, Cell, Outputs]], nodes: list[str]) -> pd.DataFrame:
    """Seconds and peak memory [GiB] of every cell as recorded: screen, arm, seed, seconds, peak_rss_gib."""
    rows = []
    for (screen, cell, _), node in zip(cells, nodes, strict=True):
        record = cp.records[node]
        manifest = cp.store.find(record.stage, record.key).manifest
        if manifest is not None:
            rows.append((screen, cell.arm.name, cell.seed, manifest.seconds, manifest.peak_rss_gib))
    return pd.DataFrame(rows, columns=["screen", "arm", "seed", "seconds", "peak_rss_gib"])
