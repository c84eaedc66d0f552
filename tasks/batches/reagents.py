"""Reagents: what is dispensed where a perturbation is more than one thing, as the guides of a gene."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from tasks.errors import UserError

Reagents = Mapping[str, tuple[str, ...]]


def read_reagents(annotation: pd.DataFrame, column: str) -> dict[str, tuple[str, ...]]:
    """Reagents of each perturbation, from a library's annotation.

    Args:
        annotation: Annotation of the library, indexed by perturbation.
        column: Column with the reagents, joined by `;` (`library.reagents`).

    Returns:
        Perturbation -> its reagents, in the order written.

    Raises:
        UserError: No such column, a perturbation without a reagent, or a reagent named twice.
    """
    if column not in annotation.columns:
        found = ", ".join(map(str, annotation.columns[:6])) or "no annotation"
        raise UserError("the library has no such annotation", where="library.reagents", got=column, expected=found)
    reagents = {
        str(name): tuple(part.strip() for part in str(text).split(";") if part.strip())
        for name, text in annotation[column].items()
    }
    owner: dict[str, str] = {}
    for name, parts in reagents.items():
        if not parts:
            raise UserError("perturbation without a reagent", where=f"library.reagents: {column}", got=repr(name))
        for part in parts:
            if owner.setdefault(part, name) != name or parts.count(part) > 1:
                both = f"{owner[part]} and {name}" if owner[part] != name else f"{name}, twice"
                raise UserError("reagent named twice", where=f"library.reagents: {column}", got=f"{part} of {both}")
    return reagents


def assign_reagents(platemap: pd.DataFrame, reagents: Reagents) -> pd.DataFrame:
    """Add the column `reagent`: replicate k of a perturbation gets its reagent k, from the first again after the last.

    Args:
        platemap: Plate map of a round.
        reagents: Perturbation -> its reagents.
    """
    names = [
        reagents[perturbation][(replicate - 1) % len(reagents[perturbation])] if role == "sample" else ""
        for role, perturbation, replicate in zip(
            platemap["role"], platemap["perturbation"], platemap["replicate"], strict=True
        )
    ]
    return platemap.assign(reagent=pd.Series(names, index=platemap.index, dtype=object))
