"""What the locks of a campaign's runs reference: who made a checkpoint, who reads it, what rests on it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from tasks.campaigns.designs import round_folder
from tasks.checkpoints.records import NodeRecord, RoundLock
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import DamagedCheckpoint, checkpoint_folder


@dataclass(frozen=True)
class LockOf:
    """The lock of one run of a round, whether it is finished or not."""

    round_index: int
    run: int
    lock: RoundLock

    @property
    def name(self) -> str:
        """Round and run in words."""
        return f"round {self.round_index} run {self.run:02d}"


@dataclass
class Checkpoint:
    """What the locks say of one checkpoint.

    Attributes:
        used: Nodes of runs whose checkpoint it is, in words: `labels of round 0 run 01`.
        digests: Of what they gave.
        fed: For each run that reads it: run in words, the nodes that read it, and how many further nodes rest on those.
    """

    used: list[str] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    fed: list[tuple[str, list[str], int]] = field(default_factory=list)


def read_locks(storage: Storage) -> Iterator[LockOf]:
    """The locks of all runs of all rounds in order, one in memory at a time.

    Raises:
        DamagedCheckpoint: One cannot be read: what it references is not known.
    """
    for folder in filter(str.isdecimal, storage.folders("rounds")):
        number = int(folder)
        for run in filter(str.isdecimal, storage.folders(f"{round_folder(number)}/runs")):
            path = f"{round_folder(number)}/runs/{run}/round.lock.json"
            data = storage.read_or_none(path)
            if data is None:
                continue
            try:
                lock = RoundLock.model_validate_json(data)
            except ValidationError as error:
                raise DamagedCheckpoint(f"{storage.locate(path)} is damaged: not a lock") from error
            yield LockOf(number, int(run), lock)


def referenced_folders(storage: Storage) -> set[str]:
    """Folders of the checkpoints that some lock names."""
    return {folder_of(record) for found in read_locks(storage) for record in found.lock.nodes.values()}


def folder_of(record: NodeRecord) -> str:
    """Folder of a node's checkpoint."""
    return checkpoint_folder(record.stage, record.key)


def look_up(storage: Storage, folders: Collection[str]) -> dict[str, Checkpoint]:
    """Who made some checkpoints, and what they feed, in whatever run of whatever round, by folder."""
    found = {folder: Checkpoint() for folder in folders}
    for each in read_locks(storage) if found else ():
        for name, record in each.lock.nodes.items():
            if (known := found.get(folder_of(record))) is not None:
                known.used.append(f"{name} of {each.name}")
                known.digests.update(ref.sha256 for ref in record.outputs.values())
    for each in read_locks(storage) if found else ():
        readers = _readers(each.lock.nodes)
        for known in found.values():
            if direct := sorted({name for digest in known.digests for name in readers.get(digest, [])}):
                rest = _reach(each.lock.nodes, readers, direct) - set(direct)
                known.fed.append((each.name, direct, len(rest)))
    return found


def _readers(nodes: Mapping[str, NodeRecord]) -> dict[str, list[str]]:
    """Nodes by the digest of what they read."""
    readers: dict[str, list[str]] = {}
    for name, record in nodes.items():
        for digest in set(record.inputs.values()):
            readers.setdefault(digest, []).append(name)
    return readers


def _reach(nodes: Mapping[str, NodeRecord], readers: Mapping[str, list[str]], names: list[str]) -> set[str]:
    """Everything that rests on some nodes, and they themselves."""
    reached, front = set(names), set(names)
    while front:
        digests = {ref.sha256 for name in front for ref in nodes[name].outputs.values()}
        front = {reader for digest in digests for reader in readers.get(digest, [])} - reached
        reached |= front
    return reached
