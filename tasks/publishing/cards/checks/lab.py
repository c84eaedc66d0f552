"""Checks on what the lab delivered: plates, controls, alignment, uploads, replicates, noise."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binom, norm

from tasks.publishing.cards.parts import Check
from tasks.publishing.cards.wording import (
    as_float,
    count,
    listed,
    percent,
    percent_floor,
    plain_percent,
    quantity,
    sentence,
    things,
)
from tasks.publishing.flags import OUTLIER_LEVEL
from tasks.publishing.report_data import ReportData

EXCELLENT = 0.5
"""Z′ from which on an assay counts as excellent. Source: Zhang, Chung and Oldenburg 1999."""
RARE = 0.01
"""So improbable a number of outliers is more than chance."""


def plates(data: ReportData) -> Check:
    """Plates that failed and were not repeated, or did not arrive."""
    name = "Plates"
    states = data.plate_states[data.plate_states["round"] <= data.round_index]
    newest = states.sort_values("attempt", kind="stable").drop_duplicates("barcode", keep="last")
    if newest.empty:
        return Check(name, "INFO", "No plate was planned up to this round.")
    by_state = {str(state): rows["barcode"].astype(str).tolist() for state, rows in newest.groupby("state")}
    if failed := by_state.get("failed", []):
        todo = "Measure again from the same worklist and upload as the next attempt (repeats.csv), or decide with "
        todo += "`hybridscreen plates waive` or `plates abandon`."
        return Check(name, "FAIL", f"{things(len(failed), 'plate')} failed quality control: {listed(failed)}.", todo)
    if awaited := by_state.get("planned", []) + by_state.get("received", []):
        todo = "Upload the files and compute the round again, or give a plate up with `hybridscreen plates abandon`."
        return Check(name, "WARN", f"{things(len(awaited), 'plate')} awaited: {listed(awaited)}.", todo)
    decided = [f"{listed(by_state[state])} {state}" for state in ("waived", "abandoned") if state in by_state]
    if decided:
        return Check(name, "INFO", f"A person decided: {'; '.join(decided)}. The others passed.")
    return Check(name, "PASS", f"All {things(len(newest), 'plate')} so far passed quality control.")


def controls(data: ReportData) -> Check:
    """Z′ of the plates of this round that are used."""
    name = "Control wells"
    states = data.plate_states[data.plate_states["round"] == data.round_index]
    used = states[states["state"].isin(["passed", "waived"])]
    keys = set(zip(used["barcode"].astype(str), used["attempt"].astype(int), strict=True))
    told = {
        str(plate["barcode"]): value
        for plate in data.quality
        if (str(plate["barcode"]), int(plate["attempt"])) in keys
        for metric in plate["metrics"]
        if metric["name"] == "zprime" and (value := as_float(metric["value"])) is not None
    }
    if not told:
        return Check(name, "INFO", "No used plate of this round has a Z′: it takes negative and positive controls.")
    weakest = min(told, key=lambda barcode: told[barcode])
    if told[weakest] < EXCELLENT:
        return Check(
            name,
            "WARN",
            f"Z′ is {_two(told[weakest])} on {weakest}: its controls lie close together or scatter widely.",
            "Look at its control wells on the plate quality page, and at their reagents and dispensing.",
        )
    found = f"Z′ is {_two(told[weakest])} or more on {things(len(told), 'plate')}; {EXCELLENT:g} is excellent."
    return Check(name, "PASS", found)


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def alignment(data: ReportData) -> Check:
    """Whether the alignment can be trusted, and the largest error that it leaves to all wells of a plate."""
    name = "Alignment"
    if not data.intake:
        return Check(name, "INFO", "How plates were aligned was not recorded.")
    if data.intake["warning"]:
        todo = "Set alignment.method to one that looks at control wells alone: two-point or negcon."
        return Check(name, "WARN", sentence(str(data.intake["warning"])), todo)
    sd, plate = as_float(data.intake["shared_sd"]), data.intake["plate"]
    if sd is None or data.tolerance is None:
        return Check(name, "PASS", f"By control wells alone ({data.intake['alignment']}).")
    found = f"By control wells alone ({data.intake['alignment']}); all wells of {plate} share the largest error, "
    found += f"sd {quantity(sd, data.unit)}, {percent(sd / data.tolerance, 0)} of the tolerance."
    if sd > data.tolerance / 2:
        todo = "Put more control wells on each plate: the error of the alignment falls with their number."
        return Check(name, "WARN", found, todo)
    return Check(name, "PASS", found)


def uploads(data: ReportData) -> Check:
    """Files that were refused, wells that were left out."""
    name = "Uploads"
    if not data.intake:
        return Check(name, "INFO", "What was uploaded was not recorded.")
    rejected, excluded = int(data.intake["rejected"]), int(data.intake["excluded"])
    left = f" {things(excluded, 'well is', 'wells are')} left out by exclusion files." if excluded else ""
    if rejected:
        todo = "rejected.csv names file, line and reason; take wrong files out of the inbox, or mend them."
        refused = f"{things(rejected, 'file or plate was', 'files or plates were')} refused."
        return Check(name, "WARN", refused + left, todo)
    if excluded:
        return Check(name, "INFO", f"Every file was understood.{left}")
    return Check(name, "PASS", "Every file was understood, no well is left out.")


def replicates(data: ReportData) -> Check:
    """Measured perturbations whose plates disagree more than the noise explains."""
    name = "Replicates"
    several = data.screen[data.screen["plates"].astype(str).str.contains(";")] if "plates" in data.screen else None
    if several is None or several.empty or "flags" not in several:
        return Check(name, "INFO", "No measured perturbation stands on several plates, so none can disagree.")
    odd = several.index[several["flags"].astype(str).str.split(";").map(lambda flags: "outlier" in flags)]
    expected = OUTLIER_LEVEL * len(several)
    found = f"{count(len(odd))} of {things(len(several), 'perturbation')} on several plates disagree beyond the noise; "
    found += f"{quantity(expected)} would by chance."
    if binom.sf(len(odd) - 1, len(several), OUTLIER_LEVEL) < RARE and len(odd):
        todo = f"Look at {listed(odd.astype(str).tolist())} (flag outlier in the screen) for wells that went wrong."
        return Check(name, "WARN", found, todo)
    return Check(name, "PASS", found)


def noise(data: ReportData) -> Check:
    """The accuracy that a perfect model would have, because labels are noisy too."""
    name = "Noise of the labels"
    known = data.screen[data.screen["source"] == "measured"]
    if known.empty:
        return Check(name, "INFO", "Nothing has been measured yet.")
    reachable, gamma = _reachable(data, known["standard_error"]), float(data.decision["gamma"])
    found = f"A perfect model would agree with {percent_floor(reachable)} of such labels; the target is "
    found += f"{plain_percent(gamma)}."
    if reachable < gamma:
        todo = "More replicates or a less noisy assay; the tolerance is fixed once a campaign is open."
        return Check(name, "WARN", found, todo)
    return Check(name, "PASS", found)


def _reachable(data: ReportData, error: pd.Series[float]) -> float:
    """Share of measured labels that lie within the tolerance of the truth, or in its class."""
    sd = error.to_numpy(np.float64)
    if data.kind == "binary":
        return float(np.mean((1 + np.sqrt(np.maximum(1 - 4 * np.square(sd), 0))) / 2))
    tolerance = float(data.tolerance or 0.0)
    inside = 2 * norm.cdf(tolerance / np.where(sd > 0, sd, 1.0)) - 1
    return float(np.mean(np.where(sd > 0, inside, 1.0)))


CHECKS = (plates, controls, alignment, uploads, replicates, noise)
