"""Clean-up of checkpoints that no run of the campaign references. Read-only unless it is told to delete; no flow."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.results import Result
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.references import referenced_folders
from tasks.checkpoints.collecting import Leftover, carry_out, survey
from tasks.checkpoints.storage import Storage

_MOST_NAMED = 10


class Collected(Result):
    """Answer of `gc`.

    `withdrawn` and `removed` are checkpoints (folder, node, files, bytes, since) to which that was done, or is due
    where `deleted` is False. `young` are not referenced either, but the grace period [days] is not over; `referenced`
    are needed.
    """

    deleted: bool
    grace: int
    withdrawn: list[dict[str, Any]]
    removed: list[dict[str, Any]]
    young: int
    referenced: int


def collect_campaign(config: CampaignConfig, grace: int, *, delete: bool, now: datetime | None = None) -> Collected:
    """Tell which checkpoints nothing references, and with `delete` withdraw or remove them.

    Only files below `checkpoints/` are ever touched.

    Args:
        config: The campaign.
        grace: Days that lie between a checkpoint's last file and its withdrawal, and between that and its removal.
        delete: Do it.
        now: The present, with a time zone; the clock's by default.
    """
    ledger = Ledger.of(config)
    ledger.require_open()
    storage, now = ledger.storage, now or datetime.now(UTC)
    seen = survey(storage, lambda: referenced_folders(storage), _wanted(storage), now, timedelta(days=grace))
    due = carry_out(storage, seen.due, lambda: referenced_folders(storage), now) if delete else list(seen.due)
    return Collected(
        campaign=config.campaign.name,
        location=storage.url,
        deleted=delete,
        grace=grace,
        withdrawn=[_row(each) for each in due if each.action == "withdraw"],
        removed=[_row(each) for each in due if each.action == "remove"],
        young=seen.young,
        referenced=seen.referenced,
    )


def _wanted(storage: Storage) -> Callable[[str], bool]:
    """Files of the inbox of which no plate was used are in no lock; they would be parsed anew by every round."""
    there = {path.removeprefix("inbox/") for path in storage.list("inbox")}
    return lambda node: node.startswith("parse/") and node.removeprefix("parse/") in there


def _row(each: Leftover) -> dict[str, Any]:
    return {
        "folder": each.folder,
        "node": each.node,
        "files": len(each.files),
        "bytes": each.bytes,
        "since": each.since,
    }


def collect_lines(found: Collected, config: object) -> list[str]:
    """The answer in lines for a terminal."""
    lines = [
        f"{found.referenced} checkpoints are referenced; {found.young} are not, but were written, withdrawn or begun "
        f"less than {found.grace} days ago"
    ]
    would = "" if found.deleted else "would be "
    lines += _listed(f"{would}withdrawn (a round may take them back)", found.withdrawn)
    lines += _listed(f"{would}removed", found.removed)
    if found.deleted and found.withdrawn:
        lines.append(f"The next gc after {found.grace} days removes what no round has taken back.")
    if not found.deleted and (found.withdrawn or found.removed):
        lines.append(f"Nothing was changed. To do it: hybridscreen gc {config} --delete")
    return lines


def _listed(what: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """How many, how large, and the first by stage."""
    if not rows:
        return []
    size, stages = sum(row["bytes"] for row in rows), Counter(row["folder"].split("/")[1] for row in rows)
    named = ", ".join(f"{stage} {count}" for stage, count in stages.most_common(_MOST_NAMED))
    return [f"{len(rows)} {what}: {sum(row['files'] for row in rows)} files, {size / 2**20:.1f} MiB ({named})"]
