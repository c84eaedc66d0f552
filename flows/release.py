"""Answer a proposed batch: release it to the lab, veto some of it, or reject it."""

from collections.abc import Sequence
from datetime import UTC, datetime

from prefect import flow
from prefect.runtime import flow_run

from flows.announcing import announce
from flows.forms import CampaignName, OptionalNote, RoundIndex, Vetoes
from flows.registry import find_campaign
from flows.results import Released
from tasks.campaigns.answers import Answer, Decision, make_answer, read_answers, write_answer
from tasks.campaigns.designs import BATCH, PLATEMAP, Design, read_design, release, round_folder, stored_table
from tasks.campaigns.ledger import Ledger, Run
from tasks.campaigns.reading import read_config
from tasks.errors import UserError

_FILES = (BATCH, PLATEMAP, "worklist_echo.csv", "worklist.csv")


def run_name() -> str:
    """Name of a flow run: what it does with which batch."""
    given = flow_run.get_parameters()
    number = given.get("round_index")
    which = "newest round" if number is None else f"round {number}"
    return f"{given.get('decision')} batch of {which} of {given.get('campaign')}"


@flow(name="release", flow_run_name=run_name, persist_result=False, validate_parameters=False)
def release_batch(
    campaign: CampaignName,
    round_index: RoundIndex = None,
    decision: Decision = "approve",
    veto: Vetoes = (),
    note: OptionalNote = "",
) -> Released:
    """Answer the batch that a round's newest run proposes: approve it (it is frozen as the next design), or not.

    Answering the same again changes nothing, and nothing changes a released design.

    Args:
        campaign: Name of a registered campaign, or the path of its YAML file.
        round_index: Round whose proposal is answered, from 0. None: the newest that was decided.
        decision: approve: release it. veto: never choose some of it; the round then proposes anew. reject: none of it.
        veto: For a veto alone: ids of perturbations that the batch would measure.
        note: Why. A veto and a rejection need it; it is kept for good.
    """
    config = read_config(find_campaign(campaign))
    ledger = Ledger.of(config)
    ledger.require_open()
    run = proposing_run(ledger, round_index)
    answer, newly, design = settle(ledger, run, decision, veto, note)
    announce("decision.recorded", config.campaign.name, round=run.round_index, decision=decision)
    return Released(
        campaign=config.campaign.name,
        location=ledger.storage.url,
        round=run.round_index + 1,
        newly=newly,
        design=None if design is None else ledger.storage.locate(f"{round_folder(run.round_index + 1)}/design"),
        source=run.folder if design is None else design.source,
        decision=decision,
        vetoed=list(answer.vetoed),
        note=answer.note,
    )


def proposing_run(ledger: Ledger, round_index: int | None) -> Run:
    """The newest decided run of a round, the newest round by default, which proposes a batch.

    Raises:
        UserError: Nothing is proposed.
    """
    numbers = sorted({run.round_index for run in ledger.looks()})
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
    return run


def settle(
    ledger: Ledger, run: Run, decision: Decision, vetoed: Sequence[str], note: str
) -> tuple[Answer, bool, Design | None]:
    """Record an answer, and release the batch if it is approved; the answer, whether it is new, and the design.

    Raises:
        UserError: The answer makes no sense, or comes after the release.
    """
    storage, now = ledger.storage, datetime.now(UTC)
    known = read_design(storage, run.round_index + 1)
    if known is not None and decision == "approve":
        return Answer(run.round_index, run.number, decision, (), note, now.isoformat()), False, known
    if known is not None:
        where = f"design of round {run.round_index + 1}"
        raise UserError(f"is released: too late to {decision} anything of it", where=where, got=known.source)
    batch = stored_table(storage, f"{run.folder}/proposal/{BATCH}")
    earlier = read_answers(storage, range(run.round_index + 1))
    answer = make_answer(batch, (run.round_index, run.number), decision, vetoed, note, now, earlier)
    newly = write_answer(storage, answer)
    if decision != "approve":
        return answer, newly, None
    design, newly = release_proposal(ledger, run)
    return answer, newly, design


def release_proposal(ledger: Ledger, run: Run) -> tuple[Design, bool]:
    """Release exactly the files that a run proposed, unless the next round has its design already."""
    known = read_design(ledger.storage, run.round_index + 1)
    if known is not None:
        return known, False
    texts = {name: ledger.storage.read(f"{run.folder}/proposal/{name}").decode() for name in _FILES}
    return release(ledger.storage, run.round_index + 1, texts, run.folder)


def release_lines(released: Released, config: object) -> list[str]:
    """The answer in lines for a terminal."""
    if released.decision == "approve":
        state = "released" if released.newly else f"was already released, from {released.source}"
        return [f"The design of round {released.round} {state}: {released.design}"]
    what = f"Vetoed: {', '.join(released.vetoed)}." if released.vetoed else "Rejected."
    again = "" if released.newly else " (recorded before)"
    return [
        f"{what} {released.note}{again}",
        f"Nothing is released. Compute the round again: hybridscreen round {config}",
    ]
