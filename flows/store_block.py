"""Credentials of the object store as a Prefect block, which the worker puts into the environment of every run."""

from typing import ClassVar

from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from pydantic import Field, SecretStr

#: Name of the block that `deploy` looks for.
NAME = "default"


class ObjectStore(Block):
    """Where an S3 object store is and who may use it. A block named `default` is used by all runs of the service."""

    _block_type_name: ClassVar[str | None] = "Hybrid Screen object store"
    _block_type_slug: ClassVar[str | None] = "hybridscreen-store"
    _description: ClassVar[str | None] = (
        "Endpoint and credentials of the object store that holds the campaigns. Name it `default`, then run "
        "`hybridscreen deploy`: every run of the service gets them as AWS_… variables."
    )

    access_key: SecretStr = Field(min_length=1, description="Access key, as AWS_ACCESS_KEY_ID.")
    secret_key: SecretStr = Field(min_length=1, description="Secret key, as AWS_SECRET_ACCESS_KEY.")
    endpoint: str | None = Field(default=None, description="Address of a store other than AWS, as https://host:9000.")
    region: str | None = Field(default=None, description="Region, as us-east-1.")


_VARIABLES = {
    "access_key": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
    "endpoint": "AWS_ENDPOINT_URL",
    "region": "AWS_DEFAULT_REGION",
}


def store_variables(client: SyncPrefectClient) -> dict[str, str]:
    """Register the kind of block, and say where a run finds what its block holds.

    Returns:
        References to the block by environment variable, which the worker resolves when it starts a run; the values
        themselves are not read here. Empty where there is no block: then the worker's own environment counts.
    """
    ObjectStore.register_type_and_schema()
    slug = ObjectStore.get_block_type_slug()
    try:
        found = client.read_block_document_by_name(NAME, slug, include_secrets=False).data
    except ObjectNotFound:
        return {}
    return {
        variable: f"{{{{ prefect.blocks.{slug}.{NAME}.{field} }}}}"
        for field, variable in _VARIABLES.items()
        if found.get(field)
    }
