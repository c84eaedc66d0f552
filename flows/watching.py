"""Look at registered campaigns, start the rounds for which something new is there, and say of the others why not."""

from datetime import UTC, datetime
from typing import Literal

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterIdempotencyKey,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments import run_deployment
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import BaseModel, ConfigDict

from flows.forms import CampaignName
from flows.looking import remember, remembered, sign_of
from flows.registry import find_campaign, registered
from flows.results import RoundResult
from flows.round import run_round
from tasks.campaigns.answers import read_answers
from tasks.campaigns.designs import read_design
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.reading import read_config
from tasks.checkpoints.keys import digest
from tasks.errors import HybridScreenError

#: Every registered campaign; no name of one, because names have only letters, digits, - and _.
EVERY = "*"
ROUND = "round/round"
_STARTS = 5


class Seen(BaseModel):
    """What a look at a campaign came to. `error`: it could not be looked at, and `why` says why."""

    model_config = ConfigDict(frozen=True)

    campaign: str
    outcome: Literal["started", "not started", "error"]
    why: str


def run_name() -> str:
    """Name of a flow run: what is looked at."""
    given = flow_run.get_parameters().get("campaign")
    return f"look at {'all campaigns' if given == EVERY else given}"


@flow(name="watch", flow_run_name=run_name, persist_result=False, validate_parameters=False)
def watch(campaign: CampaignName = EVERY) -> State[list[Seen]]:
    """Start the rounds whose plates have arrived. Says of every campaign what was started, or why nothing was.

    Args:
        campaign: Name of a registered campaign; *: all of them, one after the other.
    """
    names = list(registered()) if campaign == EVERY else [campaign]
    seen = [look_at(name) for name in names]
    create_table_artifact(table=[each.model_dump() for each in seen], key="watch", description="The last look")
    message = "; ".join(f"{each.campaign}: {each.outcome}, {each.why}" for each in seen) or "no campaign is registered"
    if any(each.outcome == "error" for each in seen):
        return Failed(message=message)
    started = sum(each.outcome == "started" for each in seen)
    return Completed(name="Started" if started else "Nothing new", message=message, data=seen)


def look_at(name: str) -> Seen:
    """Look at one campaign, and start its round if something is new.

    Where listings show nothing new since a full look that found nothing to do, its answer stands for a day.
    """
    try:
        path = find_campaign(name)
        config = read_config(path)
        ledger = Ledger.of(config)
        if read_design(ledger.storage, 0) is None:
            return Seen(campaign=name, outcome="not started", why="the campaign is not open yet")
        sign, now = sign_of(config, ledger), datetime.now(UTC)
        known = remembered(config.campaign.name, sign, now)
        if known is not None:
            return Seen(campaign=name, outcome="not started", why=known)
        busy = on_its_way(name)
        if busy is not None:
            return Seen(campaign=name, outcome="not started", why=f"run {busy} is on its way")
        planned = run_round(path, plan=True)
        if not planned.computed and finished(ledger, planned.round):
            why = why_not(ledger, planned)
            remember(config.campaign.name, sign, why, now)
            return Seen(campaign=name, outcome="not started", why=why)
        return start(name, planned, evidence(ledger, planned))
    except HybridScreenError as error:
        return Seen(campaign=name, outcome="error", why=str(error))


def finished(ledger: Ledger, number: int) -> bool:
    """Whether the newest run of a round came to its end."""
    runs = ledger.runs(number)
    return bool(runs) and runs[-1].summary is not None


def why_not(ledger: Ledger, planned: RoundResult) -> str:
    """Why there is nothing to do for a campaign all of whose steps have been computed."""
    number, run = planned.round, ledger.last_decided(planned.round)
    if run is None or planned.plates_passed == 0:
        return f"round {number} {planned.message}"
    if (run.summary or {})["stop"]:
        return f"round {number} decided to stop"
    if read_design(ledger.storage, number + 1) is None:
        rejected = [a for a in read_answers(ledger.storage, [number]) if (a.run, a.decision) == (run.number, "reject")]
        state = f"was rejected: {rejected[-1].note}" if rejected else "waits for approval"
        return f"the batch that round {number} proposes {state}"
    return f"no plate of round {number + 1} has arrived"


def evidence(ledger: Ledger, planned: RoundResult) -> str:
    """Digest of what a round would start from: the same evidence starts no second run."""
    steps = [(event.node, event.reason) for event in planned.computed]
    uploads = [(upload.path, upload.sha256) for upload in ledger.uploads()]
    return digest([planned.campaign, planned.round, len(ledger.runs(planned.round)), steps, uploads])


def start(name: str, planned: RoundResult, found: str) -> Seen:
    """Start a round, unless one was started from this evidence; one that crashed is started again."""
    what = f"round {planned.round}, {len(planned.computed)} of {len(planned.events)} steps are new"
    for count in range(_STARTS):
        key = f"{found}-{count}"
        run = run_of(key)
        if run is None:
            run_deployment(ROUND, parameters={"campaign": name}, timeout=0, idempotency_key=key, as_subflow=False)
            return Seen(campaign=name, outcome="started", why=what)
        state = run.state
        if state is None or not state.is_final():
            return Seen(campaign=name, outcome="not started", why=f"{what}, and run {run.name} is on its way")
        if state.is_failed() or state.is_cancelled():
            why = f"{what}, but run {run.name} ended as {state.name}: {state.message}. Mend that and start it by hand"
            return Seen(campaign=name, outcome="not started", why=why)
    why = f"{what}, but {_STARTS} runs ended without computing it. Look at their logs and start it by hand"
    return Seen(campaign=name, outcome="error", why=why)


def on_its_way(name: str) -> str | None:
    """Name of a round of this campaign that has been started and has not ended.

    Its steps become old one by one, so a plan made beside it would always differ from the one it was started from.
    """
    begun = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[ROUND.split("/")[1]])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=begun))),
        )
    return next((run.name for run in runs if run.parameters.get("campaign") == name), None)


def run_of(key: str) -> FlowRun | None:
    """The flow run of an idempotency key."""
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[key]))
        )
    return found[0] if found else None
