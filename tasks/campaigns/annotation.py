"""Brings a library's annotation and names into a form that every store and format can hold."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
import pandas as pd

#: Name of the index of perturbations; a column of that name would clash with it when the library is stored.
INDEX = "perturbation"

_RESERVED = {"_index", "zarr.json"}  # names with a meaning of their own inside a stored AnnData
_MAX_NAME = 80


def storable_annotation(annotation: pd.DataFrame, ids: pd.Index) -> pd.DataFrame:
    """Annotation of the perturbations as booleans, numbers, text and categories of text, indexed by id.

    A column `perturbation` is dropped where it repeats the ids, else it becomes `perturbation_annotation`. Slashes in
    names become `_`, as a column is stored in a folder of its name. Any other kind of value (times, lists) becomes
    text; a missing text is the empty text.

    Args:
        annotation: One row per perturbation, in the order of the ids.
        ids: Unique ids, text.
    """
    columns: dict[str, pd.Series] = {}
    for position, name in enumerate(annotation.columns):  # by position: names need not be unique
        column = annotation.iloc[:, position]
        if name == INDEX:
            if _as_text(column).tolist() == ids.tolist():
                continue
            name = f"{INDEX}_annotation"
        values = _storable(column)
        columns[_unused(_storable_name(name), columns)] = values.set_axis(ids)
    return pd.DataFrame(columns, index=pd.Index(ids, name=INDEX))


def unique_names(names: Iterable[Hashable]) -> list[str]:
    """Names as text; a repeated one gets the first free number: f, f -> f, f_2."""
    taken: dict[str, None] = {}
    for name in names:
        taken[_unused(str(name), taken)] = None
    return list(taken)


def _unused(name: str, taken: Iterable[str]) -> str:
    known, free, number = set(taken), name, 2
    while free in known:
        free, number = f"{name}_{number}", number + 1
    return free


def _storable_name(name: Hashable) -> str:
    text = "".join("_" if sign in "/\\" or not sign.isprintable() else sign for sign in str(name))[:_MAX_NAME]
    return f"column_{text}" if text in _RESERVED or not text.strip(". ") else text


def _storable(column: pd.Series) -> pd.Series:
    kind = column.dtype
    if isinstance(kind, np.dtype) and kind.kind in "biuf" and kind.itemsize <= 8:
        return column
    if isinstance(kind, pd.CategoricalDtype):
        plain = kind.categories.dtype == object and all(isinstance(value, str) for value in kind.categories)
        return column if plain and not column.isna().any() else _as_text(column)
    gaps = bool(column.isna().any())
    if pd.api.types.is_bool_dtype(kind) and not gaps:
        return pd.Series(column.to_numpy(dtype=bool))
    if pd.api.types.is_integer_dtype(kind) and not gaps:
        signed = pd.api.types.is_signed_integer_dtype(kind)
        return pd.Series(column.to_numpy(dtype=np.int64 if signed else np.uint64))
    if pd.api.types.is_integer_dtype(kind) or pd.api.types.is_float_dtype(kind):
        return pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return _as_text(column)


def _as_text(column: pd.Series) -> pd.Series:
    missing = column.isna().to_numpy()
    values = ["" if gone else str(value) for value, gone in zip(column.tolist(), missing, strict=True)]
    return pd.Series(values, dtype=object)
