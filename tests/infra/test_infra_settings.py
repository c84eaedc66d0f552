"""Every variable, port and command in the files is one that is read: by Prefect, botocore, Dask, or this project."""

import importlib
import re
from importlib.metadata import entry_points

import botocore.session
import click
import pytest
import typer
from infra_files import (
    BASE,
    all_commands,
    base_documents,
    image_command,
    image_environment,
    pods,
    services,
    settings_of,
)
from prefect.cli._app import _app as prefect
from prefect.server.concurrency.lease_storage import ConcurrencyLeaseStorageModule
from prefect.server.events.ordering import CausalOrderingModule
from prefect.server.utilities.messaging import BrokerModule, CacheModule
from prefect.server.worker_communication.cleanup_queue import WorkerCleanupQueue
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields
from prefect_redis import cleanup_queue
from prefect_redis.client import RedisMessagingSettings

from flows.cli import app
from flows.deploying import POOL
from tasks.campaigns.compute_settings import ComputeSection
from tasks.campaigns.config import CampaignConfig

VALUES = {"DATABASE_PASSWORD": "p@ss:w/rd", "API_AUTH_STRING": "lab:s3cret"}
VALUES |= {"STORE_KEY": "key", "STORE_SECRET": "hush", "DASK_STORE_KEY": "less", "DASK_STORE_SECRET": "hush, too"}


def filled(environment):
    """A service's environment with variables put in, as compose does."""

    def value(found):
        return VALUES.get(found[1]) or found[3]

    return {name: re.sub(r"\$\{([A-Z_]+):([-?])([^}]*)\}", value, text) for name, text in environment.items()}


def kubernetes_environment(pod):
    """What a pod sees: files of settings, its own variables, and the keys of secrets."""
    secrets = {"password": VALUES["DATABASE_PASSWORD"], "auth-string": VALUES["API_AUTH_STRING"]}
    found = {}
    for source in pod.container.get("envFrom", []):
        if "configMapRef" in source:
            found |= settings_of(BASE / f"{source['configMapRef']['name']}.env")
        else:
            which = {"store": "STORE", "dask-store": "DASK_STORE"}[source["secretRef"]["name"]]
            key, secret = VALUES[f"{which}_KEY"], VALUES[f"{which}_SECRET"]
            found |= {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    for variable in pod.container.get("env", []):
        source = variable.get("valueFrom", {})
        key = source.get("secretKeyRef", {}).get("key")
        found[variable["name"]] = secrets[key] if key else variable.get("value", "1")
    return found


COMPOSE = {name: filled(service.get("environment", {})) for name, service in services().items()}
KUBERNETES = {pod.name: kubernetes_environment(pod) for pod in pods(base_documents())}
ENVIRONMENTS = [("image", image_environment())]
ENVIRONMENTS += [(f"compose {name}", environment) for name, environment in COMPOSE.items()]
ENVIRONMENTS += [(f"kubernetes {name}", environment) for name, environment in KUBERNETES.items()]
each = pytest.mark.parametrize("environment", [pytest.param(found, id=where) for where, found in ENVIRONMENTS])


@each
def test_every_prefect_variable_is_a_setting(environment):
    redis = {
        *(f"PREFECT_REDIS_MESSAGING_{name.upper()}" for name in RedisMessagingSettings.model_fields),
        "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL",
    }
    known = set(_get_settings_fields(Settings)) | redis
    assert {name for name in environment if name.startswith("PREFECT_")} <= known


@each
def test_every_other_variable_is_known(environment):
    of_images = {
        "POSTGRES_DB",
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
        "PGDATA",
        "MINIO_ROOT_USER",
        "MINIO_ROOT_PASSWORD",
    }
    of_python = {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    tested_below = {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "MEMORY_LIMIT",
    }
    others = {name for name in environment if not name.startswith("PREFECT_")}
    assert others <= of_images | of_python | tested_below | {"DO_NOT_TRACK"}


SERVERS = [found[name] for found in (COMPOSE, KUBERNETES) for name in ("prefect-server", "prefect-services")]


@pytest.fixture(params=SERVERS, ids=["compose", "compose services", "kubernetes", "kubernetes services"])
def server(request, monkeypatch):
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_the_server_takes_them(server):
    url = server.server.database.connection_url.get_secret_value()
    assert url == "postgresql+asyncpg://prefect:p%40ss%3Aw%2Frd@postgres:5432/prefect"
    assert server.server.database.migrate_on_start is False
    assert (server.server.api.host, server.server.api.port) == ("0.0.0.0", 4200)
    assert server.server.api.auth_string.get_secret_value() == "lab:s3cret"
    assert server.server.ui.api_url == "http://127.0.0.1:4200/api"
    assert server.server.docket.url == "redis://redis:6379/1"


def test_the_servers_share_what_they_do(server):
    """Prefect loads these modules by name; its defaults are the memory of one process, which no other server sees."""
    for name, kind in (
        (server.server.events.messaging_broker, BrokerModule),
        (server.server.events.messaging_cache, CacheModule),
        (server.server.events.causal_ordering, CausalOrderingModule),
        (server.server.concurrency.lease_storage, ConcurrencyLeaseStorageModule),
    ):
        assert name.startswith("prefect_redis.")
        assert isinstance(importlib.import_module(name), kind)
    assert server.server.worker_channel.cleanup_queue_storage == cleanup_queue.__name__
    assert issubclass(cleanup_queue.WorkerCleanupQueue, WorkerCleanupQueue)
    assert RedisMessagingSettings().url == "redis://redis:6379/0"
    assert cleanup_queue.RedisWorkerCleanupQueueSettings().url == "redis://redis:6379/0"


def test_kubernetes_and_compose_agree():
    assert KUBERNETES["prefect-server"] == COMPOSE["prefect-server"]
    assert KUBERNETES["prefect-services"] == COMPOSE["prefect-services"]
    assert KUBERNETES["prefect-deploy"] == COMPOSE["prefect-deploy"]
    for worker in ("prefect-worker", "dask-worker"):
        ours = {name: value for name, value in COMPOSE[worker].items() if name != "AWS_ENDPOINT_URL"}
        assert ours == {name: value for name, value in KUBERNETES[worker].items() if name != "MEMORY_LIMIT"}
    assert BASE.joinpath("store.env").read_text().count("AWS_ENDPOINT_URL") == 1  # in the comment


@pytest.mark.parametrize("name", ["prefect-worker", "prefect-deploy"])
def test_the_clients_take_them(name, monkeypatch):
    for variable, value in COMPOSE[name].items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.api.url == "http://prefect-server:4200/api"
    assert settings.api.auth_string.get_secret_value() == "lab:s3cret"


@pytest.mark.parametrize("name", ["prefect-worker", "dask-worker", "dask-gpu-worker", "store-bucket"])
def test_the_store_is_reached_with_them(name, monkeypatch):
    for variable, value in COMPOSE[name].items():
        monkeypatch.setenv(variable, value)
    client = botocore.session.Session().create_client("s3")
    assert client.meta.endpoint_url == "http://store:9000"
    assert client.meta.region_name == "us-east-1"
    credentials = client._request_signer._credentials
    expected = ("less", "hush, too") if name.startswith("dask") else ("key", "hush")
    assert (credentials.access_key, credentials.secret_key) == expected


def read_by_dask(command, *words):
    """Dask's own reading of a command, which starts nothing."""
    (found,) = entry_points(group="dask_cli", name=command)
    return found.load().make_context(command, list(words)).params


@pytest.mark.parametrize(("where", "command"), all_commands().items(), ids=list(all_commands()))
def test_every_command_is_understood(where, command):
    program, *words = command
    if program == "prefect":
        function, *_ = prefect.parse_args(words, exit_on_error=False, print_error=False)
        assert function.__module__.startswith("prefect.cli.")
    elif program == "dask":
        words = ["1" if word.startswith("$(") else re.sub(r"\$\(\w+\)", "1", word) for word in words]
        assert read_by_dask(*words)["dashboard_address"]
    elif program == "hybridscreen":
        group = typer.main.get_command(app)
        name, found, rest = group.resolve_command(click.Context(group), words)
        assert not found.make_context(name, rest).params["campaigns"]  # no campaign lies in the image
    else:
        assert (where, program) in {("compose store-volume", "true"), ("compose store-bucket", "python")}


def test_a_wrong_option_would_be_seen():
    with pytest.raises(click.NoSuchOption, match="--memorylimit"):
        read_by_dask("worker", "tcp://dask-scheduler:8786", "--memorylimit=1GB")
    with pytest.raises(Exception, match="--with-health-check"):
        prefect.parse_args(["worker", "start", "--with-health-check"], exit_on_error=False, print_error=False)


def test_workers_poll_the_pool_that_is_made():
    assert image_command()[:5] == ["prefect", "worker", "start", "--pool", POOL]


def test_campaigns_find_the_scheduler():
    """What the guide tells to write into campaign.yaml."""
    address = "tcp://dask-scheduler:8786"
    assert ComputeSection(dask=address).dask == address
    assert "compute" in CampaignConfig.model_fields
    assert "dask-scheduler" in services()
    command = services()["dask-scheduler"]["command"]
    assert command[command.index("--port") + 1] == "8786"
    assert address in services()["dask-worker"]["command"]
    assert address in (BASE / "dask-cluster.yaml").read_text(encoding="utf-8")


def test_dask_ports_are_those_of_the_manifests():
    by_name = {pod.name: pod for pod in pods(base_documents())}
    for name in ("dask-scheduler", "dask-worker"):
        said = {int(number) for word in by_name[name].command for number in re.findall(r"^(?:.*[:=])?:?(\d{4})$", word)}
        assert said == by_name[name].ports
