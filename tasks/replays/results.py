"""Configuration of a replay from its file, and its results in storage: numbered, never overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from tasks.batches.slots import read_slots
from tasks.campaigns.reading import parse_model, read_text, resolve
from tasks.checkpoints.storage import Storage
from tasks.errors import UserError
from tasks.replays.settings import ReplayConfig

_FOLDER = "results"


def read_replay(path: str | Path) -> ReplayConfig:
    """Read and check the configuration of a replay. Relative paths become absolute.

    Raises:
        UserError: The file is missing, is not YAML, does not fit the model, or names a strategy or an option that there
            is not, or that is not defined for the readout.
    """
    path = Path(path)
    config = parse_model(read_text(path), str(path), ReplayConfig, "a replay")
    for number, arm in enumerate(config.arms):
        read_slots(arm.slots, arm.hits, config.readout.kind, f"{path}: arms.{number}.slots")
    if config.readout.kind == "binary" and any(config.noise_of(screen) for screen in config.screens):
        raise UserError(
            "noise is added to continuous readouts alone", where=f"{path}: screens", got="readout.kind binary"
        )
    folder = path.resolve().parent
    replay = config.replay.model_copy(update={"storage": resolve(config.replay.storage, folder)})
    screens = tuple(screen.model_copy(update={"uri": resolve(screen.uri, folder)}) for screen in config.screens)
    return config.model_copy(update={"replay": replay, "screens": screens})


def dump_replay(config: ReplayConfig) -> str:
    """The configuration as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def storage_of(config: ReplayConfig) -> Storage:
    """Where a replay keeps everything."""
    return Storage(config.replay.storage).below(config.replay.name)


def newest(storage: Storage) -> int:
    """Number of the newest result, 0 where there is none."""
    numbers = [int(name) for name in storage.folders(_FOLDER) if name.isdigit()]
    return max((number for number in numbers if storage.exists(_file(number, "summary.json"))), default=0)


def unchanged(storage: Storage, number: int, files: Mapping[str, bytes]) -> bool:
    """Whether a result holds the same figures and the same configuration."""
    return number > 0 and all(
        storage.read_or_none(_file(number, name)) == files[name] for name in ("figures.parquet", "replay.yaml")
    )


def write_result(storage: Storage, number: int, files: Mapping[str, bytes]) -> str:
    """Write a result; the summary comes last and makes it one. Answers with its folder.

    Raises:
        UserError: Another process has written a result of this number in the meantime.
    """
    for name in sorted(files, key=lambda name: name == "summary.json"):
        if not storage.create(_file(number, name), files[name]) and storage.read(_file(number, name)) != files[name]:
            where = storage.locate(_file(number, name))
            raise UserError("another replay wrote this result", where=where, todo="Run it again: nothing is lost.")
    return f"{_FOLDER}/{number:04d}"


def _file(number: int, name: str) -> str:
    return f"{_FOLDER}/{number:04d}/{name}"
