"""A good model or many hits? What each arm reaches of both in the end, and which arms no other one beats in both."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.replays.statistics import interval

ERROR, HITS = "rmse", "hits_found"

Array = npt.NDArray[np.float64]


def hits_front(table: pd.DataFrame) -> pd.DataFrame:
    """Model error and hits of every arm after its last round.

    Args:
        table: screen, arm, seed, round, `rmse` and `hits_found`; a row a round of a campaign.

    Returns:
        screen, arm, seeds; error, error_low, error_high (mean over seeds and its interval of 95%, cut at what is
        possible); hits, hits_low, hits_high (share of all hits that were measured); best: no other arm on this screen
        is at least as good in both and better in one. Without arms whose figures are not known.
    """
    rows = []
    for (screen, arm), campaign in table.groupby(["screen", "arm"], sort=False):
        known = campaign[campaign["round"] == campaign["round"].max()].dropna(subset=[ERROR, HITS])
        if len(known):
            ends = (interval(known[figure].to_numpy(dtype=np.float64)) for figure in (ERROR, HITS))
            rows.append((screen, arm, len(known), *next(ends), *next(ends)))
    columns = ["screen", "arm", "seeds", "error", "error_low", "error_high", "hits", "hits_low", "hits_high"]
    found = pd.DataFrame(rows, columns=columns).assign(best=False)
    found["error_low"] = found["error_low"].clip(lower=0.0)  # t intervals of few seeds know no bounds
    found[["hits_low", "hits_high"]] = found[["hits_low", "hits_high"]].clip(0.0, 1.0)
    for _, here in found.groupby("screen"):
        found.loc[here.index, "best"] = not_beaten(here["error"].to_numpy(), here["hits"].to_numpy())
    return found


def not_beaten(error: Array, hits: Array) -> npt.NDArray[np.bool_]:
    """(n,) whether nobody has at most this error (n,) and at least these hits (n,), and one of them strictly."""
    no_worse = (error[:, None] <= error) & (hits[:, None] >= hits)
    strictly = (error[:, None] < error) | (hits[:, None] > hits)
    beaten: npt.NDArray[np.bool_] = np.any(no_worse & strictly, axis=0)
    return ~beaten
