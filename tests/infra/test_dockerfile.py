"""What a linter does not know of the image: that its sources exist, and that it holds what the project asks for."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "infra" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
STEPS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]
SOURCES = [name for word, rest in STEPS if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]]


@pytest.mark.parametrize("name", SOURCES)
def test_sources_exist_and_enter_the_build(name):
    assert (ROOT / name).exists()
    assert f"!{name}" in (ROOT / "infra" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()


def test_every_package_of_the_project_is_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    files = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    assert packages | files == set(SOURCES)


def test_base_is_one_pinned_python_that_the_project_supports():
    bases = {rest.split()[0] for word, rest in STEPS if word == "FROM"}
    assert len(bases) == 1
    pinned = re.fullmatch(r"python:(\d+)\.(\d+)\.\d+-slim-\w+", bases.pop())
    assert pinned is not None
    assert (int(pinned[1]), int(pinned[2])) >= (3, 11)


def test_runs_as_somebody_without_rights():
    users = [rest for word, rest in STEPS if word == "USER"]
    assert users == ["10001:10001"]
    assert [word for word, _ in STEPS].index("USER") > max(i for i, (word, _) in enumerate(STEPS) if word == "COPY")
