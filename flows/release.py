"""Release the proposed batch of the newest round to the lab."""

from prefect import flow

from flows.forms import CampaignName, RoundIndex
from flows.registry import find_campaign
from flows.results import Released
from tasks.campaigns.designs import BATCH, PLATEMAP, Design, read_design, release, round_folder
from tasks.campaigns.ledger import Ledger, Run
from tasks.campaigns.reading import read_config
from tasks.errors import UserError

_FILES = (BATCH, PLATEMAP, "worklist_echo.csv", "worklist.csv")


@flow(name="release", persist_result=False, validate_parameters=False)
def release_batch(campaign: CampaignName, round_index: RoundIndex = None) -> Released:
    """Freeze the proposal of a round's newest run as the next round's design. Releasing again changes nothing.

    Args:
        campaign: Name of a registered campaign, or the path of its YAML file.
        round_index: Round whose proposal is released, from 0. None: the newest that was decided.
    """
    config = read_config(find_campaign(campaign))
    ledger = Ledger.of(config)
    ledger.require_open()
    looks = ledger.looks()
    numbers = sorted({run.round_index for run in looks})
    number = round_index if round_index is not None else (numbers[-1] if numbers else 0)
    run = ledger.last_decided(number)
    if run is None:
        raise UserError("no batch is proposed yet", where=f"round {number}", todo="Compute the round first.")
    if not ledger.storage.exists(f"{run.folder}/proposal/{PLATEMAP}"):
        raise UserError(
            "nothing to release",
            where=f"round {number}",
            got="a decision to stop",
            todo="Raise stopping.gamma or stopping.max_rounds and compute the round again to go on.",
        )
    design, newly = release_proposal(ledger, run)
    return Released(
        campaign=config.campaign.name,
        location=ledger.storage.url,
        round=number + 1,
        newly=newly,
        design=ledger.storage.locate(f"{round_folder(number + 1)}/design"),
        source=design.source,
    )


def release_proposal(ledger: Ledger, run: Run) -> tuple[Design, bool]:
    """Release exactly the files that a run proposed, unless the next round has its design already."""
    known = read_design(ledger.storage, run.round_index + 1)
    if known is not None:
        return known, False
    texts = {name: ledger.storage.read(f"{run.folder}/proposal/{name}").decode() for name in _FILES}
    return release(ledger.storage, run.round_index + 1, texts, run.folder)
