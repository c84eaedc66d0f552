"""Is everything stored still what it was? Names what is not, who made it and what rests on it. Read-only, no flow."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, Field

from flows.results import Result
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.designs import round_folder
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.references import look_up, referenced_folders
from tasks.checkpoints.progress import current_listener
from tasks.checkpoints.store import CheckpointStore

_MOST_NAMED = 4
_AT_A_TIME = 16


class Damage(BaseModel):
    """A checkpoint that is missing or damaged.

    Attributes:
        folder: Its folder.
        problems: What is wrong, one line a file.
        used: Nodes of runs that it is the checkpoint of, in words: `fit/000 of round 1 run 02`.
        feeds: What reads it, in words. Empty if nothing does.
    """

    model_config = ConfigDict(frozen=True)

    folder: str
    problems: list[str]
    used: list[str]
    feeds: list[str]


class Verified(Result):
    """Answer of `verify`.

    `problems`: one line a file that is not what it was. `checkpoints`: those of checkpoints again, with who made and
    who reads them. `repaired`: what `--repair` has computed again, in words.
    """

    files: int
    problems: list[str]
    checkpoints: list[Damage]
    repaired: list[str] = Field(default_factory=list)


def verify_campaign(config: CampaignConfig) -> Verified:
    """Re-read everything that carries a digest: checkpoints, library, designs and screens."""
    ledger = Ledger.of(config)
    ledger.require_open()
    files, harmed = _harmed(ledger)
    expected = _recorded_digests(ledger)
    others = []
    paths = list(expected)
    for first in range(0, len(paths), _AT_A_TIME):  # a library or a screen may be larger than memory
        found = ledger.storage.read_many(paths[first : first + _AT_A_TIME])
        for path in paths[first : first + _AT_A_TIME]:
            if path not in found:
                others.append(f"{path} is missing")
            elif hashlib.sha256(found[path]).hexdigest() != expected[path]:
                others.append(f"{path} is damaged")
    return Verified(
        campaign=config.campaign.name,
        location=ledger.storage.url,
        files=files + len(expected),
        problems=[line for lines in harmed.values() for line in lines] + others,
        checkpoints=told(ledger, harmed),
    )


def damaged_checkpoints(ledger: Ledger) -> dict[str, list[str]]:
    """Problems of every damaged or missing checkpoint, by its folder."""
    return _harmed(ledger)[1]


def _harmed(ledger: Ledger) -> tuple[int, dict[str, list[str]]]:
    """How many files checkpoints have, and the problems by folder."""
    store, listener = CheckpointStore(ledger.storage), current_listener()
    problems: dict[str, list[str]] = {}
    there, files = set(), 0
    for path, manifest in store.manifests():
        listener.started(path)
        folder = str(PurePosixPath(path).parent)
        there.add(folder)
        if manifest is None:
            problems[folder] = [f"{path} is not a manifest"]
            continue
        files += sum(len(payload.files) for payload in manifest.payloads.values())
        if lines := store.damage(manifest):
            problems[folder] = lines
    missing = sorted(referenced_folders(ledger.storage) - there)
    return files, problems | {folder: [f"checkpoint {folder} is missing"] for folder in missing}


def told(ledger: Ledger, harmed: Mapping[str, Sequence[str]]) -> list[Damage]:
    """Damage with who made it and what it feeds, by the locks of all runs."""
    known = look_up(ledger.storage, harmed)
    return [
        Damage(
            folder=folder,
            problems=list(lines),
            used=known[folder].used,
            feeds=[_fed(*each) for each in known[folder].fed],
        )
        for folder, lines in harmed.items()
    ]


def _fed(run: str, nodes: Sequence[str], rest: int) -> str:
    """What a checkpoint feeds in one run, in words."""
    named = ", ".join(nodes[:_MOST_NAMED])
    named += f" and {len(nodes) - _MOST_NAMED} more" if len(nodes) > _MOST_NAMED else ""
    return f"{named} in {run}" + (f", on which {rest} further steps rest" if rest else "")


def verify_lines(found: Verified) -> list[str]:
    """The answer in lines for a terminal."""
    verdict = f"problems: {len(found.problems)}" if found.problems else "all as recorded"
    lines = [f"{found.files} files checked: {verdict}."]
    named = set()
    for damage in found.checkpoints:
        lines += [f"  {line}" for line in damage.problems]
        named.update(damage.problems)
        lines += [f"    checkpoint of {', '.join(damage.used) or 'no run: nothing needs it'}"]
        lines += [f"    feeds {fed}" for fed in damage.feeds]
    lines += [f"  {line}" for line in found.problems if line not in named]
    return lines + [f"  repaired: {line}" for line in found.repaired]


def _recorded_digests(ledger: Ledger) -> dict[str, str]:
    """Path to digest of every file of the library, the designs and the published screens."""
    storage = ledger.storage
    stored = json.loads(storage.read("library/manifest.json"))
    expected = {f"{stored['uri']}/{name}": file["sha256"] for name, file in stored["files"].items()}
    folders = [f"{round_folder(design.round_index)}/design" for design in ledger.designs()]
    folders += [f"screens/{name}" for name in storage.folders("screens")]
    for folder in folders:
        record = f"{folder}/{'design' if folder.startswith('rounds') else 'manifest'}.json"
        if storage.exists(record):
            expected |= {
                f"{folder}/{name}": digest for name, digest in json.loads(storage.read(record))["files"].items()
            }
    return expected
