"""Worklists for liquid handlers: Echo pick list (nL) and a generic list (µL)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from tasks.campaigns.spreadsheets import escape_formulas
from tasks.errors import UserError

ECHO_COLUMNS = (
    "Source Plate Barcode",
    "Source Well",
    "Destination Plate Barcode",
    "Destination Well",
    "Transfer Volume",
    "Sample ID",
    "Sample Name",
)
GENERIC_COLUMNS = ("plate", "well", "sample", "role", "replicate", "volume_ul")
SOURCE_COLUMNS = ("sample", "plate", "well")

# Volume of one Echo droplet; transfers are whole numbers of droplets.
DROPLET_NL = 2.5
_WELL = re.compile(r"([A-Za-z]{1,2})0*([1-9][0-9]*)")


def echo_picklist(
    platemap: pd.DataFrame,
    volume_nl: float,
    reagents: Mapping[str, str] | None = None,
    sources: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Pick list for an acoustic dispenser: one transfer per used well, in the order of the plate map.

    Args:
        platemap: Plate map of a round.
        volume_nl: Volume of every transfer [nL], a multiple of 2.5.
        reagents: What is dispensed as `negcon` and `poscon`; the role itself where none is named.
        sources: Where the stock stands: columns `sample` (perturbation id or reagent), `plate`, `well`. Without it
            both source columns stay empty, and `Sample ID` is the key to fill them from the compound store.

    Returns:
        Columns ECHO_COLUMNS; wells unpadded (A1), volume in nL, text safe for spreadsheets.

    Raises:
        UserError: If the volume is no whole number of droplets, or the source table lacks a column or a sample, names
            one twice, or gives it a well that is none.
    """
    droplets = volume_nl / DROPLET_NL
    if not (droplets > 0 and float(droplets).is_integer()):
        raise UserError(
            "volume is no whole number of droplets",
            where="Echo pick list",
            got=f"{volume_nl:g} nL",
            expected=f"a multiple of {DROPLET_NL:g} nL",
        )
    used, sample = _used_wells(platemap, reagents)
    picklist = pd.DataFrame(
        {
            "Source Plate Barcode": _source(sample, sources, "plate"),
            "Source Well": [_unpadded(well) for well in _source(sample, sources, "well")],
            "Destination Plate Barcode": used["barcode"],
            "Destination Well": [_unpadded(well) for well in used["well"]],
            "Transfer Volume": np.full(len(used), float(volume_nl)),
            "Sample ID": sample,
            "Sample Name": [f"{s} ({r})" if r != "sample" else s for s, r in zip(sample, used["role"], strict=True)],
        },
        columns=list(ECHO_COLUMNS),
    )
    return escape_formulas(picklist)


def generic_worklist(
    platemap: pd.DataFrame, volume_ul: float, reagents: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Worklist for any liquid handler or a pipette: one line per used well, in the order of the plate map.

    Args:
        platemap: Plate map of a round.
        volume_ul: Volume of every transfer [µL].
        reagents: What is dispensed as `negcon` and `poscon`; the role itself where none is named.

    Returns:
        Columns GENERIC_COLUMNS; wells padded (A01), volume in µL, text safe for spreadsheets.

    Raises:
        UserError: If the volume is not positive.
    """
    if not (np.isfinite(volume_ul) and volume_ul > 0):
        raise UserError("volume must be positive", where="worklist", got=f"{volume_ul:g} µL", expected="more than 0")
    used, sample = _used_wells(platemap, reagents)
    worklist = pd.DataFrame(
        {
            "plate": used["barcode"],
            "well": used["well"],
            "sample": sample,
            "role": used["role"],
            "replicate": used["replicate"],
            "volume_ul": np.full(len(used), float(volume_ul)),
        },
        columns=list(GENERIC_COLUMNS),
    )
    return escape_formulas(worklist)


def _used_wells(platemap: pd.DataFrame, reagents: Mapping[str, str] | None) -> tuple[pd.DataFrame, list[str]]:
    """Wells that are not empty, and what goes into each: its perturbation, or the reagent that the plate map names."""
    used = platemap[platemap["role"] != "empty"].reset_index(drop=True)
    names = dict(reagents or {})
    dispensed = used["reagent"] if "reagent" in used.columns else used["perturbation"]
    return used, [
        str(sample) if role == "sample" else names.get(role) or str(role)
        for role, sample in zip(used["role"], dispensed, strict=True)
    ]


def _source(sample: list[str], sources: pd.DataFrame | None, column: str) -> list[str]:
    if sources is None:
        return [""] * len(sample)
    absent = [name for name in SOURCE_COLUMNS if name not in sources.columns]
    if absent:
        found = ", ".join(map(str, sources.columns))
        raise UserError(f"no column {absent[0]}", where="sources", got=found, expected=", ".join(SOURCE_COLUMNS))
    if sources["sample"].duplicated().any():
        twice = sources["sample"][sources["sample"].duplicated()].iloc[0]
        raise UserError("sample has two sources", where="sources", got=twice, expected="each sample once")
    place = dict(zip(sources["sample"].astype(str), sources[column].astype(str), strict=True))
    missing = sorted({name for name in sample if not place.get(name)})
    if missing:
        raise UserError(
            "samples without a source well",
            where="sources",
            got=f"{len(missing)}, the first is {missing[0]}",
            todo="Add them to the source table, or leave the table out and fill the columns in later.",
        )
    return [place[name] for name in sample]


def _unpadded(well: str) -> str:
    """A01 → A1; no well is no well."""
    found = _WELL.fullmatch(well)
    if found:
        return f"{found[1].upper()}{int(found[2])}"
    if well:
        raise UserError("no well", where="sources", got=repr(well), expected="a letter or two and a number, as A1")
    return ""
