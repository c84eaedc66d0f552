"""A stored fit is applied to wells."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.errors import UserError
from tasks.readouts.alignment.profiles.controls import feature_values, listing
from tasks.readouts.alignment.profiles.model import ProfileFit
from tasks.readouts.alignment.profiles.outcome import align_rows
from tasks.threads import one_blas_thread


@one_blas_thread()
def apply_profiles(wells: pd.DataFrame, fit: ProfileFit) -> pd.DataFrame:
    """Bring profiles onto the common scale.

    Plate by plate and in the order of the wells' names, so that neither the order of rows nor other plates reach the
    bits.

    Args:
        wells: Table of wells with the fit's features; every plate attempt in it must have been fitted.
        fit: The stored alignment.

    Returns:
        The same rows, all features aligned under their own names, and the column `aligned`, the output feature [sd of
        a control well]. A missing feature stays missing; where features are mixed, a well has all of them or none.

    Raises:
        UserError: A plate attempt is not part of the fit, a feature is missing, a value is infinite, or a well has
            holes although features are mixed.
    """
    absent = [feature for feature in fit.features if feature not in wells.columns]
    if absent:
        raise UserError(
            "features missing", where=f"run {fit.run}", got=listing(absent), expected="all that were fitted"
        )
    places = {(plate.barcode, plate.attempt): p for p, plate in enumerate(fit.outcome.plates)}
    keys = list(zip(wells["barcode"].astype(str), wells["attempt"].astype(int), strict=True))
    unknown = sorted(set(keys) - set(places))
    if unknown:
        raise UserError(
            "plate without an alignment",
            where=f"run {fit.run}",
            got=listing([f"{barcode}.{attempt}" for barcode, attempt in unknown]),
            expected="only plates that the alignment was fitted on",
        )
    place = np.array([places[key] for key in keys], dtype=np.int64)
    order = np.lexsort((wells["well"].to_numpy(dtype=str), place))
    aligned = np.empty((len(wells), len(fit.features)))
    for p in np.unique(place):
        rows = order[place[order] == p]
        values = feature_values(wells.iloc[rows], fit.features, whole=fit.mixing is not None)
        aligned[rows] = align_rows(values, fit.centre[p], fit.scale[p], fit.mixing)
    table = pd.DataFrame(aligned, index=wells.index, columns=list(fit.features))
    rest = [column for column in wells.columns if column not in {*fit.features, "aligned"}]
    columns = [column for column in wells.columns if column != "aligned"]
    return pd.concat([wells[rest], table], axis=1)[columns].assign(aligned=table[fit.output])
