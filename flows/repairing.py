"""Repair: rounds whose checkpoints are damaged or missing compute them again. Nothing is published."""

from collections.abc import Iterator

from prefect import flow

from flows.campaign import checked_config
from flows.forms import CampaignName
from flows.registry import find_campaign
from flows.results import Result
from flows.round import find_out, prepare, stand
from flows.verifying import Verified, damaged_checkpoints, verify_campaign
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.references import folder_of, read_locks
from tasks.checkpoints.records import NodeRecord
from tasks.checkpoints.store import CheckpointStore, DamagedCheckpoint


class Repaired(Result):
    """What a repair has computed again, in words."""

    repaired: list[str]


@flow(name="repair", persist_result=False, validate_parameters=False)
def repair_campaign(campaign: CampaignName) -> Repaired:
    """Compute damaged and missing checkpoints again, as the rounds that need them would; publish nothing.

    Args:
        campaign: Name of a registered campaign, or the path of its YAML file.
    """
    config = checked_config(find_campaign(campaign))
    repaired = repair(config)
    return Repaired(campaign=config.campaign.name, location=Ledger.of(config).storage.url, repaired=repaired)


def repair(config: CampaignConfig) -> list[str]:
    """Compute damaged and missing checkpoints again, round by round: a later round may need an earlier one's.

    A round is computed with the configuration that its checkpoints were made with: the present one, or an earlier
    revision. What neither makes again (a superseded run before a plate was repeated) stays damaged.

    Returns:
        What was computed again, in words.
    """
    ledger = Ledger.of(config)
    ledger.require_open()
    harmed = set(damaged_checkpoints(ledger))
    rounds: dict[int, dict[str, NodeRecord]] = {}
    for found in read_locks(ledger.storage) if harmed else ():
        for record in found.lock.nodes.values():
            if folder_of(record) in harmed:
                rounds.setdefault(found.round_index, {})[folder_of(record)] = record
    done: list[str] = []
    for number in sorted(rounds):
        for settings in _configurations(ledger, config):
            wanted = {folder: record for folder, record in rounds[number].items() if folder in harmed}
            if not wanted or not _would_make(settings, number, set(wanted)):
                continue
            _compute(settings, number, plan=False)
            for folder, record in wanted.items():
                if (word := _outcome(ledger, record)) is not None:
                    harmed.discard(folder)
                    done.append(f"{record.node} of round {number}{word}")
    return done


def _configurations(ledger: Ledger, config: CampaignConfig) -> Iterator[CampaignConfig]:
    """The present configuration, then earlier revisions, newest first, with the present places of files."""
    yield config
    for number in reversed(ledger.revisions()):
        then = ledger.config(number)
        campaign = then.campaign.model_copy(update={"storage": config.campaign.storage})
        library = then.library.model_copy(update={"uri": config.library.uri})
        there = then.model_copy(update={"campaign": campaign, "library": library, "compute": config.compute})
        if there != config:
            yield there


def _would_make(config: CampaignConfig, number: int, folders: set[str]) -> bool:
    """Whether a round with this configuration would compute some of these checkpoints."""
    try:
        return bool(folders & _compute(config, number, plan=True))
    except DamagedCheckpoint:  # something that it needs of an earlier round is lost for good
        return False


def _compute(config: CampaignConfig, number: int, *, plan: bool) -> set[str]:
    """Go through a round without publishing it; folders of the checkpoints that were not there."""
    this, intake = prepare(config, number, plan, record=False)
    standing = stand(this)
    if intake.enough:
        find_out(this, intake, standing)
    new = {event.node for event in this.cp.events if event.status != "cached"}
    return {folder_of(record) for node, record in this.cp.records.items() if node in new}


def _outcome(ledger: Ledger, record: NodeRecord) -> str | None:
    """What became of a checkpoint, to follow its name: nothing to say, another content; None: it is not there."""
    manifest = CheckpointStore(ledger.storage).find(record.stage, record.key).manifest
    if manifest is None:
        return None
    same = {name: ref.sha256 for name, ref in manifest.refs().items()} == {
        name: ref.sha256 for name, ref in record.outputs.items()
    }
    return "" if same else ", WHICH CAME OUT DIFFERENTLY: other packages or another processor"


def verify_and_repair(config_path: str) -> Verified:
    """Verify, repair what is damaged, and verify again."""
    config = checked_config(config_path)
    found = verify_campaign(config)
    if not found.checkpoints:
        return found
    repaired = repair_campaign(config_path).repaired
    return verify_campaign(config).model_copy(update={"repaired": repaired})
