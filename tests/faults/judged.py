"""Whether a campaign is as if nothing had happened, and whether what was stored can be read as whole."""

import hashlib
import json
import re

from scenes import below

#: What a manifest says about the doing, not about the result; and when a person answered.
_TOLD = ("started", "ended", "seconds", "worker", "peak_rss_gib", "flow_run", "why", "at")


def digests(stage):
    """Digest of every file of a scene by its path, without what may differ between two doings of the same.

    Those are times, process and reason in the manifests of checkpoints, and the list of the steps that were computed
    in the report.
    """
    found = {}
    for path in below(stage.folder):
        name = str(path.relative_to(stage.folder))
        data = path.read_bytes()
        if re.search(r"(checkpoints/.*/manifest(\.\d+)?|/marks/.*|/answers/.*)\.json$", name):
            content = {key: value for key, value in json.loads(data).items() if key not in _TOLD}
            data = json.dumps(content, sort_keys=True).encode()
        found[name] = "a report" if name.endswith("report.html") else hashlib.sha256(data).hexdigest()
    return found


def differences(found, expected):
    """Lines that tell what is not as it should be; empty if nothing is."""
    lines = [f"missing: {name}" for name in sorted(expected.keys() - found.keys())]
    lines += [f"too much: {name}" for name in sorted(found.keys() - expected.keys())]
    return lines + [
        f"differs: {name}" for name in sorted(found.keys() & expected.keys()) if found[name] != expected[name]
    ]


def checkpoints(stage):
    """Content of every manifest of a checkpoint by stage and key."""
    return {
        f"{path.parents[2].name}/{path.parent.name}": path.read_bytes()
        for path in (stage.campaign / "checkpoints").rglob("manifest*.json")
    }


def torn(stage):
    """Files that a manifest names and that are not what it says: somebody could read half of something."""
    lines = []
    for data in checkpoints(stage).values():
        for payload in json.loads(data)["payloads"].values():
            for name, file in payload["files"].items():
                path = f"{payload['uri']}/{name}" if name else payload["uri"]
                lines += _unlike(stage.campaign / path, file["sha256"])
    for manifest in (stage.campaign / "screens").glob("*/manifest.json"):
        for name, digest in json.loads(manifest.read_bytes())["files"].items():
            lines += _unlike(manifest.parent / name, digest)
    return lines


def _unlike(path, digest):
    if not path.exists():
        return [f"a manifest names {path.name}, which is not there"]
    return [] if hashlib.sha256(path.read_bytes()).hexdigest() == digest else [f"{path.name} is torn"]


def misread(answer):
    """Reads of what was not whole: a file is written once, so whatever was read of it is what it is in the end."""
    lines = []
    for name, read in answer["reads"].items():
        try:
            with open(name, "rb") as file:  # noqa: PTH123
                final = hashlib.sha256(file.read()).hexdigest()
        except FileNotFoundError:
            final = "nothing"
        if read != [final] or ".tmp-" in name:
            lines.append(f"read {name} as it is not in the end")
    return lines
