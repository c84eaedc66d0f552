"""One round of a campaign at a time: a second one waits for its turn."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect import get_run_logger
from prefect.concurrency.sync import concurrency
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
    with ExitStack() as held:
        slot = limit_of(campaign)
        try:
            held.enter_context(concurrency(slot, timeout_seconds=0, raise_on_lease_renewal_failure=False))
        except TimeoutError:
            get_run_logger().info("Another round of %s is under way; this one waits until it has ended.", campaign)
            held.enter_context(concurrency(slot, raise_on_lease_renewal_failure=False))
        yield
