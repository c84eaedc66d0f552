"""What the last full look at a campaign came to, kept as an artifact in Prefect, so that not every look reads all."""

import json
from datetime import UTC, datetime, timedelta
from typing import cast

from prefect.artifacts import Artifact, create_table_artifact
from prefect.client.schemas.objects import Artifact as ArtifactResponse

from flows.following import artifact_key
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.ledger import Ledger
from tasks.checkpoints.keys import digest
from tasks.checkpoints.manifest import package_versions

#: Listings do not tell of damaged checkpoints, nor of code that changed under the same version: once a day all is read.
_LASTS = timedelta(days=1)


def sign_of(config: CampaignConfig, ledger: Ledger) -> str:
    """Digest of what a look at a campaign depends on: its files as they are listed, its configuration, the packages."""
    return digest([config.campaign.name, ledger.sign(), config.model_dump(mode="json"), package_versions()])


def remembered(campaign: str, sign: str, now: datetime) -> str | None:
    """Why a full look found nothing to do; None if things have changed since, or if it is too long ago.

    Args:
        campaign: Name of the campaign.
        sign: What the look would depend on now (`sign_of`).
        now: The present, with a time zone.
    """
    found = cast(ArtifactResponse | None, Artifact.get(artifact_key(campaign, "look")))
    if found is None or not isinstance(found.data, str):
        return None
    last = json.loads(found.data)[0]
    lasts = timedelta() <= now - datetime.fromisoformat(last["at"]) < _LASTS
    return str(last["why"]) if lasts and last["sign"] == sign else None


def remember(campaign: str, sign: str, why: str, now: datetime) -> None:
    """Keep that a full look found nothing to do. `sign` is from before the look: what arrived meanwhile counts as new.

    Losing it costs a full look and nothing else.
    """
    look = {"at": now.astimezone(UTC).isoformat(timespec="seconds"), "why": why, "sign": sign}
    text = "The last time that all files were read and nothing was to do"
    create_table_artifact(table=[look], key=artifact_key(campaign, "look"), description=text)
