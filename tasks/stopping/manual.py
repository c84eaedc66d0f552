"""Rule `manual`: a person stops the campaign, and says why."""

from __future__ import annotations

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.stopping.evidence import Look
from tasks.stopping.rule import Found, Rule

ASSUMPTION = "A person decides; nothing is said of the accuracy. The reason is part of the configuration's revisions."


def find(look: Look, stopping: StoppingSection, risk: float) -> Found:
    """Stop where `stop_because` gives a reason."""
    if stopping.stop_because is None:
        return Found(False, "Nobody has asked to stop.", ASSUMPTION)
    return Found(True, f"A person stopped the campaign: {stopping.stop_because.rstrip('.')}.", ASSUMPTION)


def would_change(look: Look, stopping: StoppingSection, risk: float) -> str:
    """The key of the configuration."""
    if stopping.stop_because is None:
        return "A reason in stopping.stop_because."
    return "Taking stopping.stop_because out of the configuration."


RULE = Rule(find, would_change, certifies=False)
