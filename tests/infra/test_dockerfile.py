"""The image: linted, complete, pinned, without rights, fit for a read-only root file system."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from infra_files import INFRA, ROOT, image_command, image_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from prefect.settings import Settings

LINES = (INFRA / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
STEPS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]
SOURCES = [name for word, rest in STEPS if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
GPU = {Requirement(text).name for text in EXTRAS["gpu"]}
ASKED = [Requirement(text) for text in PROJECT["project"]["dependencies"] + EXTRAS["server"] + EXTRAS["gpu"]]
PINNED = [
    line.split("==")
    for line in (INFRA / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


def test_hadolint_finds_nothing():
    linter = Path(sys.executable).with_name("hadolint")
    command = [linter if linter.exists() else shutil.which("hadolint"), INFRA / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SOURCES)
def test_sources_exist_and_enter_the_build(name):
    assert (ROOT / name).exists()
    assert f"!{name}" in (INFRA / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()


def test_all_that_the_project_is_made_of_is_copied():
    packages = {name.rstrip("*") for name in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    files = {"pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    assert packages | files <= set(SOURCES)


def test_base_is_one_pinned_python_that_the_project_supports():
    bases = {rest.split()[0] for word, rest in STEPS if word == "FROM"}
    assert len(bases) == 1
    pinned = re.fullmatch(r"python:(\d+)\.(\d+)\.\d+-slim-\w+", bases.pop())
    assert pinned is not None
    assert (int(pinned[1]), int(pinned[2])) >= (3, 11)


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_every_dependency_is_pinned_within_its_bounds(asked):
    (version,) = [version for name, version in PINNED if name == asked.name]
    assert Version(version) in asked.specifier


def test_every_pin_is_one_exact_version():
    assert len({name for name, _ in PINNED}) == len(PINNED)
    assert [name for name, _ in PINNED] == sorted(name for name, _ in PINNED)
    for name, version in PINNED:
        assert re.fullmatch(r"[a-z0-9.-]+", name)
        assert str(Version(version)) == version
        assert Version(version).local is None  # the CPU and the CUDA build of torch are one version


def test_the_cpu_image_checks_the_digest_of_every_file_it_installs():
    lines = (INFRA / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = [re.fullmatch(r"([a-z0-9.-]+)==(\S+) --hash=sha256:[0-9a-f]{64}", line) for line in lines[1:]]
    assert all(found)
    locked = {line[1]: line[2] for line in found}
    assert len(locked) == len(found)
    assert locked.items() <= {canonicalize_name(name): version for name, version in PINNED}.items()
    assert {canonicalize_name(asked.name) for asked in ASKED if asked.name not in GPU} <= set(locked)
    assert not {name for name in locked if "cuda" in name or "nvidia" in name}
    (build,) = [rest for word, rest in STEPS if word == "RUN" and "pip wheel" in rest]
    assert "--require-hashes --no-deps --requirement infra/requirements.txt" in build
    assert "--no-build-isolation" in build  # a builder of its own would come from the index unseen
    assert "setuptools" in locked


def test_the_variants_are_extras_of_the_project():
    (default,) = [rest for word, rest in STEPS if word == "ARG"]
    assert default == "EXTRAS=server"
    assert {"server", "gpu"} <= set(EXTRAS)


def test_runs_as_somebody_without_rights():
    users = [rest for word, rest in STEPS if word == "USER"]
    assert users == ["10001:10001"]
    assert [word for word, _ in STEPS].index("USER") > max(i for i, (word, _) in enumerate(STEPS) if word == "COPY")


def test_what_is_written_goes_to_home(monkeypatch):
    """The root file system may be read-only: Prefect's database, profiles and unpacked pages lie in the home folder."""
    for name, value in image_environment().items():
        if name != "PATH":
            monkeypatch.setenv(name, value)
    settings = Settings()
    home = Path(dict(STEPS)["WORKDIR"])
    assert settings.home.is_relative_to(home)
    assert settings.profiles_path.is_relative_to(home)
    assert settings.results.local_storage_path.is_relative_to(home)
    assert Path(settings.server.ui.static_directory).is_relative_to(home)
    assert image_environment()["PYTHONDONTWRITEBYTECODE"]


def test_health_is_asked_where_the_worker_answers():
    (check,) = [rest for word, rest in STEPS if word == "HEALTHCHECK"]
    assert "--with-healthcheck" in image_command()
    assert f"http://127.0.0.1:{Settings().worker.webserver.port}/health" in check
