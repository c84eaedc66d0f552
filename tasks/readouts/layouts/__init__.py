"""Plate maps from outside: what stood in which well of a finished screen, in the forms that labs keep it.

A style is one file with a subclass of `Layout` (its options and `read`) and one line in `LAYOUTS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from tasks.campaigns.reading import explain
from tasks.errors import UserError
from tasks.readouts.layouts.cellhts2 import CellHts2
from tasks.readouts.layouts.jump import Jump
from tasks.readouts.layouts.model import (
    EXCLUSION_COLUMNS,
    Layout,
    ScreenLayout,
    exclude,
    excluded,
    is_exclusion_log,
    read_exclusions,
)
from tasks.readouts.layouts.source import Source, folder_source
from tasks.readouts.layouts.table import Table

__all__ = [
    "EXCLUSION_COLUMNS",
    "LAYOUTS",
    "Layout",
    "ScreenLayout",
    "Source",
    "exclude",
    "excluded",
    "folder_source",
    "is_exclusion_log",
    "parse_layout",
    "read_exclusions",
    "read_layout",
]

#: Name in the configuration -> style. A new style is one file and one line here.
LAYOUTS: dict[str, type[Layout]] = {"cellhts2": CellHts2, "jump": Jump, "table": Table}


def parse_layout(options: Mapping[str, object], where: str) -> Layout:
    """Check a layout's options.

    Args:
        options: `style`, and the options of that style.
        where: What the message of a mistake begins with.

    Raises:
        UserError: The style is unknown, or an option is unknown, missing or wrong.
    """
    style = options.get("style")
    if not isinstance(style, str) or style not in LAYOUTS:
        raise UserError("unknown layout", where=f"{where}.style", got=repr(style), expected=" or ".join(LAYOUTS))
    try:
        return LAYOUTS[style].model_validate({key: value for key, value in options.items() if key != "style"})
    except ValidationError as error:
        raise explain(error, where) from error


def read_layout(style: str, source: Source, fmt: int, **options: object) -> ScreenLayout:
    """Read the layout of a screen.

    Args:
        style: A name in `LAYOUTS`.
        source: Gives the content of a file by its name (`folder_source` for a folder).
        fmt: Wells of a plate: 96, 384 or 1536.
        options: The options of that style.

    Raises:
        UserError: A wrong option or a mistake in the files; one line that names file and line.
    """
    return parse_layout({"style": style, **options}, "layout").read(source, fmt)
