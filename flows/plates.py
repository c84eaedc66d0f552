"""Waive or abandon plates of a campaign, with a note."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from prefect import flow
from prefect.runtime import flow_run

from flows.announcing import announce
from flows.forms import Barcodes, CampaignName, Note
from flows.inspection import campaign_plates
from flows.registry import find_campaign
from flows.results import Marked
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.lifecycle import PlateState
from tasks.campaigns.marks import make_mark, read_marks, write_mark
from tasks.campaigns.reading import read_config

_STATES = {"waive": PlateState.WAIVED, "abandon": PlateState.ABANDONED}


def run_name() -> str:
    """Name of a flow run: what it does to which plates."""
    given = flow_run.get_parameters()
    return f"{given.get('decision')} {', '.join(given.get('barcodes') or [])} of {given.get('campaign')}"


@flow(name="repeat-plates", flow_run_name=run_name, persist_result=False, validate_parameters=False)
def repeat_plates(
    campaign: CampaignName, decision: Literal["waive", "abandon"], barcodes: Barcodes, note: Note
) -> list[Marked]:
    """Say that failed plates are not repeated: waive them (they are used all the same) or abandon them.

    Perturbations of an abandoned plate may be chosen again. The next run of the round takes it into account.

    Args:
        campaign: Name of a registered campaign, or the path of its YAML file.
        decision: waive: use the plates although quality control failed them. abandon: give the plates up.
        barcodes: Barcodes of the plates, one or more; the decision is about the newest attempt of each.
        note: Why. It is kept for good and stands in the report.
    """
    marks = mark_plates(find_campaign(campaign), decision, barcodes, note)
    announce("decision.recorded", marks[0].campaign, round=marks[0].round, decision=decision)
    return marks


def mark_plate(config_path: str, decision: Literal["waive", "abandon"], barcode: str, note: str) -> Marked:
    """Record a decision about one plate; as `mark_plates`."""
    return mark_plates(config_path, decision, [barcode], note)[0]


def mark_plates(
    config_path: str, decision: Literal["waive", "abandon"], barcodes: Iterable[str], note: str
) -> list[Marked]:
    """Record a decision about plates: about all of them, or, if one cannot be decided so, about none.

    Deciding the same again changes nothing.

    Raises:
        UserError: No such plate, no note, or a plate whose state does not allow the decision.
    """
    config = read_config(config_path)
    ledger = Ledger.of(config)
    ledger.require_open()
    known, now = campaign_plates(ledger), datetime.now(UTC)
    marks = [make_mark(known, barcode, _STATES[decision], note, now) for barcode in dict.fromkeys(barcodes)]
    newly = [write_mark(ledger.storage, mark) for mark in marks]
    kept = read_marks(ledger.storage, {mark.round for mark in marks})
    return [
        Marked(
            campaign=config.campaign.name,
            location=ledger.storage.url,
            round=mark.round,
            barcode=mark.barcode,
            attempt=mark.attempt,
            state=mark.state.value,
            note=mark.note if new else kept[mark.barcode, mark.attempt].note,
            newly=new,
        )
        for mark, new in zip(marks, newly, strict=True)
    ]
