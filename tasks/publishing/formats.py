"""A hybrid screen as files: zarr, h5ad, Parquet and CSV, which all say the same (SCHEMA.md), and its card."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import anndata as ad
import h5py
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.campaigns.designs import table_text
from tasks.campaigns.spreadsheets import escape_formulas, escaped_names
from tasks.checkpoints.payloads import Payload, encode
from tasks.checkpoints.records import RoundLock
from tasks.publishing.card import render_card

METADATA = b"hybridscreen"  # key of the Parquet file's metadata that holds var and uns as JSON
ZARR, H5AD, PARQUET, CSV, CARD = "screen.zarr", "screen.h5ad", "screen.parquet", "screen.csv", "card.md"


def complete_provenance(screen: ad.AnnData, run: int, lock: RoundLock) -> ad.AnnData:
    """The screen of a round's checkpoint with what is known only when its run is published.

    Args:
        screen: What `build_screen` made; it is not changed.
        run: Number of the run.
        lock: Its lock. It goes in as JSON text: uns has no lists, and a lock has.
    """
    provenance = {
        **screen.uns["provenance"],
        "run": run,
        "versions": dict(lock.versions),
        "lock": json.dumps(lock.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False),
    }
    uns = _in_order({**screen.uns, "provenance": provenance})
    return ad.AnnData(X=screen.X, obs=screen.obs, var=screen.var, uns=uns)


def _in_order(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Sorted by name at every level: zarr is read in any order, and HDF5 keeps the order of writing."""
    return {name: _in_order(value) if isinstance(value, Mapping) else value for name, value in sorted(mapping.items())}


def screen_files(screen: ad.AnnData) -> dict[str, bytes]:
    """All files of a published screen but the manifest, by name. The same screen gives the same bytes.

    Args:
        screen: What `complete_provenance` gave.
    """
    files = {f"{ZARR}/{name}": data for name, data in encode(Payload("anndata", screen)).items()}
    files[H5AD] = _h5ad(screen)
    files[PARQUET] = _parquet(screen)
    files[CSV] = table_text(screen_table(screen)).encode()
    files[CARD] = render_card(screen).encode()
    return files


def screen_table(screen: ad.AnnData) -> pd.DataFrame:
    """The screen as one flat table for CSV, safe to open in a spreadsheet.

    Args:
        screen: What `build_screen` returned.

    Returns:
        (N, ...) the column perturbation, then the columns of obs. Text that a spreadsheet would run as a formula begins
        with an apostrophe; line ends within a text are line feeds.
    """
    table = screen.obs.reset_index(names="perturbation")
    text = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    table = table.astype({name: object for name in text})
    table[text] = table[text].map(_one_kind_of_line_end)
    table = escape_formulas(table)
    table.columns = pd.Index(escaped_names(table.columns))
    return table


def _one_kind_of_line_end(cell: object) -> object:
    """A carriage return alone would end the row for most readers: it is not put in quotes."""
    return cell.replace("\r\n", "\n").replace("\r", "\n") if isinstance(cell, str) else cell


def parquet_facts(data: bytes) -> dict[str, Any]:
    """What a screen's Parquet file says beside its rows: var and uns.

    Args:
        data: The file.
    """
    facts: dict[str, Any] = json.loads(pq.read_schema(pa.BufferReader(data)).metadata[METADATA])
    return facts


def _h5ad(screen: ad.AnnData) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        ad.io.write_elem(file, "/", screen, dataset_kwargs={"compression": "gzip", "compression_opts": 1})
    return buffer.getvalue()


def _parquet(screen: ad.AnnData) -> bytes:
    table = pa.Table.from_pandas(screen.obs.reset_index(names="perturbation"), preserve_index=False)
    unit = {name: value for name, value in screen.var.iloc[0].to_dict().items() if not pd.isna(value)}
    facts = json.dumps({"readout": unit, **screen.uns}, sort_keys=True, ensure_ascii=False, allow_nan=False)
    sink = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({**(table.schema.metadata or {}), METADATA: facts.encode()}),
        sink,
        compression="zstd",
    )
    return sink.getvalue()
