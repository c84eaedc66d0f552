"""Published hybrid screens: numbered in order, written once, there with all of their files or not at all.

`screens/NNNN/claim.json` is created first, only if absent: it takes the number for one run and fixes the digest of
every file, so that two writers of one folder write the same bytes. The files follow, and `manifest.json`, created last
and only if absent, publishes the screen. It carries the run's summary too: screen and decision become known in the same
moment. A folder without a manifest is nothing, and stays so if nobody completes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.campaigns.summaries import ScreenManifest
from tasks.checkpoints.keys import sha256
from tasks.checkpoints.payloads import encode_json
from tasks.checkpoints.record_files import read_record
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import DamagedCheckpoint
from tasks.errors import UserError

_FOLDER = "screens"


@dataclass(frozen=True)
class PublishedScreen:
    """A screen whose manifest is there.

    Attributes:
        number: Its number, from 1; the newest screen is the highest.
        folder: Folder below the campaign's root.
        round_index: Round that it shows.
        run: Run of that round.
        files: Digest of every file, by name.
        summary: Summary of the run; None in a screen of a release that kept it in the run alone.
    """

    number: int
    folder: str
    round_index: int
    run: int
    files: Mapping[str, str]
    summary: Mapping[str, Any] | None

    def read(self, storage: Storage, name: str) -> dict[str, bytes]:
        """Files of one format: a single one under the empty name, or those of a folder by their names in it.

        Raises:
            UserError: The screen was published without this format.
            DamagedCheckpoint: A file is missing or is not what its digest says.
        """
        wanted = {file: digest for file, digest in self.files.items() if file == name or file.startswith(f"{name}/")}
        if not wanted:
            raise UserError("the screen has no such file", where=storage.locate(self.folder), got=name)
        found = storage.read_many(f"{self.folder}/{file}" for file in wanted)
        for file, digest in wanted.items():
            path = f"{self.folder}/{file}"
            if path not in found or sha256(found[path]) != digest:
                problem = "damaged" if path in found else "missing"
                raise DamagedCheckpoint(f"{storage.locate(path)} is {problem}")
        return {file[len(name) + 1 :]: found[f"{self.folder}/{file}"] for file in wanted}


def published_screens(storage: Storage) -> list[PublishedScreen]:
    """All published screens in order; the last one is the newest."""
    numbers = _numbers(storage)
    paths = {number: f"{_FOLDER}/{number:04d}/manifest.json" for number in numbers}
    found = storage.read_many(paths.values())
    screens = []
    for number, path in paths.items():
        if path not in found:
            continue
        said = read_record(storage, path, found[path], ScreenManifest)
        screens.append(
            PublishedScreen(number, f"{_FOLDER}/{number:04d}", said.round, said.run, said.files, said.summary)
        )
    return screens


def claim_screen(storage: Storage, round_index: int, run: int, files: Mapping[str, bytes]) -> str:
    """Take a number for a screen of this very content.

    The same run with the same content has the same number, in a process that goes on after a crash too; other content
    takes another one.

    Returns:
        The screen's folder.
    """
    claim = encode_json({"round": round_index, "run": run, "files": _digests(files)})
    numbers = _numbers(storage)
    claims = storage.read_many(_claim(number) for number in numbers)
    for number in reversed(numbers):
        if claims.get(_claim(number)) == claim:
            return f"{_FOLDER}/{number:04d}"
    taken = [number for number in numbers if _claim(number) in claims]
    number = (taken[-1] if taken else 0) + 1
    while not storage.create(_claim(number), claim):
        if storage.read(_claim(number)) == claim:
            break
        number += 1
    return f"{_FOLDER}/{number:04d}"


def write_screen(storage: Storage, folder: str, files: Mapping[str, bytes]) -> None:
    """Write the files of a claimed screen. It is not published yet."""
    storage.write_many({f"{folder}/{name}": data for name, data in files.items()})


def commit_screen(
    storage: Storage, folder: str, round_index: int, run: int, files: Mapping[str, bytes], summary: Mapping[str, Any]
) -> bool:
    """Publish a written screen, and with it the run's summary, in one step; False if another writer was first."""
    manifest = {"round": round_index, "run": run, "files": _digests(files), "summary": dict(summary)}
    return storage.create(f"{folder}/manifest.json", encode_json(manifest))


def copy_screen(storage: Storage, screen: PublishedScreen, target: Storage) -> bool:
    """Copy a published screen to the root of another storage: claim, files, manifest, in the order of publishing.

    A copy that was cut short is completed by the next one, and nobody takes it for a screen before.

    Returns:
        True if this call completed the copy, False if it was there.

    Raises:
        UserError: Another screen is there.
        DamagedCheckpoint: A file of the screen is missing or damaged.
    """
    claim, manifest = (storage.read(f"{screen.folder}/{name}.json") for name in ("claim", "manifest"))
    if not target.create("claim.json", claim) and target.read("claim.json") != claim:
        raise UserError("another screen is there", where=target.url, todo="Name another place.")
    if target.exists("manifest.json"):
        return False
    for name in sorted({file.split("/")[0] for file in screen.files}):
        files = screen.read(storage, name)
        target.write_many({f"{name}/{file}" if file else name: data for file, data in files.items()})
    return target.create("manifest.json", manifest)


def _numbers(storage: Storage) -> list[int]:
    return sorted(int(name) for name in storage.folders(_FOLDER) if name.isdecimal())


def _claim(number: int) -> str:
    return f"{_FOLDER}/{number:04d}/claim.json"


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: sha256(data) for name, data in sorted(files.items())}
