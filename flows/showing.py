"""What the page of a round's run shows, as artifacts whose keys are the same in every run of a campaign."""

from pathlib import Path

import pandas as pd
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.following import artifact_key
from flows.parts import Intake, Round
from tasks.campaigns.ledger import Run

_ROWS = 500
_BATCH = ["perturbation", "action", "arm", "slot", "rank", "score", "reason"]


def show_plates(this: Round, intake: Intake, verdict: str) -> None:
    """`<campaign>-verdict` and `<campaign>-plates`: every attempt of a plate of this round, its state and why."""
    name = this.config.campaign.name
    create_markdown_artifact(markdown=f"# Round {this.number}\n\n{verdict}", key=artifact_key(name, "verdict"))
    plates = intake.book.table()
    create_table_artifact(
        table=_rows(plates[plates["round"] == this.number]),
        key=artifact_key(name, "plates"),
        description=f"Round {this.number}: plates, their states and the reasons",
    )


def show_report(this: Round, run: Run, screen: str) -> None:
    """`<campaign>-report`: where report and hybrid screen are."""
    storage = this.ledger.storage
    report = storage.locate(f"{run.folder}/report.html")
    create_link_artifact(
        link=Path(report).as_uri() if storage.is_local else report,
        link_text=f"Report of round {this.number}, run {run.number:02d}",
        key=artifact_key(this.config.campaign.name, "report"),
        description=f"Report: `{report}`  \nHybrid screen: `{storage.locate(screen)}`",
    )


def show_batch(this: Round, run: Run, batch: pd.DataFrame, platemap: pd.DataFrame) -> None:
    """`<campaign>-batch`, the table, and `<campaign>-proposal`: what it costs, and how to answer it."""
    name, wells = this.config.campaign.name, platemap["role"].value_counts()
    measured = int((batch["action"] == "measure").sum())
    controls, plates = int(wells.sum()) - int(wells.get("sample", 0)), platemap["barcode"].nunique()
    lines = [
        f"# Batch for round {this.number + 1}",
        f"{measured} perturbations to measure, {len(batch) - measured} released from the audit at no well.",
        f"Cost: **{wells.get('sample', 0)} sample wells** and {controls} control wells on "
        f"{plates} plate{'' if plates == 1 else 's'}.",
        f"Plate maps and worklists: `{this.ledger.storage.locate(f'{run.folder}/proposal')}`",
        "Why each was chosen, where it lies in the eigenspace, and in which well it would stand: "
        f"`{this.ledger.storage.locate(f'{run.folder}/report.html#card-batch')}`",
    ]
    if this.config.approval == "required":
        lines.append(
            f"**Nothing goes to the lab before somebody answers**: *Deployments*, `release`, campaign `{name}`: "
            "approve, veto perturbations, or reject with a note. Without an answer everything stays as it is."
        )
    create_markdown_artifact(markdown="\n\n".join(lines), key=artifact_key(name, "proposal"))
    shown = f"the first {_ROWS} of {len(batch)}" if len(batch) > _ROWS else f"all {len(batch)}"
    create_table_artifact(
        table=_rows(batch[_BATCH].head(_ROWS)), key=artifact_key(name, "batch"), description=f"Batch, {shown} rows"
    )


def _rows(table: pd.DataFrame) -> list[dict[str, str]]:
    text = table.astype(str)
    return [dict(zip(text.columns, row, strict=True)) for row in text.to_numpy()]
