"""What the report of a round is made from: plain tables and dictionaries, checked when they are put together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from tasks.campaigns.answers import Answer
from tasks.errors import UserError
from tasks.publishing.calibration_data import Judged
from tasks.publishing.training_data import WORK_COLUMNS

DECISION_KEYS = (
    "stop", "reason", "rule", "bound", "estimate", "gamma", "risk", "risk_spent", "risk_left", "risk_this_look", "look",
    "assumption", "wells_used", "wells_full_screen", "wells_saved", "would_change", "certificate", "rules",
    "wells_random", "wells_random_low", "wells_random_high", "wells_random_note",
)  # fmt: skip

COLUMNS: dict[str, tuple[str, ...]] = {
    "history": ("round", "run", "look", "bound", "estimate", "gamma", "wells_used", "risk_this_look", "risk_spent"),
    "plate_states": ("round", "barcode", "attempt", "state", "reason"),
    "forward": ("perturbation", "predicted", "measured", "arm"),
    "spectrum": ("mode", "eigenvalue", "operator"),
    "batch": ("perturbation", "action", "arm", "slot", "rank", "score", "mode", "reason"),
    "platemap": ("barcode", "well", "row", "column", "role", "perturbation", "slot"),
    "eigenmap": ("perturbation", "z1", "z2", "group"),
    "screen": ("value", "source", "standard_error", "lower", "upper", "predicted", "measured", "audit"),
    "recomputed": ("node", "status", "reason"),
    "losses": ("member", "epoch", "loss", "best"),
    "work": WORK_COLUMNS,
}

_SCHEME = re.compile(r"^\s*(?:[A-Za-z][A-Za-z0-9+.-]*:|//|/|\\)")


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything that one report shows. A table that is None gets a card that says so.

    Args:
        campaign: Name of the campaign.
        round_index: The round that was computed, from 0.
        run_index: Which computation of this round it is, from 1.
        unit: Unit of the aligned readout, may be empty.
        kind: Kind of the readout; binary values are classes and predictions are probabilities.
        decision: The stopping decision as a dictionary (see DECISION_KEYS).
        history: One row per look: round, run, look, bound, estimate, gamma, wells_used, risk_this_look, risk_spent (by
            all looks up to it).
        quality: One dictionary per plate attempt: barcode, attempt, run, metrics (name, value, n, threshold, verdict,
            reason), passed, reasons.
        plate_states: One row per plate attempt of the campaign: round, barcode, attempt, state, reason.
        screen: The obs table of the published hybrid screen, index = perturbation.
        recomputed: One row per step: node, status (computed or cached), reason.
        forward: Predictions made before the measurement was seen: perturbation, predicted, measured (rows without one
            are left out), arm; and `round`, without which every row counts as of this round.
        calibration: How well each group of predictions of each round kept what it promised.
        spectrum: mode (from 0), eigenvalue, operator (reducible, members, cobias, calibrated, gradients, difference,
            noise or total).
        batch: The proposed batch (batch table), None when nothing is proposed.
        platemap: The proposed plates (plate map table).
        answers: What people answered to the batches proposed so far, oldest first.
        eigenmap: First two coordinates in the eigenspace: perturbation, z1, z2, group (observed, pool, chosen, audit).
        operator: Which operator strategies saw (`chosen`), and by the name of each estimate what it rests on.
        evidence: What the stopping rules saw (`tasks.stopping.evidence.Look` as a dictionary), empty where that is
            not known.
        intake: How the readouts came in: `alignment` (its method), `warning` (what is wrong with that method, or
            None), `plate` and `shared_sd` (the used plate attempt whose wells share the largest error, and its sd
            [readout unit]), `rejected` (files or plates refused), `excluded` (wells that the lab left out).
        fit: Facts of the ensemble: model, members, labels, and what else its model tells.
        losses: Held-out loss of the ensemble: member, epoch (from 1), loss, best (the epoch whose weights were kept).
            Empty for a model that is not fitted epoch by epoch.
        work: Where the pieces of the fit and of the prediction ran: see `training_data.work_table`.
        assessment: Whether active selection is worth it (`tasks.assessing.findings.Assessment` as a dictionary), empty
            where that was not asked.
        links: Name to relative address of each file that can be downloaded beside the report.
        tolerance: Continuous readouts: a prediction this close to the measurement counts as correct [readout unit].

    Raises:
        UserError: A column, a key of the decision or a relative link is missing.
    """

    campaign: str
    round_index: int
    run_index: int
    unit: str
    kind: Literal["continuous", "binary"]
    decision: Mapping[str, Any]
    history: pd.DataFrame
    quality: Sequence[Mapping[str, Any]]
    plate_states: pd.DataFrame
    screen: pd.DataFrame
    recomputed: pd.DataFrame
    forward: pd.DataFrame | None = None
    spectrum: pd.DataFrame | None = None
    batch: pd.DataFrame | None = None
    platemap: pd.DataFrame | None = None
    answers: Sequence[Answer] = ()
    eigenmap: pd.DataFrame | None = None
    operator: Mapping[str, Any] = field(default_factory=dict)
    calibration: Sequence[Judged] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    intake: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    losses: pd.DataFrame | None = None
    work: pd.DataFrame | None = None
    assessment: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    tolerance: float | None = None

    def __post_init__(self) -> None:
        _require("decision", DECISION_KEYS, self.decision)
        for name, columns in COLUMNS.items():
            table = getattr(self, name)
            if table is not None:
                _require(name, columns, table.columns)
        for name, href in self.links.items():
            if _SCHEME.match(href):
                raise UserError(
                    "a link of the report must be relative",
                    where=f"links[{name!r}]",
                    got=repr(href),
                    expected="a path relative to the report",
                )

    def forward_of_round(self) -> pd.DataFrame | None:
        """Forward residuals of this round alone, None when there are none."""
        if self.forward is None:
            return None
        of_round = self.forward["round"] == self.round_index if "round" in self.forward.columns else True
        now = self.forward[self.forward["measured"].notna() & of_round]
        return None if now.empty else now


def _require(name: str, wanted: Sequence[str], present: Iterable[Any]) -> None:
    """Raise UserError when one of the wanted names is not present."""
    there = set(present)
    absent = [column for column in wanted if column not in there]
    if absent:
        raise UserError(
            f"{name} lacks {', '.join(absent)}",
            where="report",
            got=", ".join(sorted(map(str, there))) or "nothing",
            expected=", ".join(wanted),
        )
