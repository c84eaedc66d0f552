"""The stopping rules by name, and how a configuration joins them."""

from __future__ import annotations

from typing import NamedTuple

from tasks.campaigns.config import CampaignConfig
from tasks.errors import UserError
from tasks.stopping import audit_rule, budget, lemma, manual, plateau
from tasks.stopping.rule import Rule

RULES: dict[str, Rule] = {
    "audit": audit_rule.RULE,
    "lemma": lemma.RULE,
    "budget": budget.RULE,
    "plateau": plateau.RULE,
    "manual": manual.RULE,
}


class Joined(NamedTuple):
    """Rules that decide together.

    Attributes:
        names: The rules.
        every: All of them must stop (and), or one is enough (or).
    """

    names: tuple[str, ...]
    every: bool

    @property
    def certifying(self) -> tuple[str, ...]:
        """Rules among them that bound the accuracy; the audit where none does."""
        return tuple(name for name in self.names if RULES[name].certifies) or ("audit",)

    @property
    def parts(self) -> int:
        """How many parts the risk of a look has: where any one of several rules may certify, they share it."""
        return 1 if self.every else len(self.certifying)


def read_rule(text: str, where: str = "stopping.rule") -> Joined:
    """Rules joined by `or` or by `and`, as `audit or budget`.

    Raises:
        UserError: Both words at once, a rule twice, or one that is not known.
    """
    words = text.split()
    names, joints = tuple(words[::2]), set(words[1::2])
    unknown = [name for name in names if name not in RULES]
    if unknown or not words:
        got = repr(unknown[0]) if unknown else repr(text)
        raise UserError("unknown stopping rule", where=where, got=got, expected=f"one of {', '.join(sorted(RULES))}")
    if len(words) % 2 == 0 or not joints <= {"and", "or"} or len(joints) > 1 or len(set(names)) < len(names):
        expected = "different rules, joined by `or` alone or by `and` alone, as audit or budget"
        raise UserError("stopping rules cannot be joined so", where=where, got=repr(text), expected=expected)
    return Joined(names, joints == {"and"})


def check_stopping(config: CampaignConfig, where: str) -> None:
    """Check that what the rules need is configured.

    Args:
        config: The campaign.
        where: The configuration's file, for messages.

    Raises:
        UserError: An unknown rule, a budget without wells or wells without a budget, the lemma with batches that it
            does not apply to, or a reason to stop that no rule reads.
    """
    stopping, slots = config.stopping, config.batch.slots
    names = read_rule(stopping.rule, f"{where}: stopping.rule").names
    for name, key, value in (
        ("budget", "max_wells", stopping.max_wells),
        ("manual", "stop_because", stopping.stop_because),
    ):
        if value is not None and name not in names:
            raise UserError(
                f"stopping.{key} is read by rule {name} alone",
                where=where,
                got=f"stopping.rule {stopping.rule!r}",
                todo=f"Leave stopping.{key} out, or open the campaign with rule {stopping.rule} or {name}.",
            )
    if "budget" in names and stopping.max_wells is None:
        raise UserError("rule budget needs stopping.max_wells", where=where, todo="Say how many sample wells to use.")
    strategies = [slot.strategy for slot in slots] + ([config.batch.hits.strategy] if config.batch.hits else [])
    if "lemma" in names and (len(strategies) != 1 or strategies[0] not in lemma.ORDERED):
        raise UserError(
            "rule lemma needs batches of the least confident alone",
            where=f"{where}: batch.slots",
            got=", ".join(strategies),
            expected=f"one slot, {' or '.join(lemma.ORDERED)}, and no hits",
        )
