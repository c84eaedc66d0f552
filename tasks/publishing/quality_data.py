"""Puts together what the page on plate quality of a round shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.plates import PlateBook
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.refs import Ref
from tasks.publishing.quality_page import QualityPageData
from tasks.readouts.alignment import alignment_warning
from tasks.readouts.ingest import WELL_COLUMNS


def quality_page_data(
    cp: Checkpointer,
    config: CampaignConfig,
    round_index: int,
    book: PlateBook,
    qualities: Sequence[Mapping[str, Any]],
    wells: Mapping[str, Ref],
    aligned: Mapping[str, Outputs],
    standing: Ref,
) -> QualityPageData:
    """The plates of one round, before and after alignment; hidden audit members are blank.

    Args:
        cp: Reads checkpoints.
        config: The campaign.
        round_index: The round whose plates are shown.
        book: States of all plates.
        qualities: Quality of every judged attempt.
        wells: Wells of every judged attempt, by plate key.
        aligned: Aligned cohorts, by node; none in a round that waits.
        standing: Who is hidden.
    """
    records = {f"{r.barcode}.{r.attempt}": r for r in book.records if r.round == round_index}
    shown = sorted(records.keys() & wells.keys())
    tables = [cp.load(wells[key])[WELL_COLUMNS] for key in shown]
    table = pd.concat(tables, ignore_index=True) if tables else _no_wells()
    barcodes = {record.barcode for record in records.values()}
    values = [_aligned_values(cp.load(outputs["aligned"]), barcodes) for outputs in aligned.values()]
    if values:
        table = table.merge(pd.concat(values, ignore_index=True), on=["barcode", "attempt", "well"], how="left")
    members = cp.load(standing)
    warning = alignment_warning(config.alignment.method)
    return QualityPageData(
        title=config.campaign.name,
        run=f"Round {round_index}",
        unit=config.readout.unit,
        transform="" if config.readout.transform == "none" else config.readout.transform,
        fmt=config.plates.format,
        wells=table,
        qualities=[q for q in qualities if f"{q['barcode']}.{q['attempt']}" in records],
        states={key: (record.state.value, record.reason) for key, record in records.items()},
        notes=() if warning is None else (warning,),
        blank=frozenset(members.loc[members["hidden"], "perturbation"]),
    )


def _no_wells() -> pd.DataFrame:
    numbers = {"attempt": "int64", "row": "int64", "column": "int64", "replicate": "int64", "value": "float64"}
    return pd.DataFrame(columns=WELL_COLUMNS).astype(numbers)


def _aligned_values(cohort: pd.DataFrame, barcodes: set[str]) -> pd.DataFrame:
    return cohort.loc[cohort["barcode"].isin(barcodes), ["barcode", "attempt", "well", "aligned"]]
