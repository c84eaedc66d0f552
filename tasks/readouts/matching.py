"""Plates and plate maps become the table of wells. A plate enters whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.campaigns.config import ReadoutSection
from tasks.readouts.formats import PlateReadout
from tasks.readouts.rejections import RejectedInput, Rejection

#: First columns of the table of wells, in order; the features follow where there are several.
WELL_COLUMNS = ["barcode", "attempt", "run", "well", "row", "column", "role", "perturbation", "replicate", "value"]
_OTHERS = ("aligned", "reagent")
_PLANNED = ["barcode", "well", "row", "column", "role", "perturbation", "replicate"]
_LOGS = {"log2": np.log2, "log10": np.log10}

Names = Callable[[], Collection[str]]


@dataclass(frozen=True, eq=False)
class Matched:
    """Every plate of an upload, sorted into accepted and refused.

    Attributes:
        wells: Table of wells of the accepted plates (`WELL_COLUMNS`, then the features where there are several).
        rejections: Every reason for which a plate was refused.
    """

    wells: pd.DataFrame
    rejections: tuple[Rejection, ...]


def feature_columns(wells: pd.DataFrame) -> list[str]:
    """Columns of a table of wells that are features; none where a well reports one number."""
    return [name for name in wells.columns if name not in WELL_COLUMNS and name not in _OTHERS]


def transformed(values: npt.NDArray[np.float64], section: ReadoutSection) -> npt.NDArray[np.float64]:
    """Values after `readout.transform`; those that have no logarithm become NaN or infinite."""
    if section.transform == "none":
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(_LOGS[section.transform](values), dtype=np.float64)


def match_platemap(
    readout: PlateReadout,
    platemap: pd.DataFrame,
    section: ReadoutSection,
    *,
    features: Collection[str] | None = None,
    reagents: Mapping[str, str] | None = None,
    library: Names | None = None,
) -> pd.DataFrame:
    """Join one plate's readout to its plate map.

    A used well that the file does not report stays in the table with value NaN, and quality control judges it. Values
    of empty wells are left out where the file reports at least half of them, as an instrument that reads whole plates
    does; fewer are a mistake.

    Args:
        readout: One plate of a plate file.
        platemap: Plate maps: barcode, well, row, column, role, perturbation, replicate and, if it is there, reagent;
            one row per well.
        section: Transform and output.
        features: Features that the plate must have, in whatever order; None: any.
        reagents: What a control is called beside its role, by role: a file may name it as the well's perturbation.
        library: Gives the ids of the library; asked only to tell an unknown perturbation from one in the wrong well.

    Returns:
        Columns `WELL_COLUMNS`, then `reagent` where the plate map has it, and the features (sorted) where there are
        several; one row per used well (role other than empty), row by row. Numbers are in the instrument's unit, after
        `readout.transform`.

    Raises:
        RejectedInput: The barcode is unknown, the plate has problems of its own or other features, or what the file
            says of a well contradicts the plate map or has no logarithm. All problems are listed.
    """
    plan = platemap[(platemap["barcode"] == readout.barcode).to_numpy()]
    if plan.empty:
        reason = f"unknown barcode, got {readout.barcode!r}, expected a plate that was designed"
        raise RejectedInput("plate refused", [Rejection(readout.source, readout.barcode, None, reason)])
    known = set(platemap["perturbation"])
    at = plan.set_index("well").reindex(readout.values["well"])
    problems = [*readout.problems, *_other_features(readout, features)]
    problems += _empty_wells(readout, at, plan)
    problems += _contradictions(readout, at, reagents or {}, known, library)
    problems += _no_logarithm(readout, at, section)
    if problems:
        raise RejectedInput("plate refused", sorted(problems, key=lambda problem: problem.line or 0))
    return _joined(readout, plan, section)


def _joined(readout: PlateReadout, plan: pd.DataFrame, section: ReadoutSection) -> pd.DataFrame:
    used = plan[(plan["role"] != "empty").to_numpy()]
    used = used.iloc[np.lexsort((used["column"].to_numpy(), used["row"].to_numpy()))]
    names = sorted(readout.numbers)
    places = pd.Index(readout.values["well"]).get_indexer(pd.Index(used["well"]))
    numbers = readout.values[names].to_numpy(dtype=np.float64)[places]
    numbers[places < 0] = np.nan
    table = pd.DataFrame(transformed(numbers, section), columns=names)
    output = "value" if section.output is None else section.output
    wells = used[_PLANNED].reset_index(drop=True)
    wells.insert(1, "attempt", readout.attempt)
    wells.insert(2, "run", readout.run)
    wells.insert(9, "value", table[output].to_numpy(copy=True))
    if "reagent" in used.columns:
        wells["reagent"] = used["reagent"].to_numpy(dtype=object)
    return wells if section.output is None else pd.concat([wells, table], axis=1)


def _other_features(readout: PlateReadout, features: Collection[str] | None) -> list[Rejection]:
    has, needs = set(readout.numbers), set(features or ())
    if features is None or has == needs:
        return []
    said = [f"{word} {_some(names)}" for word, names in (("lacks", needs - has), ("has also", has - needs)) if names]
    reason = f"other features than earlier plates: {' and '.join(said)}; expected the same {len(needs)} features"
    return [Rejection(readout.source, readout.barcode, None, reason)]


def _some(names: Collection[str]) -> str:
    listed = sorted(names)
    return ", ".join(map(repr, listed[:5])) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _empty_wells(readout: PlateReadout, at: pd.DataFrame, plan: pd.DataFrame) -> list[Rejection]:
    """Values in some of the wells that the plate map says are empty."""
    numbers = readout.values[readout.numbers].to_numpy(dtype=np.float64)
    empty = at["role"].fillna("empty").eq("empty").to_numpy() & np.isfinite(numbers).any(axis=1)
    if not empty.any() or 2 * empty.sum() >= (plan["role"] == "empty").sum():
        return []
    problems = []
    for place in np.flatnonzero(empty):
        first = numbers[place][np.isfinite(numbers[place])][0]
        well, line = readout.values["well"].iloc[place], int(readout.values["line"].iloc[place])
        reason = f"got value {first:.6g} in {well}, which the plate map says is empty, expected none"
        problems.append(Rejection(readout.source, readout.barcode, line, reason))
    return problems


def _contradictions(
    readout: PlateReadout, at: pd.DataFrame, reagents: Mapping[str, str], known: Collection[str], library: Names | None
) -> list[Rejection]:
    """Roles and perturbations that the file writes and the plate map does not, well by well."""
    values = readout.values
    problems: list[Rejection] = []
    roles = at["role"].fillna("empty").to_numpy()
    lines, wells = values["line"].to_numpy(), values["well"].to_numpy()
    if "role" in values.columns:
        said = values["role"].to_numpy()
        for place in np.flatnonzero((said != "") & (said != roles)):
            reason = f"role {said[place]!r} in {wells[place]}, expected {roles[place]!r} as in the plate map"
            problems.append(Rejection(readout.source, readout.barcode, int(lines[place]), reason))
    if "perturbation" not in values.columns:
        return problems
    said, planned = values["perturbation"].to_numpy(), at["perturbation"].fillna("").to_numpy()
    dispensed = at["reagent"].fillna("").to_numpy() if "reagent" in at.columns else planned
    for place in np.flatnonzero((said != "") & (said != planned)):
        name, role = said[place], roles[place]
        if role != "sample" and name in (role, reagents.get(role), dispensed[place]):
            continue
        unknown = library is not None and name not in known and name not in library()
        what = "which neither a plate map nor the library knows, " if unknown else ""
        expected = repr(planned[place]) if role == "sample" else f"none in a well of role {role}"
        reason = f"perturbation {name!r} in {wells[place]}, {what}expected {expected} as in the plate map"
        problems.append(Rejection(readout.source, readout.barcode, int(lines[place]), reason))
    return problems


def _no_logarithm(readout: PlateReadout, at: pd.DataFrame, section: ReadoutSection) -> list[Rejection]:
    """Values of used wells that are not positive, where a logarithm is taken."""
    if section.transform == "none":
        return []
    names = readout.numbers
    numbers = readout.values[names].to_numpy(dtype=np.float64)
    used = at["role"].fillna("empty").ne("empty").to_numpy()
    problems = []
    for row, column in np.argwhere((numbers <= 0) & used[:, None]):
        well, line = readout.values["well"].iloc[row], int(readout.values["line"].iloc[row])
        of = f"{names[column]} of " if len(names) > 1 else ""
        reason = f"{of}{well} is {numbers[row, column]:.6g}, expected a positive number"
        why = f"{reason} (readout.transform {section.transform})"
        problems.append(Rejection(readout.source, readout.barcode, line, why))
    return problems


def match_plates(
    readouts: Sequence[PlateReadout],
    platemap: pd.DataFrame,
    section: ReadoutSection,
    features: Collection[str] | None = None,
) -> Matched:
    """Match many plates at once; refused plates are listed and do not stop the others.

    Args:
        readouts: Plates of any number of files; copies should be resolved first (`resolve_copies`).
        platemap: Plate maps of all designed plates.
        section: Transform and output.
        features: Features that every plate must have; None: any.

    Returns:
        Wells of the accepted plates by barcode and attempt, and every rejection.
    """
    plans = dict(iter(platemap.groupby("barcode", sort=False)))
    unknown = platemap.iloc[:0]
    tables: list[pd.DataFrame] = []
    rejections: list[Rejection] = []
    for readout in sorted(readouts, key=lambda plate: (plate.barcode, plate.attempt, plate.source)):
        try:
            tables.append(match_platemap(readout, plans.get(readout.barcode, unknown), section, features=features))
        except RejectedInput as error:
            rejections.extend(error.rejections)
    wells = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=WELL_COLUMNS)
    return Matched(wells, tuple(rejections))
