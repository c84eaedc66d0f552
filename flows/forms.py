"""Fields of the run forms, with their bounds; what each is for stands in the docstring of the flow."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

CampaignName = Annotated[str, Field(min_length=1, max_length=1024)]
RoundIndex = Annotated[int | None, Field(ge=0, le=9999)]
Barcodes = Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(min_length=1, max_length=1000)]
Note = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S")]
OptionalNote = Annotated[str, Field(max_length=2000)]
Vetoes = Annotated[Sequence[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=10_000)]
Place = Annotated[str, Field(min_length=1, max_length=1024)]
ScreenNumber = Annotated[int | None, Field(ge=1, le=9999)]
