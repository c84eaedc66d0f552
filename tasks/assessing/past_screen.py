"""Reads a past screen: measured values, replicates where there are some, and the features of its library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from tasks.assessing.ceiling import from_replicates
from tasks.assessing.observed import Observed
from tasks.campaigns.config import LibrarySection
from tasks.campaigns.library import read_columns, read_library
from tasks.errors import UserError


@dataclass(frozen=True, eq=False)
class PastScreen:
    """A screen that was made.

    Attributes:
        library: (N, d) features of the library.
        observed: Its perturbations with a value; all count as drawn at random.
        replicates: Columns that the values are the mean of; 1 where there are none.
        correlation: Of the replicates; None without.
    """

    library: npt.NDArray[np.float32]
    observed: Observed
    replicates: int
    correlation: float | None


def read_past_screen(
    uri: str,
    values: Sequence[str],
    library: LibrarySection | None,
    id_column: str,
    features: str,
    kind: Literal["continuous", "binary"] = "continuous",
    threshold: float | None = None,
) -> PastScreen:
    """Read a past screen.

    Args:
        uri: Table (.csv, .tsv, .parquet) or AnnData (.h5ad, .zarr) with the values, in columns or in obs.
        values: The column with the values; several are replicates, of which the mean counts.
        library: Library with the features, joined by id. None: the screen holds them.
        id_column: Column of the screen's table with the id.
        features: Where there is no library: features of the screen, as `library.features` says.
        kind: Kind of the readout.
        threshold: Of classes: the value above which the class is 1.

    Raises:
        UserError: A file or column that is not there, values that are no numbers, or no id that both files have.
    """
    measured = _measured(read_columns(uri, id_column), values, uri)
    section = library or LibrarySection(uri=uri, id=id_column, features=features)
    read = read_library(section, () if library else tuple(values))
    rows = pd.Index(read.obs_names).get_indexer(measured.index)
    known = rows >= 0
    if not known.any():
        raise UserError(
            "no perturbation of the screen is in the library",
            where=f"{uri}, {section.uri}",
            got=f"{measured.index[0]!r} and {read.obs_names[0]!r}",
            todo="Both need the same ids: --id, library.id",
        )
    replicates = measured.to_numpy(dtype=np.float64)[known]
    correlation, variances = None, np.zeros(len(replicates))
    mean = replicates[:, 0]
    if replicates.shape[1] > 1:
        told = from_replicates(replicates)
        mean, variances, correlation = told.values, told.variances, told.correlation
    if kind == "binary":
        mean, variances = _classes(mean, variances, threshold)
    matrix = np.asarray(read.X, dtype=np.float32)
    return PastScreen(matrix, Observed(matrix[rows[known]], mean, variances), replicates.shape[1], correlation)


def _measured(table: pd.DataFrame, values: Sequence[str], uri: str) -> pd.DataFrame:
    """The columns with values, as numbers; rows without any are left out."""
    for name in values:
        if name not in table.columns:
            numeric = [str(column) for column in table.columns if pd.api.types.is_numeric_dtype(table[column])]
            expected = f"one of {', '.join(numeric[:8])}" if numeric else "a numeric column"
            raise UserError("no such column of values", where=uri, got=repr(name), expected=expected)
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise UserError("values must be numbers", where=f"{uri}, column {name}", got=str(table[name].dtype))
    chosen = table[list(values)].replace([np.inf, -np.inf], np.nan)
    return chosen[chosen.notna().any(axis=1)]


def _classes(
    values: npt.NDArray[np.float64], variances: npt.NDArray[np.float64], threshold: float | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Classes, and p(1 − p) of each: p the probability that noise lets such a value pass the threshold."""
    if threshold is None:
        raise UserError("classes need a threshold", where="readout.threshold")
    classes = (values > threshold).astype(np.float64)
    sd = np.sqrt(variances)
    z = np.divide(values - threshold, sd, out=np.full(len(values), np.inf), where=sd > 0)
    passed = ndtr(z)
    return classes, passed * (1 - passed)
