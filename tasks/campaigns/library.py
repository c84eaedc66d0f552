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
from tasks.checkpoints.payloads import decode
from tasks.checkpoints.storage import Storage
from tasks.errors import UserError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_MAX_ID = 200


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
    folder, slash, name = section.uri.rstrip("/").rpartition("/")
    if slash and (not folder or folder.endswith((":", "/"))):
        folder += "/"  # the root itself, of the file system or of a URL: not the working directory
    storage = Storage(folder or ".")
    suffix = "." + name.rpartition(".")[2].lower()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Observation names are not unique")  # said below, as an error
        warnings.filterwarnings("ignore", message="Variable names are not unique")  # they are made unique
        return _read(storage, name, suffix, section, without)


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
            return pd.read_parquet(data)
        return pd.read_csv(data, sep=_SEPARATORS[suffix], converters={id_column: str})
    except (ValueError, OSError) as error:
        raise UserError("the library cannot be read", where=storage.locate(name), got=error) from error


def _read_anndata(storage: Storage, name: str, suffix: str) -> anndata.AnnData:
    try:
        if suffix == ".h5ad":
            return anndata.read_h5ad(io.BytesIO(_read_bytes(storage, name)))
        files = storage.read_many(storage.list(name))
        if not files:
            raise UserError("no such library", where=storage.locate(name), todo="Correct library.uri.")
        loaded: anndata.AnnData = decode("anndata", {path[len(name) + 1 :]: data for path, data in files.items()})
    except (OSError, KeyError, ValueError) as error:
        raise UserError("the library is not AnnData", where=storage.locate(name), got=error) from error
    return loaded


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
    ids = table[section.id].astype(object).where(table[section.id].notna(), "").astype(str)
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
    wrong = ids[ids.map(lambda text: not 0 < len(text) <= _MAX_ID or text != text.strip() or not text.isprintable())]
    if len(wrong):
        raise UserError(
            "unusable perturbation id",
            where=where,
            got=repr(wrong.iloc[0][:60]),
            expected=f"1 to {_MAX_ID} printable characters without blanks at the ends",
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
