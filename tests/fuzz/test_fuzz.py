# ruff: noqa: E501 - tables and messages
"""Hostile files through every parser: only documented errors of one printable line, in little time and memory.

`FUZZ_CASES` (all parsers together) and `FUZZ_SEED` say how many and which. What breaks a parser is kept in `FUZZ_FOLDER`.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import pytest
from campaigns import failures, lines, run_all, share_out
from parsers import parsers

CASES, SEED = int(os.environ.get("FUZZ_CASES", "20000")), int(os.environ.get("FUZZ_SEED", "0"))
#: Every case of these starts a process, or reads many files.
SLOW = {"plates: anndata": 0.15, "library: h5ad": 0.1, "library: zarr": 0.05}


def shares() -> dict[str, float]:
    names = parsers(Path())
    return {name: SLOW.get(name, 2.0 if name.startswith(("plates", "campaign", "screen")) else 1.0) for name in names}


def test_the_cases_are_shared_out_and_none_is_lost():
    counts = share_out(20_000, shares())
    assert sum(counts.values()) >= 20_000
    assert min(counts.values()) >= 20


@pytest.mark.fuzz
def test_hostile_files_are_refused_in_one_line_or_read(tmp_path, capsys):
    folder = Path(os.environ.get("FUZZ_FOLDER", tmp_path))
    figures = run_all(shares(), CASES, SEED, folder, os.cpu_count() or 1)
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "pandas", "pyarrow", "h5py", "zarr", "pyyaml"))
    with capsys.disabled():
        machine = (
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        )
        print(*["", f"{machine}; {packages}", *lines(figures)], sep="\n")  # noqa: T201
    failed = [f"{each['parser']}: {line}" for each in figures for line in failures(each)]
    assert sum(each["cases"] for each in figures) >= CASES
    assert not failed, "\n".join(failed[:40])


@pytest.mark.parametrize("name", ["plates: text", "campaign yaml", "layout: jump", "books: designs", "payload: array"])
def test_some_parsers_quickly(name, tmp_path):
    from campaigns import run_parser

    found = run_parser(name, 40, 1, tmp_path)
    assert found["cases"] == 40
    assert failures(found) == []
