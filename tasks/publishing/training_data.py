"""How the training of an ensemble went, as tables: losses of its members, and where each piece of work ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.checkpoints.manifest import Manifest

STAGES = ("fit", "ensemble", "predict")
WORK_COLUMNS = (
    "step",
    "stage",
    "members",
    "worker",
    "device",
    "pieces",
    "seconds",
    "samples",
    "peak_rss_gib",
    "computed",
)


def losses_table(history: np.ndarray[Any, Any] | None) -> pd.DataFrame:
    """Held-out loss of each member by epoch, counted from 1, while it was learning.

    Args:
        history: (M, epochs), NaN after a member has stopped; None or without an epoch for a model that has none.

    Returns:
        Columns member (from 0), epoch, loss, best (the epoch whose weights the member kept: the first of its lowest
        loss).
    """
    known = np.zeros((0, 0)) if history is None else np.asarray(history, dtype=np.float64)
    member, epoch = np.nonzero(np.isfinite(known))
    table = pd.DataFrame({"member": member, "epoch": epoch + 1, "loss": known[member, epoch]})
    lowest = table.groupby("member")["loss"].idxmin()
    return table.assign(best=table.index.isin(lowest))


def work_table(
    manifests: Sequence[Manifest], facts: Mapping[str, Mapping[str, Any]], computed: Sequence[str]
) -> pd.DataFrame:
    """Where each piece of the fit and of the prediction ran, and what it took.

    Args:
        manifests: Of the nodes of STAGES.
        facts: By node, what a piece of the fit tells of itself: samples that it trained on, all epochs together, and
            the device. A model that is not trained in epochs tells neither.
        computed: Nodes that were computed in this run; the others were read from checkpoints.

    Returns:
        Columns as in WORK_COLUMNS: a row for every piece of the fit with the members that it fitted ("1–4"; empty where
        that is no group), and one for all chunks that a worker predicted, which has the sum of their seconds and the
        largest of their peaks of memory.
    """
    rows = []
    for one in sorted(manifests, key=lambda one: (STAGES.index(one.stage), one.node)):
        said = facts.get(one.node, {})
        numbers = {"seconds": one.seconds, "samples": said.get("samples"), "peak_rss_gib": one.peak_rss_gib}
        rows.append(
            {
                "step": one.stage if one.stage == "predict" else one.node,
                "stage": one.stage,
                "members": _members(one.params.get("members")),
                "worker": one.worker,
                "device": str(said.get("device", "")),
                "pieces": 1,
                **{name: np.nan if number is None else float(number) for name, number in numbers.items()},
                "computed": int(one.node in set(computed)),
            }
        )
    table = pd.DataFrame(rows, columns=WORK_COLUMNS)
    keys = ["step", "stage", "members", "worker", "device"]
    groups = table.groupby(keys, sort=False)
    sums = groups[["pieces", "seconds", "samples", "computed"]].sum(min_count=1)
    return sums.assign(peak_rss_gib=groups["peak_rss_gib"].max()).reset_index()[list(WORK_COLUMNS)]


def _members(bounds: Sequence[int] | None) -> str:
    """Members of a group, counted from 1, from the first and the last (exclusive)."""
    if bounds is None:
        return ""
    first, last = bounds[0] + 1, bounds[1]
    return str(first) if first == last else f"{first}–{last}"
