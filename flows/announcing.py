"""Events by which others may learn at once what happened in a campaign; nothing here depends on them."""

from typing import Literal

from prefect.events import emit_event

What = Literal["plate.received", "decision.recorded", "screen.published"]


def announce(what: What, campaign: str, **facts: str | int | float | bool | None) -> None:
    """Emit an event about a campaign to the Prefect server; nowhere, where there is none.

    Args:
        what: Name of the event.
        campaign: Name of the campaign, the event's resource.
        facts: Its payload.
    """
    resource = {"prefect.resource.id": f"hybridscreen.campaign.{campaign}", "prefect.resource.name": campaign}
    emit_event(event=what, resource=resource, payload=dict(facts))
