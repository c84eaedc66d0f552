"""One round of a campaign at a time: a second one waits for its turn."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment


def limit_of(campaign: str) -> str:
    """Name of a campaign's concurrency limit in Prefect."""
    return f"hybridscreen-round-{campaign}"


@contextmanager
def turn_of(campaign: str) -> Iterator[None]:
    """Hold the only slot of a campaign, once it is free. Outside of a deployment nobody else asks for it.

    A run that dies leaves its slot when its lease ends, after five minutes. The slot spares the machine; the
    campaign's data are safe without it, because its storage has one winner in any case.
    """
    if not deployment.id:
        yield
        return
    slot = limit_of(campaign)
    if taken(slot):
        get_run_logger().info("Another round of %s is under way; this one waits until it has ended.", campaign)
    with concurrency(slot, raise_on_lease_renewal_failure=False):
        yield


def taken(slot: str) -> bool:
    """Whether somebody holds a concurrency limit; False where the server has no such limit."""
    with get_client(sync_client=True) as client, suppress(ObjectNotFound):
        found = client.read_global_concurrency_limit_by_name(slot)
        return found.active_slots >= found.limit
    return False
