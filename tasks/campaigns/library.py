"""Reads the library: one row per perturbation, with finite features and unique ids."""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection
from typing import Any

import anndata
import numpy as np
import pandas as pd

from tasks.campaigns.annotation import storable_annotation, unique_names
from tasks.campaigns.config import LibrarySection
from tasks.campaigns.ids import USABLE, look_alike, spelled, usable
from tasks.campaigns.library_trial import try_library
from tasks.campaigns.parquet_files import read_parquet
from tasks.checkpoints.payloads import PayloadTooLarge, decode
from tasks.checkpoints.storage import Storage
from tasks.errors import UserError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_CELLS, _CELLS_PER_BYTE = 4_000_000, 100  # of a Parquet file: fingerprints take less than a bit for each


def read_library(section: LibrarySection, without: Collection[str] = ()) -> anndata.AnnData:
    """Read a library from AnnData or a table.

    Args:
        section: Where it is, and which columns are features.
        without: Columns of a table that are annotation, whatever they look like.

    Returns:
        X: float32 features (perturbations × features); obs: annotation, indexed by id; var: unique feature names. It
        can always be stored: see `storable_annotation`.

    Raises:
        UserError: If it is missing, unreadable, has duplicate or unusable ids, or features that are not finite.
    """
    storage, name, suffix = _place(section.uri)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Observation names are not unique")  # said below, as an error
        warnings.filterwarnings("ignore", message="Variable names are not unique")  # they are made unique
        return _read(storage, name, suffix, section, without)


def read_columns(uri: str, id_column: str) -> pd.DataFrame:
    """Columns of a table, or the annotation of AnnData, as they are; indexed by id.

    Raises:
        UserError: It is missing, unreadable, or has duplicate or unusable ids.
    """
    storage, name, suffix = _place(uri)
    if suffix in (".h5ad", ".zarr"):
        table: pd.DataFrame = _read_anndata(storage, name, suffix).obs
        table = table.set_axis(table.index.astype(str))
    elif suffix in _SEPARATORS or suffix == ".parquet":
        table = _read_table(storage, name, suffix, id_column)
        table = table.reset_index() if table.index.name == id_column else table
        if id_column not in table.columns:
            got = f"columns {_some(table.columns)}"
            raise UserError(f"no column {id_column!r}", where=uri, got=got, todo="Name it with --id.")
        table = table.set_index(table.pop(id_column).astype(str))
    else:
        raise UserError("not a kind of table", where=uri, got=suffix, expected=".csv, .tsv, .parquet, .h5ad or .zarr")
    _check_ids(table.index.to_series(), uri)
    return table


def _place(uri: str) -> tuple[Storage, str, str]:
    """Storage, name and suffix of a file."""
    folder, slash, name = uri.rstrip("/").rpartition("/")
    if slash and (not folder or folder.endswith((":", "/"))):
        folder += "/"  # the root itself, of the file system or of a URL: not the working directory
    return Storage(folder or "."), name, "." + name.rpartition(".")[2].lower()


def _read(
    storage: Storage, name: str, suffix: str, section: LibrarySection, without: Collection[str]
) -> anndata.AnnData:
    if suffix in _SEPARATORS or suffix == ".parquet":
        library = _from_table(_read_table(storage, name, suffix, section.id), section, without)
    elif suffix in (".h5ad", ".zarr"):
        library = _from_anndata(_read_anndata(storage, name, suffix), section)
    else:
        raise UserError(
            "not a kind of library", where=section.uri, got=suffix, expected=".h5ad, .zarr, .csv, .tsv or .parquet"
        )
    _check_features(library, section.uri)
    return library


def _read_bytes(storage: Storage, name: str) -> bytes:
    try:
        return storage.read(name)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError("no such library", where=storage.locate(name), todo="Correct library.uri.") from error


def _read_table(storage: Storage, name: str, suffix: str, id_column: str) -> pd.DataFrame:
    data = io.BytesIO(_read_bytes(storage, name))
    try:
        if suffix == ".parquet":
            return read_parquet(data.getvalue(), lambda names: names, _CELLS, _CELLS_PER_BYTE)
        _check_header(data.getvalue(), _SEPARATORS[suffix])
        return pd.read_csv(data, sep=_SEPARATORS[suffix], converters={id_column: str})
    except (ValueError, OSError, OverflowError) as error:
        raise UserError("the library cannot be read", where=storage.locate(name), got=error) from error


def _read_anndata(storage: Storage, name: str, suffix: str) -> anndata.AnnData:
    hdf5 = suffix == ".h5ad"
    found = {name + "/": _read_bytes(storage, name)} if hdf5 else storage.read_many(storage.list(name))
    if not found:
        raise UserError("no such library", where=storage.locate(name), todo="Correct library.uri.")
    files = {path[len(name) + 1 :]: data for path, data in found.items()}
    try:
        try_library(suffix[1:], files)
        loaded: anndata.AnnData = anndata.read_h5ad(io.BytesIO(files[""])) if hdf5 else decode("anndata", files)
    except (MemoryError, PayloadTooLarge):  # says nothing of the file
        raise
    except Exception as error:  # anndata hardly checks what it reads, and stumbles over it in many ways
        raise UserError("the library is not AnnData", where=storage.locate(name), got=error) from error
    return loaded


def _check_header(data: bytes, separator: str) -> None:
    """Refuse a column that is named twice: pandas would read the second one under another name."""
    first = pd.read_csv(io.BytesIO(data), sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False)
    names = first.iloc[0].tolist()
    double = next((name for name in names if names.count(name) > 1 and name), None)
    if double is not None:
        raise ValueError(f"column {double!r} stands there more than once")


def _from_table(table: pd.DataFrame, section: LibrarySection, without: Collection[str]) -> anndata.AnnData:
    if section.id not in table.columns:
        raise UserError(
            f"no column {section.id!r}",
            where=section.uri,
            got=f"columns {_some(table.columns)}",
            todo="Set library.id.",
        )
    free = [name for name in table.columns if name != section.id and name not in without]
    numeric = [name for name in free if pd.api.types.is_numeric_dtype(table[name])]
    chosen = numeric if section.features == "X" else [n for n in numeric if str(n).startswith(section.features)]
    if not chosen:
        raise UserError(
            "no feature columns",
            where=section.uri,
            got=f"numeric columns {_some(numeric)}",
            expected=f"names beginning with {section.features!r}" if section.features != "X" else "at least one",
        )
    try:
        ids = table[section.id].astype(object).where(table[section.id].notna(), "").astype(str)
    except UnicodeDecodeError as error:
        raise UserError(f"column {section.id!r} is not text", where=section.uri, got=error) from error
    _check_ids(ids, section.uri)
    obs = storable_annotation(table.drop(columns=[*chosen, section.id]), pd.Index(ids))
    return _assemble(table[chosen].to_numpy(dtype=np.float32), obs, chosen)


def _from_anndata(source: anndata.AnnData, section: LibrarySection) -> anndata.AnnData:
    _check_ids(pd.Series(source.obs_names.astype(str)), section.uri)
    if section.features == "X":
        features, names = source.X, list(source.var_names)
    elif section.features in source.obsm:
        features = source.obsm[section.features]
        names = [f"{section.features}_{i}" for i in range(features.shape[1])]
    else:
        raise UserError(
            f"no features {section.features!r}",
            where=section.uri,
            expected=f"X or one of obsm: {_some(list(source.obsm))}",
        )
    if features is None:
        raise UserError("X is empty", where=section.uri, todo="Set library.features to a key of obsm.")
    dense = np.asarray(_dense(features))
    obs = storable_annotation(source.obs, source.obs_names.astype(str))
    return _assemble(dense.astype(np.float32), obs, names)


def _dense(features: Any) -> Any:
    to_array = getattr(features, "toarray", None)
    return features if to_array is None else to_array()


def _assemble(features: np.ndarray[Any, Any], obs: pd.DataFrame, names: list[Any]) -> anndata.AnnData:
    var = pd.DataFrame(index=pd.Index(unique_names(names), name="feature"))
    return anndata.AnnData(X=features, obs=obs, var=var)


def _check_ids(ids: pd.Series, where: str) -> None:
    doubled = ids[ids.duplicated()]
    if len(doubled):
        raise UserError(
            "perturbation ids are not unique",
            where=where,
            got=f"{doubled.iloc[0]!r} more than once" + (f" ({len(doubled)} doubles)" if len(doubled) > 1 else ""),
            todo="Every row must have an id of its own.",
        )
    wrong = ids[~ids.map(usable).astype(bool)]
    if len(wrong):
        raise UserError("unusable perturbation id", where=where, got=repr(wrong.iloc[0][:60]), expected=USABLE)
    alike = look_alike(ids)
    if alike is not None:
        raise UserError(
            "two perturbation ids look the same",
            where=where,
            got=f"{spelled(alike[0])} and {spelled(alike[1])}",
            todo="Write ids that people can tell apart.",
        )


def _check_features(library: anndata.AnnData, where: str) -> None:
    if library.n_obs < 2:
        raise UserError(
            "the library is too small", where=where, got=f"{library.n_obs} perturbations", expected="2 or more"
        )
    finite = np.isfinite(library.X)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise UserError(
            "a feature is not a finite number",
            where=where,
            got=f"{library.X[row, column]} for {library.obs_names[row]!r} in {library.var_names[column]!r}",
            todo=f"Mend or drop {int((~finite).any(axis=1).sum())} of {library.n_obs} rows.",
        )


def _some(names: Any) -> str:
    listed = [str(name) for name in names]
    return ", ".join(listed[:5]) + (", …" if len(listed) > 5 else "") if listed else "none"
