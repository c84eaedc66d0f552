"""Rule `plateau`: stop when more measurements have not made predictions better for some rounds."""

from __future__ import annotations

import math

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.stopping.evidence import Look
from tasks.stopping.rule import Found, Rule, things

ASSUMPTION = (
    "A rule of thumb that bounds nothing. It watches the error on the random control: perturbations drawn at random "
    "in round 0, each predicted by members of the ensemble that did not learn from it. No hidden readout is in it. An "
    "error that rests for some rounds may fall again."
)


def rounds_without_a_fall(errors: list[float], least_fall: float) -> int:
    """Rounds at the end of the series in which the error did not fall below what was the lowest before.

    Args:
        errors: (n,) errors, oldest first.
        least_fall: A fall by less than this share of the lowest error before is none.
    """
    lowest, rested = math.inf, 0
    for error in errors:
        fell = error < lowest * (1 - least_fall)
        rested = 0 if fell else rested + 1
        lowest = error if fell else lowest
    return rested


def find(look: Look, stopping: StoppingSection, risk: float) -> Found:
    """Stop when the control's error has not fallen for `patience` rounds."""
    if look.control is None:
        return Found(False, "This round has no error of the random control.", ASSUMPTION)
    rested = rounds_without_a_fall([control.error for control in look.controls], stopping.least_fall)
    on = f"the error on the random control ({things(look.control.n, 'perturbation')}), now {look.control.error:.3g},"
    if rested:
        reason = f"For {things(rested, 'round')} {on} has not fallen; {stopping.patience} are waited for."
    else:
        reason = f"{on[0].upper()}{on[1:]} is the lowest so far."
    return Found(rested >= stopping.patience, reason, ASSUMPTION)


def would_change(look: Look, stopping: StoppingSection, risk: float) -> str:
    """How far the error would have to fall."""
    if look.control is None:
        return "Out-of-fold predictions of the perturbations of round 0."
    before = [control.error for control in look.controls[:-1]]
    if not before:
        return f"{things(stopping.patience, 'round')} without a fall."
    lowest, errors = before[0], before[1:]
    for error in errors:
        lowest = error if error < lowest * (1 - stopping.least_fall) else lowest
    return f"An error below {lowest * (1 - stopping.least_fall):.3g} is a fall; others count as rest."


RULE = Rule(find, would_change, certifies=False)
