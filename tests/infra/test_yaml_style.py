"""yamllint over every YAML file of infra/ and deployments/."""

import subprocess
import sys

from infra_files import INFRA, ROOT

RULES = """{extends: default, rules: {document-start: disable, line-length: {max: 160}, braces: {max-spaces-inside: 0},
 comments: {min-spaces-from-content: 2}, truthy: {check-keys: false}}}"""


def test_yamllint_finds_nothing():
    folders = [INFRA, ROOT / "deployments"]
    command = [sys.executable, "-m", "yamllint", "--strict", "-d", RULES, *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(list(folder.rglob("*.yaml")) for folder in folders)
