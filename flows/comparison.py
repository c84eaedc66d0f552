"""`hybridscreen diff`: two published screens of a campaign beside each other. Read-only, no flow."""

from collections import Counter

from flows.console import at_least
from flows.results import Result
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.designs import stored_table
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.screens import PublishedScreen, published_screens
from tasks.checkpoints.payloads import decode
from tasks.errors import UserError
from tasks.publishing.diff import Change, ScreenDiff, Side, ValueChange, compare_screens
from tasks.publishing.formats import ZARR

_MOST = 10  # lines of one kind on a terminal; --json has all


class Compared(Result):
    """Answer of `diff`."""

    diff: ScreenDiff


def compare_published(config: CampaignConfig, before: int, after: int) -> Compared:
    """What changed from one published screen to another, and why.

    Args:
        config: Configuration of the campaign.
        before: Number of the one screen, from 1.
        after: Number of the other.

    Raises:
        UserError: There is no such screen.
    """
    ledger = Ledger.of(config)
    ledger.require_open()
    known = {screen.number: screen for screen in published_screens(ledger.storage)}
    for number in (before, after):
        if number not in known:
            there = f"one of {', '.join(map(str, known))}" if known else "a published screen; there is none yet"
            raise UserError("no such screen", where=ledger.storage.locate("screens"), got=number, expected=there)
    sides = [_side(ledger, known[number]) for number in (before, after)]
    return Compared(campaign=config.campaign.name, location=ledger.storage.url, diff=compare_screens(*sides))


def _side(ledger: Ledger, published: PublishedScreen) -> Side:
    run = next((run for run in ledger.runs(published.round_index) if run.number == published.run), None)
    if run is None:
        where = f"screen {published.number}"
        raise UserError("the run behind the screen is gone", where=where, todo="Look at: hybridscreen verify")
    plates = stored_table(ledger.storage, f"{run.folder}/plates.csv")
    screen = decode("anndata", published.read(ledger.storage, ZARR))
    return Side(published.number, published.round_index, published.run, screen, run.lock, plates)


def diff_lines(found: Compared) -> list[str]:
    """The comparison for people."""
    diff = found.diff
    old, new = diff.before, diff.after
    flags = Counter(f"{_said(change.before)} → {_said(change.after)}" for change in diff.flags)
    lines = [
        f"Screen {old['screen']} (round {old['round']}, run {old['run']}) → "
        f"screen {new['screen']} (round {new['round']}, run {new['run']})",
        f"  newly measured: {len(diff.newly_measured)}; no longer measured: {len(diff.no_longer_measured)}; "
        f"measured from other wells: {len(diff.measured_again)}",
        *_block("changed beyond their standard errors", [_value(change) for change in diff.beyond_errors]),
        *_block("changed beyond the tolerance", [_value(change) for change in diff.beyond_tolerance]),
        *_block("of another sign or class", [_value(change) for change in diff.crossed]),
        f"  flags: {len(diff.flags)}",
        *(f"    {said}: {count}" for said, count in sorted(flags.items())),
        *_block("certificate", [_entry(change) for change in diff.certificate], len(diff.certificate)),
        *_block("plates", [_change(change) for change in diff.plates]),
    ]
    roots = [f"{change.node}: {change.reason}" for change in diff.nodes if change.root]
    lines += _block("why (steps that no other change explains)", roots)
    lines += _block("package versions", [_change(change) for change in diff.versions])
    follow = len(diff.nodes) - len(roots)
    return [*lines, f"  steps that follow from these, or are gone: {follow} (--json names them)"]


def _block(title: str, rows: list[str], most: int = _MOST) -> list[str]:
    """A heading with its number, and the first rows."""
    more = [f"    and {len(rows) - most} more (--json)"] if len(rows) > most else []
    return [f"  {title}: {len(rows)}", *(f"    {row}" for row in rows[:most]), *more]


def _value(change: ValueChange) -> str:
    size = "" if change.standard_errors is None else f", {change.standard_errors:.1f} standard errors"
    return f"{change.perturbation}: {change.before:.4g} → {change.after:.4g}{size} ({change.why})"


def _change(change: Change) -> str:
    return f"{change.name}: {_said(change.before)} → {_said(change.after)}"


def _entry(change: Change) -> str:
    """As `_change`; a bound is rounded down, so that it never reads higher than it is."""
    if change.name == "bound" and isinstance(change.before, float) and isinstance(change.after, float):
        return f"bound: {at_least(change.before)} → {at_least(change.after)}"
    return _change(change)


def _said(value: str | float | bool | None) -> str:
    if value is None or value == "":
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
