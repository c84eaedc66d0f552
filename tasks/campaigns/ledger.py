"""The ledger: what was opened, released, uploaded, computed and published. The object store is its only state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import anndata
import numpy as np

from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.designs import Design, read_design, round_folder
from tasks.campaigns.reading import dump_config, parse_config
from tasks.campaigns.screens import commit_screen, published_screens, write_screen
from tasks.campaigns.summaries import read_summary
from tasks.checkpoints.keys import digest, sha256
from tasks.checkpoints.manifest import StoredPayload
from tasks.checkpoints.payloads import Payload, encode, encode_json
from tasks.checkpoints.record_files import read_record, stored_record
from tasks.checkpoints.records import RoundLock
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore, DamagedCheckpoint, describe
from tasks.errors import UserError

_LIBRARY_MANIFEST = "library/manifest.json"
_AT_A_TIME = 16
_UNNAMEABLE = "name of the file: a backslash, .. or a character that cannot be seen in it; upload it under another"
# Tolerance, threshold, rule and risk too: a second yardstick for the same audit would be a look that spends nothing.
# And a veto that was lifted would bring back perturbations that no audit member was ever drawn from.
_FIXED = {
    "campaign": ("name", "seed"),
    "library": ("id", "features", "reagents"),
    "readout": ("kind", "tolerance", "threshold", "transform", "output"),
    "plates": ("format",),
    "batch": ("audit", "veto"),
    "stopping": ("rule", "risk"),
}

_MAY_COME_LATER = ("batch", "veto", None)


def _without_places(config: CampaignConfig) -> dict[str, Any]:
    """Everything but where files lie: a campaign that was moved is the same campaign."""
    return config.model_dump(exclude={"campaign": {"storage"}, "library": {"uri"}})


@dataclass(frozen=True)
class Upload:
    """A file in the inbox. One whose name nothing can be called by is not read: `problem` says why."""

    path: str
    sha256: str
    problem: str = ""

    def ref(self) -> Ref:
        """Reference to the file's bytes."""
        return Ref(uri=self.path, sha256=self.sha256, kind="text")


@dataclass(frozen=True)
class Run:
    """One time that a round was computed. `summary` is None while it is not finished.

    `source` is its lock, or gives it: a lock names every step of a round, and most questions need none.
    """

    round_index: int
    number: int
    folder: str
    source: RoundLock | Callable[[], RoundLock]
    summary: Mapping[str, Any] | None

    @cached_property
    def lock(self) -> RoundLock:
        """Every input digest, parameter, version and seed of this run.

        Raises:
            DamagedCheckpoint: It is missing or damaged.
        """
        return self.source if isinstance(self.source, RoundLock) else self.source()

    @property
    def decided(self) -> bool:
        """Whether the run came to a decision and published a screen."""
        return self.summary is not None and self.summary["status"] == "decided"


def _revision(number: int) -> str:
    return f"revisions/{number:04d}.yaml"


def _run_folder(round_index: int, number: int) -> str:
    return f"{round_folder(round_index)}/runs/{number:02d}"


class Ledger:
    """Reads and extends the record of one campaign.

    Args:
        storage: The campaign's folder.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    @classmethod
    def of(cls, config: CampaignConfig) -> Ledger:
        """The ledger where the configuration says."""
        return cls(Storage(config.campaign.storage).below(config.campaign.name))

    # Revisions of the configuration

    def revisions(self) -> list[int]:
        """Numbers of the configuration's revisions."""
        names = [path.rsplit("/", 1)[-1] for path in self.storage.list("revisions")]
        numbers = [name.removesuffix(".yaml") for name in names if name.endswith(".yaml")]
        return sorted(int(number) for number in numbers if number.isdecimal())

    def config(self, revision: int) -> CampaignConfig:
        """The configuration of a revision."""
        path = _revision(revision)
        try:
            text = self.storage.read(path).decode()
        except UnicodeDecodeError as error:
            raise DamagedCheckpoint(f"{self.storage.locate(path)} is damaged: not UTF-8") from error
        return parse_config(text, self.storage.locate(path))

    def revise(self, config: CampaignConfig) -> int:
        """Record the configuration as a new revision if it differs from the newest.

        Raises:
            UserError: If something that is fixed for the life of a campaign would change.
        """
        numbers = self.revisions()
        number = numbers[-1] if numbers else 0
        while True:
            while self.storage.exists(_revision(number + 1)):  # the listing may not know of it yet
                number += 1
            if number:
                last = self.config(number)
                if _without_places(last) == _without_places(config):
                    return number
                if self.storage.exists(f"{round_folder(0)}/design/design.json"):
                    self._refuse_fixed(last, config)
            if self.storage.create(_revision(number + 1), dump_config(config).encode()):
                return number + 1

    def _refuse_fixed(self, last: CampaignConfig, config: CampaignConfig) -> None:
        for section, names in _FIXED.items():
            for name in names:
                before, now = getattr(getattr(last, section), name), getattr(getattr(config, section), name)
                if before != now and (section, name, before) != _MAY_COME_LATER:
                    raise UserError(
                        f"{section}.{name} cannot change once a campaign is open",
                        where=self.storage.url,
                        got=repr(now),
                        expected=repr(before),
                        todo="Open a campaign of another name instead.",
                    )

    def require_open(self) -> None:
        """Raise a UserError if the campaign has not been opened."""
        if read_design(self.storage, 0) is None:
            raise UserError(
                "no such campaign", where=self.storage.url, todo="Open it first: hybridscreen open campaign.yaml"
            )

    # Library

    def register_library(self, library: anndata.AnnData) -> Ref:
        """Write the library once.

        Raises:
            UserError: If another library is registered already.
        """
        payload = Payload("anndata", library)
        files = encode(payload)
        stored = describe("library/library", payload, files)
        known = self.library()
        if known is not None:
            self._refuse_other(known, stored.ref(), library)
            return known
        self.storage.write_many(dict(zip(stored.paths(), files.values(), strict=True)))
        self.storage.create(_LIBRARY_MANIFEST, encode_json(stored.model_dump(mode="json")))
        return stored.ref()

    def _refuse_other(self, known: Ref, given: Ref, library: anndata.AnnData) -> None:
        """Refuse a library of other ids or features. Other bytes alone may come from another version of a package."""
        if known == given:
            return
        registered = CheckpointStore(self.storage).load(known)
        same = registered.obs_names.equals(library.obs_names) and np.array_equal(registered.X, library.X)
        if not same:
            raise UserError(
                "the library differs from the one this campaign was opened with",
                where=self.storage.url,
                todo="A library is fixed for the life of a campaign; open another for the new one.",
            )

    def library(self) -> Ref | None:
        """Reference to the registered library, None before the campaign is opened."""
        stored = self.library_files()
        return None if stored is None else stored.ref()

    def library_files(self) -> StoredPayload | None:
        """The registered library with its files, None before the campaign is opened.

        Raises:
            DamagedCheckpoint: Its manifest is damaged.
        """
        data = self.storage.read_or_none(_LIBRARY_MANIFEST)
        return None if data is None else read_record(self.storage, _LIBRARY_MANIFEST, data, StoredPayload)

    # Designs and uploads

    def designs(self) -> list[Design]:
        """Released designs in the order of their rounds."""
        found: list[Design] = []
        while (design := read_design(self.storage, len(found))) is not None:
            found.append(design)
        return found

    def uploads(self) -> list[Upload]:
        """Files of the inbox with their digests. The inbox is never written, moved or deleted."""
        listed = sorted(self.storage.list("inbox"))
        paths = [path for path in listed if _can_be_named(path)]
        found = [Upload(path, "", _UNNAMEABLE) for path in listed if not _can_be_named(path)]
        for first in range(0, len(paths), _AT_A_TIME):  # an inbox may hold more than fits into memory
            contents = self.storage.read_many(paths[first : first + _AT_A_TIME])
            found += [Upload(path, sha256(data)) for path, data in sorted(contents.items())]
        return found

    def sign(self) -> str:
        """Digest that differs if what a plan is made from does: uploads, designs, marks, answers, runs, revisions.

        Uploads are listed, not read; all else is written once, so that its presence tells it. What it does not tell is
        damage to checkpoints.
        """
        seen = {prefix: self.storage.signs(prefix) for prefix in ("inbox", "revisions", "rounds")}
        return digest([self.storage.url, seen])

    # Runs and screens

    def runs(self, round_index: int) -> list[Run]:
        """Runs of a round in order, unfinished ones included."""
        listed = self.storage.folders(f"{round_folder(round_index)}/runs")
        names = sorted((name for name in listed if name.isdecimal()), key=int)
        folders = {int(name): _run_folder(round_index, int(name)) for name in names}
        said = self.storage.read_many(f"{folder}/run.json" for folder in folders.values())
        told = {number: said.get(f"{folder}/run.json") for number, folder in folders.items()}
        return [run for number, data in told.items() if (run := self._told(round_index, number, data)) is not None]

    def _run(self, round_index: int, number: int) -> Run | None:
        """A run by its number, None if nobody has claimed it."""
        summary = self.storage.read_or_none(f"{_run_folder(round_index, number)}/run.json")
        return self._told(round_index, number, summary)

    def _told(self, round_index: int, number: int, summary: bytes | None) -> Run | None:
        """A run from its summary, or, where that is not written yet, from what it has claimed."""
        folder = _run_folder(round_index, number)
        lock = f"{folder}/round.lock.json"
        if summary is not None:
            known = read_summary(self.storage, f"{folder}/run.json", summary)
            return Run(round_index, number, folder, partial(self._lock, lock), known)
        if not self.storage.exists(lock):
            return None
        return Run(round_index, number, folder, self._lock(lock), self._committed(round_index, number))

    def _lock(self, path: str) -> RoundLock:
        return stored_record(self.storage, path, RoundLock)

    def last_decided(self, round_index: int) -> Run | None:
        """The newest run of a round that came to a decision."""
        decided = [run for run in self.runs(round_index) if run.decided]
        return decided[-1] if decided else None

    def looks(self) -> list[Run]:
        """All decided runs of all rounds, in the order their screens were published."""
        decided = [run for design in self.designs() for run in self.runs(design.round_index) if run.decided]
        return sorted(decided, key=lambda run: str((run.summary or {}).get("screen", "")))

    def claim_run(self, lock: RoundLock) -> Run:
        """The run of this lock: the newest one if its lock is the same, else a new one of the next number."""
        data = encode_json(lock.model_dump(mode="json"))
        runs = self.runs(lock.round)
        last, number = (runs[-1], runs[-1].number) if runs else (None, 0)
        while True:
            while (newer := self._run(lock.round, number + 1)) is not None:  # the listing may not know of it yet
                last, number = newer, newer.number
            if last is not None and last.lock.nodes == lock.nodes:
                return last if last.summary is None else self._close(last, last.summary)
            folder = _run_folder(lock.round, number + 1)
            if self.storage.create(f"{folder}/round.lock.json", data):
                return Run(lock.round, number + 1, folder, lock, None)

    def finish_run(self, run: Run, files: Mapping[str, str], summary: Mapping[str, Any]) -> Run:
        """Write the files of a run, then `run.json`, which makes it finished. Gives the finished run."""
        self._write_files(run, files)
        return self._close(run, summary)

    def publish_run(
        self, run: Run, screen: str, contents: Mapping[str, bytes], files: Mapping[str, str], summary: Mapping[str, Any]
    ) -> tuple[Run, bool]:
        """Publish a hybrid screen and its run. Before the screen's manifest is there, neither is; then, both are.

        Args:
            run: The claimed run.
            screen: Folder that `claim_screen` gave for these contents.
            contents: Files of the screen by name.
            files: Files of the run by name.
            summary: What `run.json` will say.

        Returns:
            The finished run, and whether this call published it: of several that compute a run at once, one does.
        """
        write_screen(self.storage, screen, contents)
        self._write_files(run, files)
        won = commit_screen(self.storage, screen, run.round_index, run.number, contents, summary)
        return self._close(run, summary), won

    def _write_files(self, run: Run, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            self.storage.create(f"{run.folder}/{name}", text.encode())

    def _close(self, run: Run, summary: Mapping[str, Any]) -> Run:
        self.storage.create(f"{run.folder}/run.json", encode_json(dict(summary)))
        path = f"{run.folder}/run.json"
        return replace(run, summary=read_summary(self.storage, path, self.storage.read(path)))

    def _committed(self, round_index: int, run: int) -> Mapping[str, Any] | None:
        """Summary of a run whose screen was published, but which a crash kept from writing its own."""
        known = [s for s in published_screens(self.storage) if (s.round_index, s.run) == (round_index, run)]
        return known[0].summary if known else None


def _can_be_named(path: str) -> bool:
    """Whether the name of an upload can stand in messages, tables and paths."""
    return path.isprintable() and "\\" not in path and ".." not in path.split("/")
