"""Are there published advisories about what the images install?

    make audit                                          asks pypi.org, by pip-audit
    python infra/audit.py --database all.zip            compares with a database that was carried here

The database is the dump of OSV for PyPI, https://storage.googleapis.com/osv-vulnerabilities/PyPI/all.zip: one JSON file
an advisory. Exit status 0: nothing was found; 1: something was; 3: NOT AUDITED, because the index cannot be reached.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

PINS = Path(__file__).parent / "constraints.txt"
INDEX = "https://pypi.org/pypi/pip/json"


def pins(text: str) -> dict[str, Version]:
    """Versions by normal name, from lines such as `torch==2.13.0`."""
    lines = (line.split("#")[0].split(";")[0].strip().rstrip("\\") for line in text.splitlines())
    found = (line.split("==") for line in lines if "==" in line)
    return {canonicalize_name(name): Version(version.split()[0]) for name, version in found}


def advisories(database: Path) -> Iterator[dict[str, Any]]:
    """Advisories of a dump, one after the other; those that were withdrawn are left out."""
    with zipfile.ZipFile(database) as files:
        for name in sorted(files.namelist()):
            advisory = json.loads(files.read(name))
            if "withdrawn" not in advisory:
                yield advisory


def findings(pinned: dict[str, Version], known: Iterable[dict[str, Any]]) -> list[str]:
    """A line for each advisory that is about a pinned version."""
    lines = []
    for advisory in known:
        for affected in advisory.get("affected", []):
            package = affected.get("package", {})
            version = pinned.get(canonicalize_name(package.get("name", "")))
            if package.get("ecosystem") == "PyPI" and version is not None and is_affected(version, affected):
                names = ", ".join([advisory["id"], *advisory.get("aliases", [])])
                lines.append(f"{package['name']} {version}: {names}: {advisory.get('summary', '')}".rstrip(": "))
    return sorted(set(lines))


def is_affected(version: Version, affected: dict[str, Any]) -> bool:
    """Whether a version is listed, or lies in a range. Source: the OSV schema, section on evaluation."""
    if any(_same(version, text) for text in affected.get("versions", [])):
        return True
    return any(_in_range(version, each["events"]) for each in affected.get("ranges", []) if each["type"] == "ECOSYSTEM")


def _in_range(version: Version, events: list[dict[str, str]]) -> bool:
    inside = False
    for kind, text in sorted(((*event.items(),)[0] for event in events), key=lambda event: _as_version(event[1])):
        at = _as_version(text)
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def _as_version(text: str) -> Version:
    return Version("0.dev0" if text == "0" else text)


def _same(version: Version, text: str) -> bool:
    try:
        return version.public == Version(text).public
    except InvalidVersion:  # of old releases
        return False


def reachable() -> str | None:
    """Why the index cannot be asked; None if it can."""
    try:
        with urllib.request.urlopen(INDEX, timeout=10) as answer:
            json.load(answer)
    except (OSError, ValueError, urllib.error.URLError) as error:
        return str(error)
    return None


def main() -> int:
    """Audit, and say what was found."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--database", type=Path, help="A dump of OSV, in place of the network.")
    given = options.parse_args()
    if given.database is None:
        if (why := reachable()) is not None:
            sys.stderr.write(f"NOT AUDITED: {INDEX} does not answer ({why}). Carry a dump of OSV here: --database\n")
            return 3
        command = ["--requirement", str(PINS), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
        return subprocess.run([sys.executable, "-m", "pip_audit", *command], check=False).returncode  # noqa: S603  constants
    pinned = pins(PINS.read_text(encoding="utf-8"))
    found = findings(pinned, advisories(given.database))
    sys.stdout.write("".join(f"{line}\n" for line in found))
    sys.stdout.write(f"{len(pinned)} packages, {len(found)} advisories about them\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
