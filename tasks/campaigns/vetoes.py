"""Which perturbations no batch may hold, from the annotation of the library."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.errors import UserError

_SAID = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}


def read_vetoes(annotation: pd.DataFrame, column: str | None) -> npt.NDArray[np.bool_]:
    """(N,) who is vetoed; nobody without a column.

    Args:
        annotation: Annotation of the library.
        column: Its column of true and false (or yes and no, 1 and 0); an empty cell is no veto.

    Raises:
        UserError: There is no such column, or a cell says something else.
    """
    vetoed = np.zeros(len(annotation), dtype=bool)
    if column is None:
        return vetoed
    if column not in annotation.columns:
        known = ", ".join(map(str, annotation.columns)) or "an annotation"
        raise UserError("the library has no such annotation", where="batch.veto", got=column, expected=known)
    for row, cell in enumerate(annotation[column].tolist()):
        text = "" if pd.isna(cell) else str(cell).strip().lower()
        if text and text not in _SAID:
            where = f"batch.veto, perturbation {annotation.index[row]}"
            raise UserError("neither a veto nor none", where=where, got=repr(cell), expected="true or false")
        vetoed[row] = bool(text) and _SAID[text]
    return vetoed
