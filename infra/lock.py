"""Write requirements.txt: what the CPU image installs, each file by its digest.

    pip install --dry-run --ignore-installed --report report.json -c infra/constraints.txt '.[server]' setuptools
    python infra/lock.py report.json > infra/requirements.txt

Run it where the image will run (x86-64, Python 3.11), with an index of CPU wheels of torch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

HEAD = """\
# What the CPU image installs, each file by its digest: x86-64, Python 3.11, torch for CPU. Made by lock.py.
"""


def lines(report: dict[str, Any]) -> list[str]:
    """A line for each package of pip's report, in order of names; this project itself is left out.

    Args:
        report: What `pip install --report` wrote.
    """
    found = {}
    for each in report["install"]:
        name = canonicalize_name(each["metadata"]["name"])
        if name != "hybridscreen":
            digest = each["download_info"]["archive_info"]["hashes"]["sha256"]
            version = Version(each["metadata"]["version"]).public  # torch's build for CPU is one of its files
            found[name] = f"{name}=={version} --hash=sha256:{digest}"
    return [found[name] for name in sorted(found)]


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write(HEAD + "".join(f"{line}\n" for line in lines(given)))
