"""Calibration of a campaign by round and group of predictions, for the report and for the file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.checkpoints.payloads import encode_json
from tasks.ensembles.calibration import calibrate
from tasks.ensembles.class_calibration import calibrate_classes
from tasks.ensembles.estimates import CONFIDENCE, Calibration

SCREEN = "screen"
ORDER = ("random", "strategy", "initial", SCREEN)
MEANING = {
    "random": "forward residuals of a uniform sample of what nobody had chosen",
    "strategy": "forward residuals of what the strategy chose",
    "initial": "forward residuals of the initial design",
    SCREEN: "predictions of the screen published by this run, at the audit members hidden from its model; "
    "their sd holds the bias too",
}


@dataclass(frozen=True)
class Judged:
    """Calibration of one group of predictions in one round."""

    round_index: int
    group: str
    calibration: Calibration


def judge(forward: pd.DataFrame | None, screen: pd.DataFrame, kind: str, round_index: int) -> tuple[Judged, ...]:
    """Calibration of every arm in every round, and of the screen of this round at the hidden audit members.

    Args:
        forward: Predictions made before the measurement was seen: predicted, sd (ensemble and label noise together),
            epistemic (sd of the ensemble alone), measured, arm, round. Rows without a measurement are left out.
        screen: obs of the published screen.
        kind: Kind of the readout.
        round_index: The round of the screen.

    Returns:
        Ordered by round, then as in ORDER; a group without a measurement is left out.
    """
    found = []
    if forward is not None:
        known = forward[forward["measured"].notna()]
        for (number, arm), group in known.groupby(["round", "arm"], sort=True):
            found.append(Judged(int(str(number)), str(arm), _calibration(group, kind)))
    hidden = screen[screen["audit"].to_numpy(bool)]
    if len(hidden):
        found.append(Judged(round_index, SCREEN, _calibration(_published(hidden), kind)))
    return tuple(sorted(found, key=lambda one: (one.round_index, ORDER.index(one.group))))


def calibration_file(judged: Sequence[Judged]) -> str:
    """The same as JSON: figures of groups alone, no perturbation and no value of one."""
    groups = [
        {"round": one.round_index, "group": one.group, "calibration": one.calibration.to_json()} for one in judged
    ]
    content = {"schema_version": 1, "confidence": CONFIDENCE, "groups": groups, "meaning": MEANING}
    return encode_json(content).decode()


def _published(hidden: pd.DataFrame) -> pd.DataFrame:
    """Predictions of the screen with the sd of a further measurement: what it says of itself, and the label's noise."""
    reducible = np.hypot(hidden["epistemic"], hidden["bias"])
    return hidden[["predicted", "measured"]].assign(
        epistemic=reducible, sd=np.hypot(reducible, hidden["standard_error"])
    )


def _calibration(group: pd.DataFrame, kind: str) -> Calibration:
    if kind == "binary":
        return calibrate_classes(group["predicted"].to_numpy(), group["measured"].to_numpy())
    columns = (group[name].to_numpy() for name in ("predicted", "sd", "measured", "epistemic"))
    return calibrate(*columns)
