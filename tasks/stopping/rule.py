"""What a stopping rule is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.stopping.evidence import Look


class Found(NamedTuple):
    """What a rule finds at a look.

    Attributes:
        stop: Whether the rule alone would stop.
        reason: Why, in a sentence.
        assumption: What it rests on.
        bound: Lower bound of the system accuracy; None from a rule that bounds nothing.
        condition: Said with the bound where it holds on a condition only, as "conditional on calibration".
    """

    stop: bool
    reason: str
    assumption: str
    bound: float | None = None
    condition: str = ""


class Rule(NamedTuple):
    """A stopping rule: pure functions of what is known, the settings, and the risk it may spend.

    Attributes:
        find: What it finds.
        would_change: What would change its answer, in a sentence. Slower than `find`: it looks around.
        certifies: Whether it bounds the accuracy. One that does not leaves the certificate to the audit.
    """

    find: Callable[[Look, StoppingSection, float], Found]
    would_change: Callable[[Look, StoppingSection, float], str]
    certifies: bool


def percent(share: float) -> str:
    """A share for people, rounded down: a bound must not look better than it is."""
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f}%"


def things(count: int, what: str) -> str:
    """A count with its noun."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def bounded(bound: float, gamma: float, risk: float, condition: str = "") -> str:
    """A bound as a sentence without its full stop."""
    said = f", {condition}" if condition else ""
    return (
        f"at least {percent(bound)} of the screen is correct{said} (wrong with probability {risk:.2g} at most); "
        f"the target is {percent(gamma)}"
    )


def largest(below: int, above: int, holds: Callable[[int], bool]) -> int:
    """Largest integer in (below, above) for which `holds`, which is true up to some point; `below` if for none."""
    while above - below > 1:
        middle = (below + above) // 2
        if holds(middle):
            below = middle
        else:
            above = middle
    return below
