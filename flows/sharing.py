"""`hybridscreen publish`: a published screen, copied whole to a folder or bucket of others."""

from prefect import flow
from prefect.runtime import flow_run

from flows.forms import CampaignName, Place, ScreenNumber
from flows.registry import find_campaign
from flows.results import Result
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.reading import read_config
from tasks.campaigns.screens import copy_screen, published_screens
from tasks.checkpoints.storage import Storage
from tasks.errors import UserError


class Shared(Result):
    """Answer of `publish`: the screen's number, where its copy is, how many files, and whether it is new."""

    screen: int
    copy_at: str
    files: int
    newly: bool


def run_name() -> str:
    """Name of a flow run: which screen of which campaign goes where."""
    given = flow_run.get_parameters()
    number = given.get("screen")
    return f"publish {'newest screen' if number is None else f'screen {number}'} of {given.get('campaign')}"


@flow(name="publish", flow_run_name=run_name, persist_result=False, validate_parameters=False)
def publish_screen(campaign: CampaignName, to: Place, screen: ScreenNumber = None) -> Shared:
    """Copy a published hybrid screen to where others read it. Copying the same again changes nothing.

    Args:
        campaign: Name of a registered campaign, or the path of its YAML file.
        to: Folder on the worker's machine, or s3://bucket/prefix. The copy is made in CAMPAIGN/NUMBER below it.
        screen: Number of the screen, from 1. None: the newest.
    """
    config = read_config(find_campaign(campaign))
    ledger = Ledger.of(config)
    ledger.require_open()
    screens = {each.number: each for each in published_screens(ledger.storage)}
    if not screens:
        raise UserError("no screen is published yet", where=config.campaign.name, todo="Compute a round first.")
    number = max(screens) if screen is None else screen
    if number not in screens:
        known = ", ".join(map(str, screens))
        raise UserError("no such screen", where=config.campaign.name, got=number, expected=known)
    target = Storage(to).below(config.campaign.name, f"{number:04d}")
    try:
        newly = copy_screen(ledger.storage, screens[number], target)
    except FileNotFoundError as error:
        raise UserError("no such bucket", where=target.url, todo="Create it first.") from error
    return Shared(
        campaign=config.campaign.name,
        location=ledger.storage.url,
        screen=number,
        copy_at=target.url,
        files=len(screens[number].files),
        newly=newly,
    )


def shared_lines(shared: Shared) -> list[str]:
    """The answer in lines for a terminal."""
    state = f"copied, {shared.files} files" if shared.newly else "was there, unchanged"
    return [f"Screen {shared.screen} of {shared.campaign} {state}: {shared.copy_at}"]
