"""The deployments fit the flows: Prefect ignores a misspelt key, and meets a wrong parameter only when a run starts."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

FILE = Path(__file__).parents[2] / "deployments" / "prefect.yaml"
CONTENT = yaml.safe_load(FILE.read_text(encoding="utf-8"))
DEPLOYMENTS = {deployment["name"]: deployment for deployment in CONTENT["deployments"]}
each = pytest.mark.parametrize("deployment", DEPLOYMENTS.values(), ids=DEPLOYMENTS)


def flow_of(deployment) -> Flow:
    return load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)


def test_what_people_start_is_deployed():
    assert list(DEPLOYMENTS) == ["open", "watch", "round", "release", "repeat-plates", "publish", "replay", "self-test"]


def test_the_files_are_found_from_any_folder(tmp_path):
    """Of an editable installation, too, as they are not in the working directory of who operates the service."""
    code = "from flows.deploying import declared; print(len(declared('prefect.yaml')['deployments']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == str(len(DEPLOYMENTS)), done.stderr


def test_no_key_is_unknown_to_prefect():
    assert set(CONTENT) - {"definitions"} <= set(PrefectYamlModel.model_fields)
    for deployment in DEPLOYMENTS.values():
        assert set(deployment) <= set(DeploymentConfig.model_fields)
    PrefectYamlModel.model_validate(CONTENT)


def test_no_code_is_pulled_at_run_time():
    """An empty list: without the key, or with null, Prefect makes up a step that enters the deployer's own folder."""
    assert CONTENT["pull"] == []
    assert not any("pull" in deployment for deployment in DEPLOYMENTS.values())


@each
def test_entrypoint_is_a_flow_of_the_installed_package(deployment):
    assert ":" not in deployment["entrypoint"]  # a path would be looked up in the worker's folder
    assert flow_of(deployment).name == deployment["name"]


@each
def test_defaults_are_parameters_of_the_flow_and_valid(deployment):
    schema = parameter_schema(flow_of(deployment)).model_dump_for_openapi()
    given = deployment.get("parameters", {})
    assert set(given) <= set(schema["properties"])
    asked = {
        "campaign": "pilot", "decision": "waive", "barcodes": ["P1"], "note": "seen by eye", "to": "s3://others",
        "config": "replay.yaml",
    }  # fmt: skip
    required = {name: asked[name] for name in schema.get("required", [])}
    assert validate(given | required, schema) == []


@each
def test_every_field_of_the_run_form_is_described(deployment):
    assert len(deployment["description"]) > 60
    for name, field in parameter_schema(flow_of(deployment)).properties.items():
        assert field.get("description"), f"{deployment['entrypoint']}: {name} has no line under Args"


@each
@pytest.mark.parametrize(
    ("field", "wrong"), [("campaign", ""), ("round_index", -1), ("barcodes", []), ("note", " "), ("to", "")]
)
def test_a_wrong_value_is_refused_with_its_name(deployment, field, wrong):
    schema = parameter_schema(flow_of(deployment)).model_dump_for_openapi()
    if field in schema["properties"] and (field, deployment["name"]) != ("note", "release"):  # needed for some answers
        right = {
            "campaign": "pilot",
            "decision": "waive",
            "barcodes": ["P1"],
            "note": "seen by eye",
            "to": "s3://others",
        }
        given = {name: right[name] for name in schema.get("required", [])}
        (error,) = validate(given | {field: wrong}, schema)
        assert field in str(error.path)


@each
def test_all_run_in_the_pool_that_the_image_works_for(deployment):
    command = (FILE.parents[1] / "infra" / "Dockerfile").read_text(encoding="utf-8").split("CMD", 1)[1]
    assert f'"--pool", "{deployment["work_pool"]["name"]}"' in command
