"""What Prefect shows of a run: its name, and how far long work is."""

import re
import time
from collections.abc import Mapping
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.runtime import flow_run

from flows.parts import Round
from tasks.checkpoints.checkpointer import Outputs
from tasks.checkpoints.progress import Watch

_SECONDS_BETWEEN = 2.0


def name_run(name: str) -> None:
    """Give the flow run that this is a name in Prefect."""
    run = flow_run.get_id()
    if run is not None:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(run), name=name)


def artifact_key(campaign: str, word: str) -> str:
    """Key of an artifact, the same in every run of a campaign."""
    slug = re.sub(r"[^a-z0-9]+", "-", campaign.lower()).strip("-")
    return f"{slug}-{re.sub(r'[^a-z0-9]+', '-', word.lower()).strip('-')}"


def follow(this: Round, what: str, pieces: Mapping[str, PrefectFuture[Outputs]]) -> list[Outputs]:
    """Outputs of many pieces of a round, in order, with an artifact that shows how far they are; none in a plan.

    Args:
        this: The round.
        what: Name of the work; it gives the artifact its key.
        pieces: The submitted tasks by node.
    """
    if this.cp.plan:
        return [future.result() for future in pieces.values()]
    text = f"Round {this.number}: {what}, {len(pieces)} pieces"
    return follow_pieces(this.watch, artifact_key(this.config.campaign.name, what), text, pieces)


def follow_pieces(watch: Watch, key: str, text: str, pieces: Mapping[str, PrefectFuture[Outputs]]) -> list[Outputs]:
    """Outputs of many pieces of work, in order, with an artifact that shows how far they are.

    Args:
        watch: Knows how far the nodes are.
        key: Of the artifact.
        text: What the artifact says.
        pieces: The submitted tasks by node.
    """
    artifact = cast(UUID, create_progress_artifact(0.0, key=key, description=text))
    outputs, last = [], time.monotonic()
    for future in pieces.values():
        running = cast("PrefectConcurrentFuture[Outputs]", future).wrapped_future  # tasks run in threads
        while not running.done():
            future.wait(timeout=_SECONDS_BETWEEN)
            if time.monotonic() - last >= _SECONDS_BETWEEN:
                update_progress_artifact(artifact, 100 * watch.share(list(pieces)))
                last = time.monotonic()
        outputs.append(future.result())
    update_progress_artifact(artifact, 100.0)
    return outputs
