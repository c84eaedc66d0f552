"""A finished screen: plate files and plate maps become scores, plate verdicts and a page on quality.

A plain function and no Prefect flow: nothing here comes back in rounds, waits for a lab or is worth a checkpoint. It is
computed anew in the time that a flow's server takes to start.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from flows.folders import check_results, put_results
from tasks.campaigns.designs import table_text
from tasks.checkpoints.progress import current_listener
from tasks.errors import UserError
from tasks.publishing.quality_page import QualityPageData, render_quality_page
from tasks.readouts.alignment import alignment_warning
from tasks.readouts.layouts import ScreenLayout, folder_source
from tasks.readouts.screens import (
    ScoredScreen,
    ScreenConfig,
    read_screen_config,
    score_plates,
    take_in_files,
)

_SHOWN = 8
OUTPUTS = ("wells.parquet", "scores.csv", "plates.csv", "rejected.csv", "quality.json", "quality.html")


class Scored(BaseModel):
    """Answer of `score`. `verdicts` counts the plates by verdict; `plates` lists those that did not pass."""

    model_config = ConfigDict(frozen=True)

    screen: str
    location: str
    verdicts: dict[str, int]
    plates: list[dict[str, Any]]
    rejections: list[dict[str, Any]]
    excluded: int
    perturbations: int
    noise_sd: float | None
    warnings: list[str]
    notes: list[str]

    @property
    def page(self) -> str:
        """Where the page on quality is."""
        return str(Path(self.location) / "quality.html")


def score_screen(config_path: str, out: Path | None = None, *, force: bool = False) -> Scored:
    """Score a finished screen and write what came of it into a folder, all files or none.

    Args:
        config_path: YAML file with sections screen, readout, plates, quality, alignment.
        out: Folder for the results; `<name>-scores` beside the file by default.
        force: Replace the results of an earlier run.

    Raises:
        UserError: A mistake in the description, the layout or the names of files, or results are there already.
    """
    listener = current_listener()
    config, layout_style = read_screen_config(config_path)
    target = out if out is not None else Path(config_path).resolve().parent / f"{config.screen.name}-scores"
    check_results(target, OUTPUTS, force=force)
    listener.started("layout")
    source = folder_source(config.screen.folder)
    layout = layout_style.read(source, config.plates.format)
    intake = take_in_files(
        layout,
        _matching(config, target),
        source,
        config.readout,
        config.plates.format,
        config.screen.name,
        lambda done, total: listener.advanced("plate files", done, total),
    )
    listener.started("quality, alignment and scores")
    scored = score_plates(config, layout, intake.plates, intake.rejections)
    listener.started("pages and tables")
    warning = alignment_warning(config.alignment.method)
    warnings = [] if warning is None else [warning]
    texts = _contents(config, layout, scored, warnings)
    put_results(target, lambda folder: _write(folder, texts, scored.wells))
    return _answer(config, layout, scored, warnings, target)


def _matching(config: ScreenConfig, target: Path) -> list[str]:
    """Names of the files that `screen.files` asks for, below the folder; earlier results are none of them."""
    if config.screen.files is None:
        return []
    folder = Path(config.screen.folder)
    try:
        paths = [path for path in folder.glob(config.screen.files) if path.is_file()]
        found = [path.relative_to(folder).as_posix() for path in paths if target.resolve() not in path.parents]
    except (ValueError, NotImplementedError) as error:
        raise UserError("not a pattern", where="screen.files", got=repr(config.screen.files)) from error
    if not found:
        raise UserError("no plate file", where=str(folder), got=f"none like {config.screen.files!r} (screen.files)")
    return sorted(found)


def _contents(
    config: ScreenConfig, layout: ScreenLayout, scored: ScoredScreen, warnings: Sequence[str]
) -> dict[str, str]:
    """Every text file of the results."""
    qualities = [quality.model_dump(mode="json") for quality in scored.qualities]
    rejected = pd.DataFrame([r.as_row() for r in scored.rejections], columns=["file", "plate", "line", "reason"])
    record = {
        "screen": config.model_dump(mode="json", exclude={"screen": {"folder"}}),
        "plates": qualities,
        "alignment": [fit.model_dump(mode="json") for fit in scored.fits],
        "noise": None if scored.noise is None else scored.noise.model_dump(mode="json"),
        "warnings": list(warnings),
        "notes": list(layout.notes),
    }
    rows = scored.plates.to_dict("records")
    page = QualityPageData(
        title=config.screen.name,
        run="finished screen",
        unit=config.readout.unit,
        transform="" if config.readout.transform == "none" else config.readout.transform,
        fmt=config.plates.format,
        wells=scored.wells,
        qualities=qualities,
        states={f"{row['barcode']}.{row['attempt']}": (str(row["verdict"]), str(row["reasons"])) for row in rows},
        notes=[*warnings, *layout.notes],
    )
    return {
        "scores.csv": table_text(scored.scores),
        "plates.csv": table_text(scored.plates),
        "rejected.csv": table_text(rejected.astype({"line": "Int64"})),
        "quality.json": json.dumps(record, ensure_ascii=False, indent=1) + "\n",
        "quality.html": render_quality_page(page),
    }


def _write(folder: Path, texts: Mapping[str, str], wells: pd.DataFrame) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    wells.to_parquet(folder / "wells.parquet", index=False)


def _answer(
    config: ScreenConfig, layout: ScreenLayout, scored: ScoredScreen, warnings: list[str], target: Path
) -> Scored:
    verdicts = {str(name): int(n) for name, n in scored.plates["verdict"].value_counts().sort_index().items()}
    columns = ["barcode", "attempt", "verdict", "reasons"]
    others = scored.plates.loc[~scored.plates["verdict"].isin(["passed", "repeated"]), columns]
    return Scored(
        screen=config.screen.name,
        location=str(target),
        verdicts=verdicts,
        plates=[{str(name): str(value) for name, value in row.items()} for row in others.to_dict("records")],
        rejections=[rejection.as_row() for rejection in scored.rejections],
        excluded=len(layout.exclusions),
        perturbations=len(scored.scores),
        noise_sd=None if scored.noise is None else scored.noise.average**0.5,
        warnings=warnings,
        notes=list(layout.notes),
    )


def score_lines(scored: Scored) -> list[str]:
    """The answer in lines for a terminal."""
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in scored.verdicts.items())
    plates = sum(scored.verdicts.values())
    lines = [f"Screen {scored.screen}, {plates} plates: {verdicts}. Excluded wells: {scored.excluded}"]
    lines += [f"  {p['barcode']} {p['verdict']}: {p['reasons']}" for p in scored.plates[:_SHOWN]]
    if len(scored.plates) > _SHOWN:
        lines.append(f"  and {len(scored.plates) - _SHOWN} more in plates.csv")
    lines += [f"  note: {note}" for note in scored.notes]
    lines += [f"  WARNING: {warning}" for warning in scored.warnings]
    if scored.perturbations:
        lines.append(f"Scores of {scored.perturbations} perturbations: {scored.location}/scores.csv")
    else:
        lines.append("No plate can be used, so there are no scores.")
    return [*lines, f"Quality of every plate: {scored.page}"]
