"""Clean-up: checkpoints that nothing references, withdrawn first and removed a grace period later.

A round that runs meanwhile is not asked and not stopped. It may find a checkpoint at any moment, and names it in a lock
only when it ends. So a checkpoint goes in two steps, each after a grace period that is longer than any round takes:

1. *Withdraw*: its manifest is overwritten with itself, marked as withdrawn. Its payloads stay: who has found it before
   can read them. Who finds it now takes it back by creating the next manifest.
2. *Remove*: the next manifest is created to say that the payloads are gone, and then they are deleted. Of taking back
   and removing one alone can create that file. What is computed again afterwards is stored under other names.

A crash in between is completed by the next clean-up. Two small files of a removed checkpoint stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from tasks.checkpoints.manifest import Manifest, Removed, Withdrawn, read_manifest
from tasks.checkpoints.payloads import encode_json
from tasks.checkpoints.progress import current_listener
from tasks.checkpoints.storage import Entry, Storage
from tasks.checkpoints.store import generation_of, manifest_name

Action = Literal["withdraw", "remove"]


@dataclass(frozen=True)
class Leftover:
    """What the clean-up would do to one folder below `checkpoints/`.

    Attributes:
        folder: The folder.
        node: The node that it was computed for, empty if no manifest tells.
        action: What is due.
        files: Files that are deleted, or will be.
        bytes: Their size.
        since: When it was written, or withdrawn, UTC, ISO 8601.
        generation: Of the manifest that removing creates.
        resumed: Whether removing was begun before.
    """

    folder: str
    node: str
    action: Action
    files: tuple[str, ...]
    bytes: int
    since: str
    generation: int
    resumed: bool = False


@dataclass(frozen=True)
class Survey:
    """What lies below `checkpoints/`: referenced, not referenced but too young, and what is due."""

    referenced: int
    young: int
    due: tuple[Leftover, ...]


def survey(
    storage: Storage,
    references: Callable[[], Collection[str]],
    keep: Callable[[str], bool],
    now: datetime,
    grace: timedelta,
) -> Survey:
    """Look what is due. Nothing is changed.

    Args:
        storage: The campaign's files.
        references: Gives the folders that something references. Asked after the listing, so that it is the newer.
        keep: Whether a node's checkpoint is wanted although nothing references it.
        now: The present, with a time zone.
        grace: How old what is withdrawn, and how long withdrawn what is removed.
    """
    folders: dict[str, dict[str, Entry]] = {}
    for path, entry in storage.entries("checkpoints").items():
        parts = path.split("/", 4)
        if len(parts) == 5:
            folders.setdefault("/".join(parts[:4]), {})[parts[4]] = entry
    needed = references()
    due, young, referenced = [], 0, 0
    for folder, files in folders.items():
        current_listener().started(folder)
        if folder in needed:
            referenced += 1
        elif max(entry.modified for entry in files.values()) > now - grace:
            young += 1
        elif (found := _leftover(storage, folder, files)) is not None:
            if found.action == "withdraw" and keep(found.node):
                referenced += 1
            elif datetime.fromisoformat(found.since) > now - grace:
                young += 1
            else:
                due.append(found)
    return Survey(referenced, young, tuple(due))


def _leftover(storage: Storage, folder: str, files: Mapping[str, Entry]) -> Leftover | None:
    """What is to be done with an old folder that nothing references; None if it was removed before."""
    generations = {number: name for name in files if (number := generation_of(name)) is not None}
    payloads = {name: entry for name, entry in files.items() if name not in generations.values()}
    if not payloads:
        return None
    newest = max(generations, default=0)
    stated = read_manifest(storage.read(f"{folder}/{generations[newest]}")) if newest else None
    since = max(entry.modified for entry in payloads.values()).isoformat()
    action: Action = "remove"
    node, names, resumed = "", set(payloads), False
    if isinstance(stated, Manifest):
        action, node, since = "withdraw", stated.node, max(since, stated.ended)
    elif isinstance(stated, Withdrawn):
        node, since = stated.manifest.node, stated.withdrawn
    elif isinstance(stated, Removed) and (begun := names & set(stated.files)):
        names, since, resumed = begun, stated.removed, True
    size = sum(payloads[name].size for name in names)
    return Leftover(folder, node, action, tuple(sorted(names)), size, since, newest + (not resumed), resumed)


def carry_out(
    storage: Storage, due: Collection[Leftover], references: Callable[[], Collection[str]], now: datetime
) -> list[Leftover]:
    """Withdraw and remove.

    Args:
        storage: The campaign's files.
        due: What a survey found a moment ago.
        references: Gives the folders that something references; asked once more.
        now: The present, with a time zone.

    Returns:
        What was done. What a round has taken back meanwhile is not among it.
    """
    done, needed = [], references() if due else ()
    for each in due:
        if each.folder in needed:
            continue
        current_listener().started(each.folder)
        if (_withdraw if each.action == "withdraw" else _remove)(storage, each, now):
            done.append(each)
    return done


def _withdraw(storage: Storage, each: Leftover, now: datetime) -> bool:
    for generation in range(1, each.generation):
        path = f"{each.folder}/{manifest_name(generation)}"
        stated = read_manifest(storage.read(path))
        if isinstance(stated, Manifest):
            storage.write(path, _encode(Withdrawn(withdrawn=now.isoformat(), manifest=stated)))
    return True


def _remove(storage: Storage, each: Leftover, now: datetime) -> bool:
    last = f"{each.folder}/{manifest_name(each.generation)}"
    gone = Removed(removed=now.isoformat())
    claim = gone.model_copy(update={"files": each.files})
    if not each.resumed and not storage.create(last, _encode(claim)):
        return False
    storage.remove_many(f"{each.folder}/{name}" for name in each.files)
    for generation in range(1, each.generation + 1):  # from here on they only hold the numbers
        storage.write(f"{each.folder}/{manifest_name(generation)}", _encode(gone))
    return True


def _encode(entry: Withdrawn | Removed) -> bytes:
    return encode_json(entry.model_dump(mode="json"))
