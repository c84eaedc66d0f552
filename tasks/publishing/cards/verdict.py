"""The banner at the top: what was decided, why, what needs a person; and the strip of key figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.publishing.cards.accuracy import error_by_arm, error_name
from tasks.publishing.cards.health import health_counts
from tasks.publishing.cards.parts import KeyFigure, Tone, Verdict
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
from tasks.publishing.report_data import ReportData


def verdict(data: ReportData) -> Verdict:
    """The banner and the key figures of a round."""
    decision = data.decision
    bound, estimate, gamma = as_float(decision["bound"]), as_float(decision["estimate"]), float(decision["gamma"])
    tone, label, headline = _headline(bool(decision["stop"]), bound, gamma)
    facts = [
        ("Rests on", sentence(str(decision["assumption"] or ""))),
        ("What would change it", sentence(str(decision["would_change"] or ""))),
        ("Risk", _risk(decision)),
        ("Bound of every rule", _bounds(decision)),
        ("Against picking at random", _against_random(decision)),
    ]
    return Verdict(
        tone=tone,
        label=label,
        headline=headline,
        reason=sentence(str(decision["reason"])),
        facts=tuple((name, text) for name, text in facts if text),
        attention=_attention(data),
        bound=_on_scale(bound),
        estimate=_on_scale(estimate),
        gamma=_on_scale(gamma) or 0.0,
        figures=_key_figures(data),
        health=health_counts(data),
    )


def _bounds(decision: Mapping[str, Any]) -> str:
    """What each rule bounds, whoever decides."""
    bounds, silent = [], []
    for name, rule in decision["rules"].items():
        bound = as_float(rule["bound"])
        if bound is None:
            silent.append(name)
        else:
            role = " (decides)" if rule["decides"] else ", on its own assumption"
            bounds.append(f"{name} {percent_floor(bound)}{role}")
    none = f" {listed(silent)} {'bounds' if len(silent) == 1 else 'bound'} nothing." if silent else ""
    return f"{'; '.join(bounds)}.{none}" if bounds else none.strip()


def _against_random(decision: Mapping[str, Any]) -> str:
    """Wells that random order would have used for the estimate of now, with the interval."""
    wells, low, high = (as_float(decision[key]) for key in ("wells_random", "wells_random_low", "wells_random_high"))
    if wells is None or low is None or high is None:
        return f"Not known. {sentence(str(decision['wells_random_note'] or ''))}".strip()
    used = as_float(decision["wells_used"]) or 0.0
    text = f"About {count(wells)} wells for the same estimate ({count(low)} to {count(high)} with 90% confidence), "
    return f"{text}{count(abs(wells - used))} {'more' if wells >= used else 'fewer'} than were used."


def _risk(decision: Mapping[str, Any]) -> str:
    """How often such a guarantee may be wrong."""
    allowed = plain_percent(as_float(decision["risk"]))
    spent, left = percent(as_float(decision["risk_spent"])), percent(as_float(decision["risk_left"]))
    return f"The guarantee is wrong with at most {allowed} probability over the campaign: {spent} spent, {left} left."


def _headline(stop: bool, bound: float | None, gamma: float) -> tuple[Tone, str, str]:
    """Tone, label and the verdict as one sentence; the reason below it gives the rest."""
    act = "Stop" if stop else "Measure the next batch"
    reached = bound is not None and bound >= gamma
    act += " without a certificate" if stop and not reached else ""
    if bound is None:
        return ("warn" if stop else "info"), "No bound", f"{act}: how much is correct could not be bounded."
    share = f"{percent_floor(bound)} of the screen is guaranteed correct"
    target = f"{plain_percent(gamma)} is needed"
    if reached:
        return ("pass" if stop else "info"), "Certified", f"{act}: {share}, {target}."
    return ("warn" if stop else "info"), "Not certified" if stop else "Not certified yet", f"{act}: {share}, {target}."


def _on_scale(share: float | None) -> float | None:
    """A share as percent of the width of the scale."""
    return None if share is None else float(np.clip(100 * share, 0, 100))


def _attention(data: ReportData) -> tuple[str, ...]:
    """One sentence for each thing that waits for a person."""
    notes = []
    states = data.plate_states
    last = states.sort_values("attempt", kind="stable").drop_duplicates("barcode", keep="last")
    failed = [str(barcode) for barcode in last.loc[last["state"] == "failed", "barcode"]]
    if failed:
        notes.append(f"{things(len(failed), 'plate')} failed quality control: repeat {listed(failed)}.")
    planned = [
        str(code) for code in last.loc[(last["state"] == "planned") & (last["round"] <= data.round_index), "barcode"]
    ]
    if planned:
        notes.append(
            f"{things(len(planned), 'plate')} of this round or an earlier one not received yet: {listed(planned)}."
        )
    return tuple(notes)


def _key_figures(data: ReportData) -> tuple[KeyFigure, ...]:
    """Six numbers: bound, wells, coverage of the library, forward error, plates, next batch."""
    decision, screen = data.decision, data.screen
    measured = int((screen["source"] == "measured").sum())
    used, full = as_float(decision["wells_used"]), as_float(decision["wells_full_screen"])
    saved = as_float(decision["wells_saved"])
    share = f"{percent(used / full, 0)} of the full screen" if used is not None and full else "of the full screen"
    return (
        KeyFigure(
            "Guaranteed correct",
            percent_floor(as_float(decision["bound"])),
            f"estimate {percent(as_float(decision['estimate']))}, target {plain_percent(as_float(decision['gamma']))}",
        ),
        KeyFigure(
            "Wells used", count(used), f"{share}; {count(saved)} {'saved' if decision['stop'] else 'not used so far'}"
        ),
        KeyFigure("Measured", count(measured), f"of {things(len(screen), 'perturbation')}; the others are predicted"),
        _error_figure(data),
        _plates_figure(data),
        _batch_figure(data),
    )


def _error_figure(data: ReportData) -> KeyFigure:
    """Forward error of this round, on the random control where there is one."""
    unit = f" [{data.unit}]" if data.unit and data.kind == "continuous" else ""
    name = f"Forward {error_name(data)}{unit}"
    table = error_by_arm(data)
    now = table[table["round"] == data.round_index] if table is not None else None
    if now is None or now.empty:
        return KeyFigure(name, "–", "no prediction preceded a measurement yet")
    arms = {str(arm): (float(error), int(n)) for arm, error, n in zip(now["arm"], now["error"], now["n"], strict=True)}
    arm = "random control" if "random control" in arms else next(iter(arms))
    error, n = arms[arm]
    shown = percent(error) if data.kind == "binary" else quantity(error)
    return KeyFigure(name, shown, f"{arm}, {things(n, 'perturbation')} not seen in training")


def _plates_figure(data: ReportData) -> KeyFigure:
    """Plates of this round that passed quality control."""
    states = data.plate_states[data.plate_states["round"] == data.round_index]
    last = states.sort_values("attempt", kind="stable").drop_duplicates("barcode", keep="last")
    if last.empty:
        return KeyFigure("Plates passed", "–", "no plate in this round")
    passed = int(last["state"].isin(["passed", "waived"]).sum())
    repeats = int((states["attempt"] > 1).sum())
    note = f"{things(repeats, 'repeat')} among them" if repeats else "first attempts"
    return KeyFigure("Plates passed", f"{passed} of {len(last)}", note, "" if passed == len(last) else "warn")


def _batch_figure(data: ReportData) -> KeyFigure:
    """Size of the proposed batch."""
    if data.batch is None or data.batch.empty:
        return KeyFigure("Next batch", "none", "nothing is proposed")
    chosen = int((data.batch["action"] == "measure").sum())
    plates = (
        f"on {things(data.platemap['barcode'].nunique(), 'plate')}" if data.platemap is not None else "no plate map"
    )
    return KeyFigure("Next batch", count(chosen), f"perturbations {plates}")
