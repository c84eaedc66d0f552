"""A folder of results that is there with all of its files, or not at all."""

import shutil
import uuid
from collections.abc import Callable, Collection
from pathlib import Path

from tasks.errors import UserError


def check_results(target: Path, names: Collection[str], *, force: bool) -> None:
    """Make sure that results may go into a folder: it is new or empty, or holds earlier results and nothing else.

    Args:
        target: The folder.
        names: Names of the results.
        force: Whether earlier results may be replaced.

    Raises:
        UserError: Something is there that must not be lost.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError("the results go into a folder", where=str(target), got="a file")
    there = sorted(path.name for path in target.iterdir())
    others = [name for name in there if name not in names]
    if others:
        todo = "Name another folder: --out FOLDER"
        raise UserError("the folder for the results holds other files", where=str(target), got=others[0], todo=todo)
    if there and not force:
        todo = "Name another folder with --out, or replace them with --force."
        raise UserError("results are there already", where=str(target), todo=todo)


def put_results(target: Path, write: Callable[[Path], None]) -> None:
    """Let results be written into a fresh folder beside the target, then put it in the target's place.

    Args:
        target: The folder; what it holds is replaced.
        write: Writes all files into the folder it is given. If it raises, the target stays as it was.

    Raises:
        UserError: The file system refuses.
    """
    fresh, old = (target.parent / f".{target.name}-{uuid.uuid4().hex[:8]}" for _ in range(2))
    try:
        fresh.mkdir(parents=True)
        write(fresh)
        _replace(target, fresh, old)
    except OSError as error:
        raise UserError("the results cannot be written", where=str(target), got=error.strerror or str(error)) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _replace(target: Path, fresh: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
