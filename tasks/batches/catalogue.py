"""The table of all strategies for the README of this room, made from their docstrings.

`python -m tasks.batches.catalogue` writes it anew; a test fails when the README says something else.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from tasks.batches.options import options_model
from tasks.batches.pool import Kind
from tasks.batches.registry import ANY, STRATEGIES, Strategy
from tasks.errors import UserError

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- strategies: begin, made by python -m tasks.batches.catalogue -->", "<!-- strategies: end -->"
SECTIONS = ("Formula", "Cost", "Fails", "Source")
_HEADER = ("strategy", "formula", "cost", "readouts", "noise-aware", "batch-aware", "source")


def catalogue() -> str:
    """All strategies: a table of formula, cost, readouts and source, and what each does, needs, and when it fails.

    Raises:
        UserError: A docstring lacks one of the sections.
    """
    told = {name: read_docstring(name, strategy) for name, strategy in STRATEGIES.items()}
    rows = [
        (
            f"`{name}`",
            told[name]["Formula"],
            told[name]["Cost"],
            "all" if strategy.kinds == ANY else ", ".join(strategy.kinds),
            "yes" if strategy.noise_aware else "no",
            "yes" if strategy.batch_aware else "no",
            told[name]["Source"],
        )
        for name, strategy in STRATEGIES.items()
    ]
    table = "\n".join(_line(row) for row in (_HEADER, ("---",) * len(_HEADER), *rows))
    return table + "\n\n" + "\n".join(_item(name, strategy, told[name]) for name, strategy in STRATEGIES.items())


def read_docstring(name: str, strategy: Strategy) -> dict[str, str]:
    """First sentence (key ``) and sections of a strategy's docstring, each on one line.

    Raises:
        UserError: A section is missing.
    """
    text = inspect.getdoc(strategy.pick) or ""
    parts = re.split(r"^([A-Z][a-z]+):$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    missing = [section for section in SECTIONS if not sections.get(section, "").strip()]
    if missing:
        raise UserError(
            "a docstring lacks sections", where=f"strategy {name}", got=f"no {', '.join(missing)}", todo="Write them."
        )
    told = {section: " ".join(sections[section].split()) for section in SECTIONS}
    return {"": " ".join(text.split("\n\n")[0].split()), **told}


def with_catalogue(readme: str) -> str:
    """A README with the catalogue between its two marks.

    Raises:
        UserError: The marks are missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError("the marks of the catalogue are missing", where=str(README), expected=f"{BEGIN} … {END}")
    return f"{before}{BEGIN}\n{catalogue()}\n{END}{after}"


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _item(name: str, strategy: Strategy, told: dict[str, str]) -> str:
    parts = [f"- `{name}`: {told['']}"]
    options = options_model(strategy.pick).model_fields.items()
    if options:
        said = "; ".join(f"`{key}` ({field.default}): {field.description}".rstrip(".") for key, field in options)
        parts.append(f"Options: {said}.")
    if strategy.needs:
        parts.append(f"Needs {' and '.join(map(_need, strategy.needs.items()))}.")
    if strategy.instead:
        parts.append(f"Other readouts: `{strategy.instead}`.")
    parts.append(f"*Fails:* {told['Fails']}")
    return " ".join(parts)


def _need(need: tuple[str, tuple[Kind, ...]]) -> str:
    part, kinds = need
    return part if kinds == ANY else f"{part} ({', '.join(kinds)})"


if __name__ == "__main__":
    README.write_text(with_catalogue(README.read_text(encoding="utf-8")), encoding="utf-8")
