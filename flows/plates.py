"""Waive or abandon a plate of a campaign, with a note."""

from datetime import UTC, datetime
from typing import Literal

from prefect import flow

from flows.inspection import campaign_plates
from flows.results import Marked
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.lifecycle import PlateState
from tasks.campaigns.marks import make_mark, read_marks, write_mark
from tasks.campaigns.reading import read_config

_STATES = {"waive": PlateState.WAIVED, "abandon": PlateState.ABANDONED}


@flow(name="plates", persist_result=False, validate_parameters=False)
def mark_plate(config_path: str, decision: Literal["waive", "abandon"], barcode: str, note: str) -> Marked:
    """Waive a failed plate (it is used all the same) or abandon one (its perturbations may be chosen again).

    The next run of the round takes it into account. Deciding the same again changes nothing.

    Args:
        config_path: The campaign's YAML file. Started from the Prefect UI: an absolute path on the worker's machine.
        decision: waive: use the plate although quality control failed it. abandon: give the plate up.
        barcode: Barcode of the plate; the decision is about its newest attempt.
        note: Why. It is kept for good and stands in the report.
    """
    config = read_config(config_path)
    ledger = Ledger.of(config)
    ledger.require_open()
    mark = make_mark(campaign_plates(ledger), barcode, _STATES[decision], note, datetime.now(UTC))
    newly = write_mark(ledger.storage, mark)
    kept = mark if newly else read_marks(ledger.storage, [mark.round])[mark.barcode, mark.attempt]
    return Marked(
        campaign=config.campaign.name,
        location=ledger.storage.url,
        round=mark.round,
        barcode=barcode,
        attempt=mark.attempt,
        state=mark.state.value,
        note=kept.note,
        newly=newly,
    )
