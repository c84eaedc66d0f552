"""The files of infra/ as the tests look at them: services, pods, containers."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
BASE = INFRA / "kubernetes" / "base"
OVERLAYS = INFRA / "kubernetes" / "overlays"
OURS = ("hybridscreen", "hybridscreen-cuda")


@cache
def compose():
    return yaml.safe_load((INFRA / "compose.yaml").read_text(encoding="utf-8"))


def services():
    return compose()["services"]


def is_once(service):
    return str(service.get("restart", "")).startswith("on-failure")


def settings_of(path):
    """Names and values of a file of settings, one a line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def image_command():
    text = (INFRA / "Dockerfile").read_text(encoding="utf-8")
    return json.loads(text.rsplit("\nCMD", 1)[1])


def image_environment():
    text = (INFRA / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^ENV (.+)$", text, re.MULTILINE)
    return dict(pair.split("=", 1) for line in found for pair in line.split())


@cache
def base_documents():
    files = sorted(path for path in BASE.glob("*.yaml") if path.name != "kustomization.yaml")
    return [document for path in files for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


@cache
def rendered(overlay):
    """Documents of an overlay as a cluster would get them; a test that asks for them is skipped without kubectl."""
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl here to put the overlay together")
    command = ["kubectl", "kustomize", str(OVERLAYS / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@dataclass(frozen=True)
class Pod:
    """A pod as it will run: who makes it, its labels, its specification."""

    name: str
    kind: str
    labels: dict
    spec: dict

    @property
    def container(self):
        (only,) = self.spec["containers"]
        return only

    @property
    def command(self):
        """What the container does; the image's own command where it says nothing."""
        return self.container.get("command", []) + self.container.get("args", []) or image_command()

    @property
    def ports(self):
        return {port["containerPort"] for port in self.container.get("ports", [])}


def pods(documents):
    """Every pod that the documents lead to, those that the Dask operator makes among them."""
    found = []
    for document in documents:
        kind, name, spec = document["kind"], document["metadata"]["name"], document.get("spec", {})
        if "template" in spec:
            found.append(Pod(name, kind, spec["template"]["metadata"]["labels"], spec["template"]["spec"]))
        elif kind == "DaskCluster":
            for component in ("scheduler", "worker"):
                labels = {"dask.org/cluster-name": name, "dask.org/component": component}
                found.append(Pod(f"{name}-{component}", kind, labels, spec[component]["spec"]))
    return found


def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def matches(selector, labels):
    """Whether a Kubernetes label selector takes these labels."""
    for name, value in selector.get("matchLabels", {}).items():
        if labels.get(name) != value:
            return False
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def all_commands():
    """Every command line of our image, by where it stands."""
    found = {"Dockerfile": image_command()}
    for name, service in services().items():
        if "hybridscreen" in service["image"] and "command" in service:
            found[f"compose {name}"] = service["command"]
    for pod in pods(base_documents()):
        if pod.container["image"].split(":")[0] in OURS:
            found[f"kubernetes {pod.name}"] = pod.command
    return found
