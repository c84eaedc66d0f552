"""The compose file: valid, hardened, no secret inside, nobody reached but by those who need it."""

import re
import subprocess
import sys

import pytest
from infra_files import INFRA, compose, is_once, services, settings_of

each = pytest.mark.parametrize("name", services())
SECRET = re.compile(r"PASSWORD|SECRET|AUTH_STRING|ACCESS_KEY|_USER$")
NO_SECRET = ("PREFECT_SERVER_DATABASE_USER", "POSTGRES_USER")  # the name of an account that only this stack has


def test_schema():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, INFRA / "compose.yaml"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_whole_stack_is_there():
    running = {name for name, service in services().items() if not is_once(service)}
    assert running == {
        *("postgres", "redis", "store", "prefect-server", "prefect-services", "prefect-worker"),
        *("dask-scheduler", "dask-worker", "dask-gpu-worker"),
    }


@each
def test_images_are_pinned(name):
    image = services()[name]["image"]
    image = re.sub(r"^\$\{HYBRIDSCREEN_IMAGE:-(.+)\}$", r"\1", image)
    assert re.fullmatch(r"[a-z/-]+:(\d+\.\d+(\.\d+)?(-\w+)?|RELEASE\.[\dTZ-]+)", image)


@each
def test_no_rights(name):
    service = services()[name]
    assert int(service["user"].split(":")[0]) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "ipc", "devices"} & set(service)


def test_the_store_runs_as_the_owner_of_its_volume():
    before = services()["store-volume"]
    assert services()["store"]["user"] == before["user"]
    assert before["volumes"] == ["store:/srv/data"]
    user, group = before["user"].split(":")
    assert f"install --directory --owner {user} --group {group} /srv/data" in (INFRA / "Dockerfile").read_text()


@each
def test_limits(name):
    limits = services()[name]["deploy"]["resources"]["limits"]
    assert set(limits) >= {"cpus", "memory"}


@each
def test_health(name):
    service = services()[name]
    if is_once(service) or name == "prefect-worker":  # which runs the image's own command, under the image's own check
        assert "healthcheck" not in service
        assert is_once(service) or "command" not in service
    else:
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["restart"] == "unless-stopped"


@each
def test_waits_for_what_it_needs(name):
    for other, how in services()[name].get("depends_on", {}).items():
        assert other in services()
        ends = is_once(services()[other])
        assert how.get("required", True) == (other != "store-bucket")  # there may be a bucket elsewhere
        assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")


@each
def test_every_secret_is_a_variable_without_default(name):
    for variable, value in services()[name].get("environment", {}).items():
        if SECRET.search(variable) and variable not in NO_SECRET:
            assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), f"{variable} in {name}"


def test_the_example_names_every_variable_and_gives_none():
    text = (INFRA / "compose.yaml").read_text(encoding="utf-8")
    needed = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    optional = set(re.findall(r"\$\{([A-Z_]+):-", text))
    example = (INFRA / "stack.env.example").read_text(encoding="utf-8")
    assert settings_of(INFRA / "stack.env.example") == dict.fromkeys(needed, "")
    assert set(re.findall(r"^#([A-Z_]+)=$", example, re.MULTILINE)) == optional
    assert len(re.findall(r"\$\{", text)) == len(re.findall(r"\$\{[A-Z_]+:[?-]", text))


def test_published_to_this_machine_alone():
    published = {name: service["ports"] for name, service in services().items() if service.get("ports")}
    assert set(published) == {"prefect-server", "store"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_who_reaches_whom():
    members = {network: set() for network in compose()["networks"]}
    for name, service in services().items():
        for network in service.get("networks", []):
            members[network].add(name)
    assert members == {
        "database": {"postgres", "redis", "prefect-migrate", "prefect-server", "prefect-services"},
        "api": {"prefect-server", "prefect-deploy", "prefect-worker"},
        "store": {"store", "store-bucket", "prefect-worker", "dask-worker", "dask-gpu-worker"},
        "dask": {"dask-scheduler", "dask-worker", "dask-gpu-worker", "prefect-worker"},
    }
    assert services()["store-volume"]["network_mode"] == "none"
    assert {name for name, network in compose()["networks"].items() if network.get("internal")} == {"database", "dask"}


def test_only_who_needs_a_secret_has_it():
    holders = {}
    for name, service in services().items():
        for value in service.get("environment", {}).values():
            for variable in re.findall(r"\$\{([A-Z_]+):\?", value):
                holders.setdefault(variable, set()).add(name)
    servers, workers = {"prefect-server", "prefect-services", "prefect-migrate"}, {"dask-worker", "dask-gpu-worker"}
    assert holders["DATABASE_PASSWORD"] == servers | {"postgres"}
    assert holders["API_AUTH_STRING"] == servers | {"prefect-deploy", "prefect-worker"}
    assert holders["STORE_KEY"] == holders["STORE_SECRET"] == {"store", "store-bucket", "prefect-worker"}
    assert holders["DASK_STORE_KEY"] == holders["DASK_STORE_SECRET"] == workers


def test_gpu_worker_offers_its_gpu():
    gpu = services()["dask-gpu-worker"]
    assert gpu["profiles"] == ["gpu"]
    assert "GPU=1" in gpu["command"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"], len(device["device_ids"])) == ("nvidia", ["gpu"], 1)


def test_what_is_not_always_there():
    profiles = {name: service["profiles"] for name, service in services().items() if "profiles" in service}
    bundled = {name: ["store"] for name in ("store", "store-volume", "store-bucket")}
    assert profiles == bundled | {"dask-gpu-worker": ["gpu"]}
