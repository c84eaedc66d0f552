"""What all parts of the configuration are."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A part of the configuration: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Preset(Section):
    """Settings with named presets: what a user leaves out is taken from the preset, then from the defaults."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}

    preset: str | None = Field(default=None, description="Settings of a paper, for all that is not given here.")

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        name = given.get("preset") if isinstance(given, dict) else None
        if not isinstance(name, str):
            return given  # nothing, or what its own check refuses
        if name not in cls.PRESETS:
            known = ", ".join(sorted(cls.PRESETS)) or "none here"
            raise ValueError(f"no preset {name!r}; there are: {known}")
        return cls.PRESETS[name] | given
