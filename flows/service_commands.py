"""Commands of the service: serve, deploy, upload."""

import os
from pathlib import Path
from typing import Annotated

import typer

Campaigns = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[CAMPAIGN.YAML]...", help="Campaigns to register; forms then offer them by name."),
]
Forget = Annotated[list[str] | None, typer.Option("--forget", help="Campaign to take out of the register.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]


def serve(
    campaigns: Campaigns = None,
    folder: Annotated[Path, typer.Option("--into", help="Folder for the server's database and logs.")] = Path(
        "hybridscreen-service"
    ),
    host: Annotated[str, typer.Option(help="Address to listen on; the API has no password unless you set one.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the UI and the API.")] = 4200,
    forget: Forget = None,
) -> None:
    """Start Prefect server, worker and deployments here; Ctrl-C ends them."""
    from flows import serving

    serving.serve(serving.Service(folder.resolve(), host, port), campaigns or [], forget or [])


def deploy(campaigns: Campaigns = None, forget: Forget = None, as_json: AsJson = False) -> None:
    """Apply deployments and automations to the server of PREFECT_API_URL."""
    from flows.console import answer
    from flows.deploying import deploy as apply
    from flows.deploying import deployed_lines

    deployed = apply(campaigns or [], forget or [])
    answer(deployed, as_json, deployed_lines(deployed))


def upload(
    config: Annotated[Path, typer.Argument(metavar="CAMPAIGN.YAML", help="Configuration of the campaign.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Plate files, or logs of excluded wells.")],
    as_json: AsJson = False,
) -> None:
    """Put files into the inbox; a server at PREFECT_API_URL starts the round."""
    from flows import uploading
    from flows.console import answer

    uploaded = uploading.upload(str(config), files, os.environ.get("PREFECT_API_URL"))
    answer(uploaded, as_json, uploading.upload_lines(uploaded))
