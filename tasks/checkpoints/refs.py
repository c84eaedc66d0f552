"""References to stored values: what passes between tasks instead of the values themselves."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["anndata", "table", "array", "tensors", "json", "text"]


class Ref(BaseModel):
    """Where a stored value lies and what its content is.

    Attributes:
        uri: Path below the campaign's root, so that a reference is the same in every storage.
        sha256: Digest of the content; see `tasks.checkpoints.payloads.content_digest`.
        kind: Format, which says how to read it.
        shape: Shape of the value where it has one, in rows and columns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    sha256: str = Field(pattern=r"^([0-9a-f]{64}|pending:[0-9a-f]{64})$")
    kind: Kind
    shape: tuple[int, ...] | None = None

    @property
    def pending(self) -> bool:
        """True for a value that a plan would compute and that does not exist yet."""
        return self.sha256.startswith("pending:")
