"""What happens on a Prefect server, in lines for a terminal."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.client.schemas.sorting import FlowRunSort

from flows.deploying import POOL

_NEWEST = 50


class RunLog:
    """Tells of every new state of the newest flow runs, once; of what was there before it, nothing."""

    def __init__(self) -> None:
        self._told: dict[UUID, UUID | None] = {run.id: run.state_id for run in _runs()}

    def news(self) -> list[str]:
        """A line for each run whose state is new."""
        fresh = [run for run in reversed(_runs()) if self._told.get(run.id) != run.state_id]
        self._told |= {run.id: run.state_id for run in fresh}
        return [_line(run) for run in fresh]


def server_is_healthy() -> bool:
    """Whether the server answers."""
    with get_client(sync_client=True) as client:
        return client.api_healthcheck() is None


def worker_is_online() -> bool:
    """Whether a worker of the pool has sent a heartbeat lately."""
    with get_client(sync_client=True) as client:
        return any(worker.status is WorkerStatus.ONLINE for worker in client.read_workers_for_work_pool(POOL))


def _runs() -> list[FlowRun]:
    """Newest runs that have begun; scheduled and submitted ones have not."""
    begun: list[StateType] = [kind for kind in StateType if kind not in (StateType.SCHEDULED, StateType.PENDING)]
    chosen = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=begun)))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=chosen, sort=FlowRunSort.START_TIME_DESC, limit=_NEWEST)


def _line(run: FlowRun) -> str:
    state = run.state_name or "unknown"
    message = "" if run.state is None or not run.state.is_final() or not run.state.message else f": {run.state.message}"
    return f"{run.name}  {state}{' '.join(message.split(chr(10)))}"
