"""Fuzzes one parser in a process of its own, so that memory and time are its own too; run by `campaigns.run_parser`.

Arguments: parser, number of cases, seed, folder. Standard output: one line of JSON, the figures. The number of the case
at hand stands in `folder/at`, so that who watches can tell where a parser hangs, and hostile files that broke it are
kept in `folder/broken/CASE`.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from pathlib import Path

import numpy as np
from mutation import Files, mutate, pick
from parsers import Parser, parsers, write

from tasks.errors import HybridScreenError

LINE = 4000  # characters of a refusal that is still one line for a person
_CORPUS = 200


def seconds() -> float:
    """Computing of this process and its children."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak() -> tuple[int, int]:
    """Largest memory so far of this process, and of a child [KiB]."""
    return (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    )


def one_line(error: HybridScreenError) -> str | None:
    """What is wrong with the words of a refusal; None if they are one printable line of a sane length."""
    text = str(error)
    if not text or not text.isprintable():
        return f"not one printable line: {text[:300]!r}"
    return f"{len(text)} characters: {text[:200]}" if len(text) > LINE else None


def skeleton(error: HybridScreenError) -> str:
    """A refusal without what is particular to the file: refusals of one kind have one."""
    return re.sub(r"'(?:[^'\\]|\\.)*'|\"[^\"]*\"|[0-9]+|/\S+", "#", str(error))[:120]


def attempt(parser: Parser, number: int, rng: np.random.Generator, corpus: list[tuple[int, Files]], folder: Path):
    """One case: hostile files from a good example, or from hostile ones that were refused in a new way."""
    if corpus and rng.random() < 0.3:
        which, files = pick(rng, corpus)
    else:
        which = int(rng.integers(len(parser.cases)))
        files = parser.cases[which][0]
    files = mutate(rng, files)
    return which, files, parser.cases[which][1]


def run(name: str, count: int, seed: int, folder: Path) -> dict[str, object]:
    """Figures of a parser: cases, accepted, refused, kinds of refusal, slowest, memory, what broke."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        parser = parsers(Path(scratch))[name]()
        place = Path(scratch) / "case"
        for files, read in parser.cases:  # a good example that is refused would make every figure void
            read(files, place)
        return _run(parser, name, count, seed, folder, place)


def _run(parser: Parser, name: str, count: int, seed: int, folder: Path, place: Path) -> dict[str, object]:
    at = os.open(folder / "at", os.O_WRONLY | os.O_CREAT)
    corpus: list[tuple[int, Files]] = []
    kinds: set[str] = set()
    broken: list[str] = []
    accepted, slowest, (own, child) = 0, (0.0, -1), peak()
    started = time.monotonic()
    for number in range(count):
        os.pwrite(at, f"{number:9d}".encode(), 0)
        rng = np.random.default_rng([zlib.crc32(name.encode()), seed, number])
        which, files, read = attempt(parser, number, rng, corpus, folder)
        before = seconds()
        problem = None
        try:
            read(files, place)
            accepted += 1
        except HybridScreenError as error:
            problem = one_line(error)
            if (kind := skeleton(error)) not in kinds:
                kinds.add(kind)
                corpus = [*corpus, (which, files)][-_CORPUS:]
        except Exception as error:  # noqa: BLE001 - every other exception is what is looked for
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/tasks/" in frame.filename]
            where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
            problem = f"{type(error).__name__} at {where}: {str(error)[:200]!r}"
        took = seconds() - before
        slowest = max(slowest, (took, number))
        if problem is not None:
            broken.append(f"case {number}: {problem}")
            write(folder / "broken" / str(number), files)
    return {
        "parser": name,
        "cases": count,
        "accepted": accepted,
        "kinds": len(kinds),
        "slowest_s": round(slowest[0], 3),
        "slowest_case": slowest[1],
        "memory_mib": (peak()[0] - own) // 1024,
        "child_mib": peak()[1] // 1024 if peak()[1] > child else 0,
        "seconds": round(time.monotonic() - started, 1),
        "broken": broken,
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))  # noqa: T201
