"""The description of a finished screen: one YAML file, checked when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from tasks.campaigns.config import (
    AlignmentSection,
    ControlWells,
    PlatesSection,
    QualitySection,
    ReadoutSection,
)
from tasks.campaigns.reading import parse_model, read_text
from tasks.campaigns.section import Section
from tasks.readouts.layouts import Layout, parse_layout


class ScreenSection(Section):
    """What the screen is and where its files are."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        description="Name of the screen: letters, digits, - and _. Name of the folder with the results.",
    )
    folder: str = Field(default=".", description="Folder with plate files and layout, relative to this file.")
    files: str | None = Field(
        default=None,
        min_length=1,
        description="Plate files below the folder, * and ? allowed. None: the files that the layout names.",
    )
    layout: dict[str, Any] = Field(
        description="style: cellhts2, jump or table; and the options of that style (tasks/readouts/layouts)."
    )


class ScreenReadout(ReadoutSection):
    """What a well reports. Nothing is predicted, so no tolerance is needed."""

    @model_validator(mode="after")
    def _kind_has_its_number(self) -> Self:
        if self.kind == "binary" and self.threshold is None:
            raise ValueError("threshold is needed for a binary readout")
        return self


class ControlLevel(Section):
    """One kind of control; its wells are those of the layout."""

    nominal: float | None = Field(
        default=None, description="Known value of this control [readout unit]; two-point needs it."
    )


class ScreenPlates(Section):
    """The plates; what stands on them is in the layout."""

    format: Literal[96, 384, 1536] = Field(default=384, description="Wells of a plate.")
    negcon: ControlLevel = Field(default_factory=ControlLevel, description="Negative controls.")
    poscon: ControlLevel = Field(default_factory=ControlLevel, description="Positive controls.")

    def with_wells(self, platemap: pd.DataFrame) -> PlatesSection:
        """The section as campaigns have it, with the control wells of the plate maps."""

        def control(role: Literal["negcon", "poscon"]) -> ControlWells | None:
            wells = tuple(sorted(platemap.loc[platemap["role"] == role, "well"].unique()))
            return ControlWells(wells=wells, nominal=getattr(self, role).nominal) if wells else None

        return PlatesSection.model_validate(
            {"format": self.format, "negcon": control("negcon"), "poscon": control("poscon")}
        )


class ScreenConfig(Section):
    """The whole description of a finished screen."""

    screen: ScreenSection
    readout: ScreenReadout = Field(default_factory=ScreenReadout)
    plates: ScreenPlates = Field(default_factory=ScreenPlates)
    quality: QualitySection = Field(default_factory=QualitySection)
    alignment: AlignmentSection = Field(default_factory=AlignmentSection)


def read_screen_config(path: str | Path) -> tuple[ScreenConfig, Layout]:
    """Read and check the description of a screen. A relative folder becomes absolute.

    Returns:
        The description, and its layout, whose options have been checked too.

    Raises:
        UserError: If the file is missing, is not YAML, or does not fit the model.
    """
    path = Path(path)
    config = parse_model(read_text(path), str(path), ScreenConfig, "a screen")
    layout = parse_layout(config.screen.layout, f"{path}: screen.layout")
    folder = (path.resolve().parent / Path(config.screen.folder).expanduser()).resolve()
    screen = config.screen.model_copy(update={"folder": str(folder)})
    return config.model_copy(update={"screen": screen}), layout
