"""Rule `budget`: stop before a round would exceed the wells that are to be spent."""

from __future__ import annotations

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.stopping.evidence import Look
from tasks.stopping.rule import Found, Rule, things

ASSUMPTION = "Wells are counted; nothing is said of the accuracy."


def find(look: Look, stopping: StoppingSection, risk: float) -> Found:
    """Stop when the wells used and those of a further round are more than `max_wells`."""
    if stopping.max_wells is None:
        return Found(False, "No budget is set.", ASSUMPTION)
    after = look.wells.used + look.wells.next_round
    allowed = f"the budget is {things(stopping.max_wells, 'well')}"
    used = things(look.wells.used, "sample well")
    if after > stopping.max_wells:
        return Found(True, f"{used} are used, and a further round would make it {after:,}; {allowed}.", ASSUMPTION)
    return Found(False, f"{used} are used, {after:,} after a further round; {allowed}.", ASSUMPTION)


def would_change(look: Look, stopping: StoppingSection, risk: float) -> str:
    """The budget on the other side."""
    after = look.wells.used + look.wells.next_round
    if stopping.max_wells is None:
        return "A budget (stopping.max_wells)."
    if after > stopping.max_wells:
        return f"A budget of {things(after, 'well')}."
    return f"A budget of less than {things(after, 'well')}."


RULE = Rule(find, would_change, certifies=False)
