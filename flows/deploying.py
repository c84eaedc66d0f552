"""What a Prefect server needs of this project, applied to it; applying it again changes nothing."""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.events import DeploymentEventTrigger
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker
from pydantic import BaseModel, ConfigDict

from flows.registry import register
from flows.server import require_server
from flows.store_block import store_variables
from flows.turns import limit_of
from flows.watching import EVERY
from tasks.errors import UserError

#: The work pool of every deployment.
POOL = "hybridscreen"


class Deployed(BaseModel):
    """Answer of `deploy`.

    The server, registered campaign files by name, names of deployments and automations, and the variables that runs get
    from the object store's block.
    """

    model_config = ConfigDict(frozen=True)

    server: str
    campaigns: dict[str, str]
    deployments: list[str]
    automations: list[str]
    from_block: list[str] = []


def declared(name: str) -> dict[str, Any]:
    """Content of a file in `deployments/`, which is installed beside this package.

    Raises:
        UserError: The installation lacks the folder.
    """
    try:
        text = files("deployments").joinpath(name).read_text(encoding="utf-8")
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise UserError("not installed", where=f"deployments/{name}", todo="Install hybridscreen again.") from error
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def deploy(paths: Iterable[Path] = (), forget: Iterable[str] = ()) -> Deployed:
    """Register campaigns, and apply work pool, deployments, limits and automations.

    What a person has switched off in the UI (a schedule, an automation, a paused deployment) stays off.

    Args:
        paths: Campaign files to register beside those that are.
        forget: Names of campaigns to take out of the register.

    Raises:
        UserError: No server is named, a mistake in a campaign file, or an unknown name to forget.
    """
    require_server()
    with get_client(sync_client=True) as client:
        campaigns = register(paths, forget)
        known = {}
        _ensure_pool(client, POOL)
        variables = store_variables(client)
        for each in declared("prefect.yaml")["deployments"]:
            known[each["name"]] = _apply(client, each, list(campaigns), variables)
        for name in campaigns:
            client.upsert_global_concurrency_limit_by_name(limit_of(name), 1)
        automations = list(declared("automations.yaml")["automations"])
        wanted = [AutomationCore.model_validate(each) for each in automations]
        wanted += [
            _triggered(known[each["name"]], trigger)
            for each in declared("prefect.yaml")["deployments"]
            for trigger in each.get("triggers", [])
        ]
        for automation in wanted:
            _automate(client, automation)
        server = str(client.api_url).removesuffix("/").removesuffix("/api")
    return Deployed(
        server=server,
        campaigns=campaigns,
        deployments=list(known),
        automations=[each.name for each in wanted],
        from_block=list(variables),
    )


def _ensure_pool(client: SyncPrefectClient, name: str) -> None:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))


def _apply(
    client: SyncPrefectClient, declaration: dict[str, Any], campaigns: list[str], variables: dict[str, str]
) -> UUID:
    """Create or update a deployment; its id."""
    flow: Flow[..., Any] = load_flow_from_entrypoint(declaration["entrypoint"], use_placeholder_flow=False)
    try:
        before = client.read_deployment_by_name(f"{flow.name}/{declaration['name']}").schedules
    except ObjectNotFound:
        before = []
    switched_off = {schedule.slug for schedule in before if not schedule.active}
    schedules = [DeploymentScheduleCreate.model_validate(each) for each in declaration.get("schedules", [])]
    return client.create_deployment(
        flow_id=client.create_flow(flow),
        name=declaration["name"],
        description=declaration["description"],
        tags=declaration["tags"],
        entrypoint=declaration["entrypoint"],
        parameters=declaration.get("parameters"),
        parameter_openapi_schema=form_of(flow, campaigns),
        enforce_parameter_schema=True,
        schedules=[each.model_copy(update={"active": each.slug not in switched_off}) for each in schedules],
        concurrency_limit=declaration.get("concurrency_limit"),
        work_pool_name=POOL,
        pull_steps=[],
        job_variables={"env": variables} if variables else None,
    )


def form_of(flow: Flow[..., Any], campaigns: list[str]) -> dict[str, Any]:
    """Schema of a flow's run form, in which a campaign is one of the registered names."""
    schema: dict[str, Any] = parameter_schema(flow).model_dump_for_openapi()
    field = schema["properties"].get("campaign")
    if field is not None and campaigns:
        every = field.get("default") == EVERY
        field["enum"] = [EVERY, *campaigns] if every else campaigns
        field["description"] = f"A registered campaign{f'; {EVERY}: all of them' if every else ''}."
    return schema


def _triggered(deployment: UUID, trigger: dict[str, Any]) -> AutomationCore:
    """The automation of a trigger that a deployment declares."""
    parsed = DeploymentEventTrigger.model_validate(trigger)
    parsed.set_deployment_id(deployment)
    return parsed.as_automation()


def _automate(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Create or update an automation, which its name identifies."""
    before = client.read_automations_by_name(automation.name)
    content = automation.model_dump(exclude={"owner_resource"})  # an update may not name the owner
    if before:
        client.update_automation(before[0].id, AutomationCore.model_validate({**content, "enabled": before[0].enabled}))
    else:
        client.create_automation(AutomationCore.model_validate(content))


def deployed_lines(deployed: Deployed) -> list[str]:
    """The answer in lines for a terminal."""
    campaigns = [f"  {name}: {path}" for name, path in deployed.campaigns.items()]
    return [
        f"Applied to {deployed.server}: deployments {', '.join(deployed.deployments)}; "
        f"automations {', '.join(deployed.automations)}.",
        *([f"Runs get from the block: {', '.join(deployed.from_block)}"] if deployed.from_block else []),
        f"Campaigns: {len(campaigns)}",
        *campaigns,
    ]
