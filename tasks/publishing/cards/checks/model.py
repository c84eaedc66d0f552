"""Checks on the model: labels, training, members, what it promised, bias, the size of its error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.publishing.calibration_data import SCREEN, Judged
from tasks.publishing.cards.accuracy import ARM_NAMES
from tasks.publishing.cards.parts import Check
from tasks.publishing.cards.wording import count, percent, quantity, things
from tasks.publishing.report_data import ReportData

FEW_LABELS = 50
UNFINISHED = 0.25
"""Share of members best at their last epoch, or no better than the mean, that is worth a warning."""
ALIKE = 0.01
"""Members whose disagreement is below this share of the spread of their predictions all but agree."""
AGREE = 0.2
"""Rank correlation of two halves from which on an estimate counts as told."""
NOISE_ALONE = 0.9


def labels(data: ReportData) -> Check:
    """Whether there are enough labels to train and to judge on."""
    name = "Labels"
    if "labels" not in data.fit:
        return Check(name, "INFO", "How many labels the model was trained on was not recorded.")
    n, features = int(data.fit["labels"]), int(data.fit.get("features", 0))
    if n < FEW_LABELS:
        todo = "Do not rely on intervals yet; the next rounds add labels."
        return Check(name, "WARN", f"Only {things(n, 'label')} to train on: everything rests on few.", todo)
    if n < features:
        found = f"{count(n)} labels for {count(features)} features: with sparse features trees often do better."
        return Check(name, "INFO", found, "To compare, open a second campaign with ensemble.model forest.")
    return Check(name, "PASS", f"{count(n)} labels" + (f" for {things(features, 'feature')}." if features else "."))


def training(data: ReportData) -> Check:
    """Members that were still getting better, or never got better than the mean."""
    name = "Training"
    if data.losses is None or data.losses.empty:
        return Check(name, "INFO", "The model is not fitted epoch by epoch: there is no course of training to judge.")
    best = data.losses[data.losses["best"]].set_index("member")
    last = data.losses.groupby("member")["epoch"].max()
    late = int((best["epoch"] == last).sum())
    useless = int((best["loss"] >= 1).sum()) if data.kind == "continuous" else 0
    if useless > UNFINISHED * len(best):
        found = f"{count(useless)} of {count(len(best))} members predict held-out labels no better than their mean."
        return Check(name, "FAIL", found, "Look at the features, at the labels' noise and at the training curves.")
    if late > UNFINISHED * len(best):
        found = f"{count(late)} of {count(len(best))} members were still getting better at their last epoch."
        return Check(name, "WARN", found, "Raise ensemble.epochs.")
    found = f"{count(len(best) - late)} of {count(len(best))} members were best before their last epoch."
    return Check(name, "PASS", found)


def members(data: ReportData) -> Check:
    """Whether members differ, and predictions do."""
    name = "Members"
    if data.screen.empty:
        return Check(name, "INFO", "The screen is empty.")
    spread = float(data.screen["predicted"].std(ddof=0))
    apart = float(data.screen["epistemic"].median())
    if spread < 1e-9:
        todo = "Look at the features and at the training curves: the model has learnt nothing."
        return Check(name, "FAIL", "The model predicts the same value for every perturbation.", todo)
    found = f"Members disagree by {quantity(apart)} in the median; predictions spread by {quantity(spread)} (sd)."
    if apart < ALIKE * spread:
        todo = "Members that agree hide what the model does not know: more members, or another ensemble.model."
        return Check(name, "WARN", found, todo)
    return Check(name, "PASS", found)


def intervals(data: ReportData) -> Check:
    """Whether 90% intervals held as many measurements as promised."""
    name = "Intervals"
    judged = {one.group: one for one in data.calibration if one.round_index == data.round_index}
    one = judged.get("random") or judged.get(SCREEN)
    if one is None:
        return Check(name, "INFO", "Nothing was measured yet that the model had not seen.")
    if data.kind == "binary":
        return _probabilities(name, one)
    held = one.calibration.metrics["coverage_90"]
    found = f"90% intervals held {percent(held.value, 0)} of {count(one.calibration.n)} measurements that the model "
    found += f"had not seen ({ARM_NAMES[one.group]})."
    if held.high is not None and held.high < 0.9:
        return Check(name, "WARN", found, "Read intervals as too narrow; the certificate does not rest on them.")
    if held.low is not None and held.low > 0.9:
        return Check(name, "INFO", f"{found} They are wider than they need to be.")
    return Check(name, "PASS", found)


def _probabilities(name: str, one: Judged) -> Check:
    error = one.calibration.metrics["expected_calibration_error"].value
    found = f"Predicted probabilities are off by {percent(error, 0)} on average, on {count(one.calibration.n)} "
    found += f"measurements that the model had not seen ({ARM_NAMES[one.group]})."
    if error is not None and error > 0.1 and one.calibration.n >= FEW_LABELS:
        return Check(name, "WARN", found, "Read probabilities with care; the certificate does not rest on them.")
    return Check(name, "PASS" if one.calibration.n >= FEW_LABELS else "INFO", found)


def forward(data: ReportData) -> Check:
    """Whether there are honest residuals in this round."""
    name = "Forward residuals"
    now = data.forward_of_round()
    if now is None:
        if data.round_index == 0:
            return Check(name, "INFO", "They begin with round 1: nothing was predicted before round 0.")
        todo = "Compute the round before this one, and see `hybridscreen verify` for damaged checkpoints."
        return Check(name, "WARN", "No prediction of this round preceded its measurement.", todo)
    arms = now["arm"].value_counts()
    told = ", ".join(f"{count(int(arms[arm]))} {ARM_NAMES.get(str(arm), str(arm))}" for arm in sorted(arms.index))
    return Check(name, "PASS", f"{things(len(now), 'perturbation')} predicted before measured: {told}.")


def cobias(data: ReportData) -> Check:
    """How far the estimate of the bias Δ can be trusted."""
    name = "Bias Δ"
    facts = data.operator.get("cobias")
    if facts is None or "left out" in facts:
        why = f": {facts['left out']}." if facts else "; it begins with round 1."
        return Check(name, "INFO", f"Not estimated{why}")
    if facts.get("clipped_share", 0.0) > NOISE_ALONE:
        return Check(name, "INFO", f"{_rests_on(facts)} hold nothing but noise: no bias shows.")
    agreed = facts["stability"]["diagonals"]
    if agreed is None:
        return Check(name, "INFO", f"{_rests_on(facts)}; they are too few to be halved and compared.")
    found = f"{_rests_on(facts)}; estimates from two halves of them agree with rank correlation {_r(agreed)}."
    if agreed >= AGREE:
        return Check(name, "PASS", found)
    seen = data.operator.get("chosen", {}).get("operator") in ("reducible", "difference")
    todo = "Where it is chance the batch follows chance: batch.operator members leaves it out."
    return Check(name, "WARN", found, todo) if seen else Check(name, "INFO", found)


def error_size(data: ReportData) -> Check:
    """Whether the expected size of the error ê tells where errors are large."""
    name = "Size of the error ê"
    facts = data.operator.get("calibration")
    if facts is None or "left out" in facts:
        why = f": {facts['left out']}." if facts else "."
        return Check(name, "INFO", f"Not estimated{why}")
    correlation = facts["correlation"]
    found = f"{_rests_on(facts)}; it goes with the error by rank correlation {_r(correlation)}."
    if correlation is not None and correlation >= AGREE:
        return Check(name, "PASS", found)
    found += " It knows how large errors are, hardly where."
    if data.operator.get("chosen", {}).get("operator") in ("calibrated", "gradients"):
        todo = "Strategies go by it: give random picks a larger share of the batch."
        return Check(name, "WARN", found, todo)
    return Check(name, "INFO", found)


def duplicates(data: ReportData) -> Check:
    """Perturbations that the model cannot tell apart."""
    name = "Duplicates"
    if data.fit.get("model") == "forest":
        return Check(name, "INFO", "Trees predict the same for many perturbations: duplicates do not show.")
    if data.screen.empty:
        return Check(name, "INFO", "The screen is empty.")
    if data.screen.empty:
        return Check(name, "INFO", "The screen is empty.")
    same = int(data.screen.duplicated(["predicted", "epistemic"], keep=False).sum())
    if not same:
        return Check(name, "PASS", "No two perturbations have the same prediction: their features differ.")
    found = f"{things(same, 'perturbation shares its', 'perturbations share their')} exact prediction with another."
    if same > 0.1 * len(data.screen):
        todo = "Their features are the same: give the library features that tell them apart."
        return Check(name, "WARN", found, todo)
    return Check(name, "INFO", f"{found} Their features are the same, as those of duplicates are.")


def selection(data: ReportData) -> Check:
    """Whether the training labels speak for the strategy."""
    name = "Active selection"
    told = data.assessment
    if not told:
        return Check(name, "INFO", "Whether it is worth it was not asked.")
    low = told["difference"]["low"]
    if told["verdict"] == "fix the assay first":
        return Check(name, "WARN", told["why"], "Look at noise and features before the next plates are spent.")
    if low is not None and low > 0:
        todo = "Compare strategies on a past screen: hybridscreen assess --screen; or take random alone."
        return Check(name, "WARN", f"{told['why']} {told['random_why']}", todo)
    return Check(name, "PASS" if told["verdict"] == "active" else "INFO", told["why"])


def _rests_on(facts: Mapping[str, Any]) -> str:
    independent = round(facts["effective_residuals"])
    return f"{things(int(facts['residuals']), 'residual')}, worth {count(independent)} independent ones"


def _r(correlation: float | None) -> str:
    return "unknown" if correlation is None or not np.isfinite(correlation) else f"{correlation:.2f}".replace("-", "−")


CHECKS = (labels, training, members, intervals, forward, cobias, error_size, selection, duplicates)
