"""Who has been chosen and who is still hidden, read from the released designs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.campaigns.designs import first_entries
from tasks.errors import UserError

BoolArray = npt.NDArray[np.bool_]

CHOSEN_ARMS = frozenset({"initial", "strategy"})
HIDDEN_ARMS = frozenset({"audit", "random"})
#: Measured again because its plates were lost: nobody's standing changes.
REPEAT_ARM = "repeat"


@dataclass(frozen=True)
class Membership:
    """Where every perturbation of the library stands.

    Args:
        chosen: (N,) ever chosen by the initial design or a strategy, released audit members included. It never
            shrinks: a perturbation whose plate was abandoned may be measured again, but it stays chosen, because it
            was not drawn at random and the audit says nothing about it.
        hidden: (N,) audit members (drawn at opening or by a random arm) that no strategy has chosen yet, measured or
            not. At every round a uniform random subset of everything not chosen.
    """

    chosen: BoolArray
    hidden: BoolArray


def read_membership(ids: Sequence[str], designs: Sequence[pd.DataFrame]) -> Membership:
    """Replay the batches of the released designs, oldest first.

    Args:
        ids: The library's N perturbation ids, in its order.
        designs: Batch tables of round 0, 1, …; only released ones: a proposal changes nobody's standing.

    Raises:
        UserError: If a batch names an unknown perturbation or arm, draws somebody who was chosen or hidden, releases
            somebody who was not hidden, or repeats somebody who was neither.
    """
    position = {name: row for row, name in enumerate(ids)}
    chosen = np.zeros(len(ids), dtype=bool)
    hidden = np.zeros(len(ids), dtype=bool)
    for number, design in enumerate(designs):
        where = f"batch of round {number}"
        rows = _positions(design, position, where)
        arms = design["arm"].to_numpy()
        drawn = rows[np.isin(arms, list(HIDDEN_ARMS))]
        picked = rows[np.isin(arms, list(CHOSEN_ARMS))]
        released = rows[(design["action"] == "release").to_numpy()]
        repeated = rows[arms == REPEAT_ARM]
        if len(drawn) + len(picked) + len(repeated) != len(rows):
            unknown = set(arms) - CHOSEN_ARMS - HIDDEN_ARMS - {REPEAT_ARM}
            raise UserError("unknown arm", where=where, got=sorted(unknown))
        _complain(where, ids, repeated[~(chosen | hidden)[repeated]], "repeated, but in no batch before")
        _complain(where, ids, drawn[chosen[drawn] | hidden[drawn]], "drawn for the audit, but chosen or hidden before")
        _complain(where, ids, released[~hidden[released]], "released, but not a hidden audit member")
        hidden[drawn] = True
        hidden[picked] = False
        chosen[picked] = True
    return Membership(chosen=chosen, hidden=hidden)


def membership_table(ids: Sequence[str], designs: Mapping[int, pd.DataFrame], vetoed: BoolArray) -> pd.DataFrame:
    """Where every perturbation stands, as a table.

    Args:
        ids: The library's N perturbation ids, in its order.
        designs: Batch tables of released designs by round.
        vetoed: (N,) who may not be measured.

    Returns:
        perturbation, chosen, hidden, vetoed, and round and arm of its first batch (-1 and "" if in none), (N rows).

    Raises:
        UserError: As `read_membership`.
    """
    standing = read_membership(ids, [designs[number] for number in sorted(designs)])
    table = pd.DataFrame({"perturbation": list(ids), "chosen": standing.chosen, "hidden": standing.hidden})
    table["vetoed"] = vetoed
    table = table.merge(first_entries(designs), on="perturbation", how="left")
    table["round"] = table["round"].fillna(-1).astype("int64")
    table["arm"] = table["arm"].fillna("").astype(str)
    return table


def _positions(design: pd.DataFrame, position: dict[str, int], where: str) -> np.ndarray:
    names = design["perturbation"]
    unknown = [name for name in names if name not in position]
    if unknown:
        raise UserError("perturbation is not in the library", where=where, got=unknown[0])
    if names.duplicated().any():
        raise UserError("perturbation twice in one batch", where=where, got=names[names.duplicated()].iloc[0])
    return np.fromiter((position[name] for name in names), dtype=np.int64, count=len(names))


def _complain(where: str, ids: Sequence[str], rows: np.ndarray, what: str) -> None:
    if len(rows):
        raise UserError(f"{ids[rows[0]]} is {what}", where=where, got=f"{len(rows)} such perturbations")
