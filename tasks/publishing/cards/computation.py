"""Cards on the computation: what was recomputed and why, files to download, and the words."""

from __future__ import annotations

import pandas as pd

from tasks.publishing.cards.parts import Card, Cell, Link, Table, Tone
from tasks.publishing.cards.wording import as_text, listed, sentence, things
from tasks.publishing.report_data import ReportData

STATUS: dict[str, tuple[Tone, str]] = {"computed": ("info", "●"), "cached": ("muted", "○")}
#: What a file is, by its name.
FILES = {
    "screen.csv": "the hybrid screen as a table for a spreadsheet",
    "screen.parquet": "the same, with types, for pandas, polars and R",
    "screen.h5ad": "the same as AnnData in one file: anndata.read_h5ad",
    "screen.zarr": "the same as AnnData in a folder: anndata.read_zarr",
    "card.md": "the screen in words: what, how accurate, on what assumption, how made, limits",
    "batch.csv": "what was chosen, by which arm, and why; it names audit members, for the lab's books only",
    "platemap.csv": "what stands in which well",
    "worklist_echo.csv": "pick list for an Echo, in nL",
    "worklist.csv": "worklist for any other liquid handler, in µL",
    "decision.json": "the decision with every rule and every number of it",
    "calibration.json": "calibration by round and group",
    "quality.html": "every plate before and after alignment",
    "quality.json": "metrics of every plate",
    "plates.csv": "every plate attempt and its state",
    "repeats.csv": "plates to measure again, and why",
    "rejected.csv": "files that were refused, line and reason",
    "round.lock.json": "digest, version, parameters and seed of every step",
}

TERMS = (
    (
        "Hybrid screen",
        "A value for every perturbation of the library: measured where there is a measurement, else predicted.",
    ),
    (
        "Audit set",
        "Perturbations drawn at random and measured, but hidden from the model until the strategy itself would "
        "choose them. Errors are counted on them, so the guarantee does not depend on the model.",
    ),
    (
        "Guaranteed correct",
        "A lower bound of the share of the screen that is correct, wrong with at most the allowed risk. Correct "
        "means within the tolerance, or the right class.",
    ),
    (
        "Target γ",
        "The share of the screen that has to be guaranteed correct before the campaign stops.",
    ),
    (
        "Look, risk",
        "A look is one bound from one state of the audit. Each may be wrong with a small probability, its risk; those "
        "of all looks of a campaign together stay below the risk allowed.",
    ),
    (
        "Rules",
        "audit and lemma bound the accuracy, audit without an assumption about the model, lemma as long as the model "
        "is calibrated. budget, plateau and manual end a campaign without a statement about its accuracy.",
    ),
    (
        "PASS, INFO, WARN, FAIL",
        "A health check found nothing, something to know, something to look at, or something to mend before going on.",
    ),
    (
        "Random arm, random control",
        "The arm is the part of every batch that is drawn at random; it joins the audit set. Together they are the "
        "control with which strategic picks are compared.",
    ),
    (
        "Forward error",
        "Measured minus predicted, by a model that had not seen that perturbation.",
    ),
    (
        "Calibrated",
        "What is promised holds as often as promised: 90% intervals hold nine measurements in ten.",
    ),
    (
        "CRPS",
        "Continuous ranked probability score: the distance of a predicted distribution from what was measured, in the "
        "unit of the readout. Small when predictions are right and their standard deviations are too.",
    ),
    (
        "Held-out loss",
        "Error on labels that a member of the ensemble was not trained on; for numbers, in units of the labels' "
        "variance. It decides which epoch a member keeps, and is no test of the ensemble.",
    ),
    (
        "Standard error",
        "Of a measured value: noise of its wells and of plate alignment. Of a predicted one: disagreement of the "
        "ensemble and bias of the model together.",
    ),
    (
        "Reducible Ω, Σ_F, Δ",
        "The part of the error that more data can remove: disagreement of the ensemble (Σ_F) plus bias (Δ). Each "
        "mode is a direction in which many perturbations err together.",
    ),
    (
        "Ω, Σ_Y, eigenvalue",
        "Ω is the reducible part and the noise of one further label each (Σ_Y). An eigenvalue is the variance of the "
        "error in one direction; the eigenspace map shows where perturbations lie in the two largest directions.",
    ),
    (
        "Expected error ê",
        "The size of the error at each perturbation, learnt from residuals of labels that members had not seen.",
    ),
    (
        "Released",
        "An audit member that the strategy itself chose: measured already, it joins the training labels without a "
        "new well.",
    ),
    (
        "Robust Z′",
        "1 − 3 (s₊ + s₋) / |m₊ − m₋| over the control wells, with medians m and s = 1.4826 MAD. Near 1 is excellent.",
    ),
    (
        "SSMD",
        "|m₊ − m₋| / √(s₊² + s₋²): distance of the controls in units of their spread.",
    ),
)


def recomputed_card(data: ReportData) -> Card:
    """Every step of the round: what began it, what followed from that, and what was read from checkpoints."""
    title = "What was recomputed, and why"
    steps = data.recomputed
    if steps.empty:
        return Card("recomputed", title, missing="No step was recorded.", wide=True)
    anew = steps["status"] == "computed"
    followed = anew & steps["reason"].map(as_text).str.startswith("input ")
    parts = (
        (anew & ~followed, "", "These were new, or asked for with other settings"),
        (followed, "{} followed: what they read had changed", ""),
        (~anew, "{} read from checkpoints", ""),
    )
    tables = tuple(
        _steps(steps[mask], folded.format(things(int(mask.sum()), "step")), caption)
        for mask, folded, caption in parts
        if mask.any()
    )
    finding = f"{things(int(anew.sum()), 'step')} computed, {int((~anew).sum())} read from checkpoints."
    return Card("recomputed", title, finding, tables=tables, wide=True)


def _steps(steps: pd.DataFrame, folded: str, caption: str) -> Table:
    """One row for all steps of a kind that had the same reason."""
    kind = steps["node"].astype(str).str.split(r"[/ ]", regex=True).str[0]
    rows = []
    for _, group in steps.groupby([kind, steps["status"], steps["reason"].map(as_text)], sort=False):
        names, first = sorted(group["node"].astype(str)), group.iloc[0]
        status = Cell(str(first["status"]), *STATUS.get(str(first["status"]), ("", "")))
        rows.append((Cell(listed(names, 3), hint=", ".join(names)), status, Cell(sentence(as_text(first["reason"])))))
    return Table(("step", "status", "why"), tuple(rows), folded=folded, caption=caption, listed=True)


def downloads_card(data: ReportData) -> Card:
    """Files beside the report: the screen first, then the next batch, then the rest."""
    title = "Files"
    if not data.links:
        return Card("downloads", title, missing="No file was handed out beside this report.", wide=True)
    order = ("/screens/", "proposal/", "")
    links = sorted(data.links.items(), key=lambda link: next(i for i, part in enumerate(order) if part in link[1]))
    named = tuple(Link(name, href, FILES.get(href.rsplit("/", 1)[-1], "")) for name, href in links)
    return Card("downloads", title, "Addresses are relative to this file.", links=named, wide=True)


def glossary_card() -> Card:
    """The words of the report in plain English."""
    return Card("glossary", "Words", terms=TERMS, wide=True)
