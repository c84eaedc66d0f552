"""The walls of the house: who may import whom (README of tasks/)."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = [
    "checkpoints",
    "campaigns",
    "readouts",
    "ensembles",
    "operators",
    "batches",
    "assessing",
    "stopping",
    "publishing",
    "replays",
]
#: Modules beside the rooms, for all of them; they know no room.
SHARED = ("errors", "threads")
SOURCES = sorted([*ROOT.glob("tasks/**/*.py"), *ROOT.glob("flows/**/*.py")])


@functools.cache
def imports(path):
    """Full names of everything a module imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(found)


def room_of(name):
    parts = name.split(".")
    return parts[1] if parts[0] == "tasks" and len(parts) > 1 else None


def relative(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_rooms_import_only_what_lies_upstream(path):
    room = room_of(relative(path).removesuffix(".py").replace("/", "."))
    if room == "labs":
        allowed = {*SHARED, "labs", "checkpoints", "campaigns", "readouts"}
    elif room in ROOMS:
        allowed = {*SHARED, *ROOMS[: ROOMS.index(room) + 1]}
    elif room in SHARED:
        allowed = {room}
    else:
        return
    for name in imports(path):
        assert not name.startswith("flows"), f"{relative(path)} imports {name}"
        other = room_of(name)
        assert other is None or other in allowed, f"{relative(path)} imports {name}, which is not upstream of {room}"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_flows_and_task_modules_know_prefect(path):
    known = relative(path).startswith("flows/") or path.name == "task.py"
    assert known or not any(name.split(".")[0] == "prefect" for name in imports(path))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_checkpoints_knows_the_object_store(path):
    if not relative(path).startswith("tasks/checkpoints/"):
        assert not any(
            name.split(".")[0] in ("fsspec", "s3fs", "boto3", "botocore", "aiobotocore") for name in imports(path)
        )


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_one_module_opens_dask_and_one_other_uses_it(path):
    if relative(path) not in ("tasks/ensembles/cluster.py", "tasks/operators/cluster_rows.py"):
        assert not any(name.split(".")[0] in ("dask", "distributed", "dask_cuda") for name in imports(path))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_numerics_stay_out_of_flows(path):
    if relative(path).startswith("flows/"):
        assert not any(name.split(".")[0] in ("numpy", "scipy", "torch", "sklearn") for name in imports(path))


@pytest.mark.parametrize("path", sorted(ROOT.glob("flows/*.py")), ids=relative)
def test_flow_modules_keep_their_annotations(path):
    """A served flow with a pydantic parameter fails every run if its annotations are strings."""
    assert "__future__.annotations" not in set(imports(path))


def test_help_imports_nothing_that_takes_long():
    code = (
        "import sys; from typer.testing import CliRunner; from flows.cli import app;"
        "result = CliRunner().invoke(app, ['--help']); assert result.exit_code == 0, result.output;"
        "heavy = {'prefect', 'torch', 'anndata', 'sklearn', 'pandas', 'numpy', 'scipy'} & set(sys.modules);"
        "assert not heavy, heavy; print(result.output)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in (
        "open",
        "round",
        "release",
        "plan",
        "status",
        "diff",
        "verify",
        "assess",
        "gc",
        "score",
        "demo",
        "serve",
        "deploy",
        "upload",
    ):
        assert f"  {command} " in done.stdout
