"""Card on training: the held-out loss of every member by epoch."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.parts import Card, Figure
from tasks.publishing.cards.wording import quantity, span, things
from tasks.publishing.report_data import ReportData

PALE, DARK = (174, 204, 232), (16, 58, 104)
CROWD = 32  # members; the lines of more are half transparent
POINTS = 60_000  # drawn at most; a member's first, best and last epoch always
MODELS = {"forest": "a random forest", "gp": "a Gaussian process"}


def losses_card(data: ReportData) -> Card:
    """Held-out loss of every member by epoch."""
    title = "Training of the ensemble"
    if data.losses is None:
        return Card("losses", title, missing="The ensemble was not recorded.")
    if data.losses.empty:
        return Card("losses", title, missing=f"No loss curve: {_model(data)} is not fitted epoch by epoch.")
    step = math.ceil(len(data.losses) / POINTS)
    epoch, ends = data.losses["epoch"], data.losses.groupby("member")["epoch"].agg(["min", "max"])
    at_end = epoch.isin(ends["min"]) | (epoch == data.losses["member"].map(ends["max"]))
    spec = _curves(data.losses[(epoch % step == 0) | at_end | data.losses["best"]], _noun(data))
    label = "Held-out loss of every member by epoch, the best epoch marked"
    note = "The darker a line, the lower its best loss. A dot marks the epoch whose weights were kept."
    note += f" One epoch in {step} is drawn." if step > 1 else ""
    return Card("losses", title, _finding(data.losses, _noun(data)), (Figure("losses", label, spec, 360),), note=note)


def _curves(losses: pd.DataFrame, noun: str) -> dict[str, Any]:
    """A thin line a member, coloured by the rank of its best loss, and the best epochs as dots."""
    best = losses[losses["best"]].set_index("member")
    rank = best["loss"].rank(method="first", ascending=False)
    traces = []
    for member, rows in losses.groupby("member", sort=True):
        number = int(str(member))
        hover = f"{noun} {number + 1}<br>epoch %{{x}}: %{{y:.4g}}<extra></extra>"
        line = {"color": _shade((rank[number] - 1) / max(len(rank) - 1, 1)), "width": 1.1}
        trace = fig.line("", rows["epoch"].tolist(), rows["loss"], fig.BLUE, mode="lines", hovertemplate=hover)
        opacity = 1.0 if len(best) <= CROWD else 0.5
        traces.append(trace | {"line": line, "opacity": opacity, "showlegend": False})
        traces[-1]["y"] = fig.rounded(rows["loss"], 4)
    text = [f"{noun} {int(str(member)) + 1}" for member in best.index]
    hover = "%{text}<br>best: epoch %{x}, %{y:.4g}"
    shades = [_shade((rank[member] - 1) / max(len(rank) - 1, 1)) for member in best.index]
    dots = fig.points("best epoch", best["epoch"], best["loss"], text, fig.BLUE, hover, 7)
    dots["marker"] |= {"color": shades, "opacity": 1.0, "line": {"width": 1, "color": fig.PAPER}}
    values = losses["loss"].to_numpy(float)
    ticks = _ticks(float(values.min()), float(values.max()))
    scale = {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]} if ticks else {}
    return fig.figure([*traces, dots], fig.axis("epoch"), fig.axis("held-out loss", **scale))


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis, eight at most; none, for a linear one, where low ≤ 0 or none is inside."""
    if low <= 0:
        return []
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for leading in ((1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1,)):
        ticks = [lead * 10.0**decade for decade in decades for lead in leading if low <= lead * 10.0**decade <= high]
        if len(ticks) <= 8:
            break
    return ticks[:: max(1, math.ceil(len(ticks) / 8))]


def _noun(data: ReportData) -> str:
    """What a line stands for: a member, or a network that several members share."""
    assert data.losses is not None
    curves = int(data.losses["member"].nunique())
    return "member" if curves == data.fit.get("members", curves) else "network"


def _model(data: ReportData) -> str:
    """The model in words."""
    name = str(data.fit.get("model", "of this round"))
    return MODELS.get(name, f"the model {name}")


def _shade(share: float) -> str:
    """Colour on the scale from pale (0) to dark (1)."""
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(PALE, DARK, strict=True))


def _finding(losses: pd.DataFrame, noun: str) -> str:
    """Best losses and epochs in a sentence, and whether members were still getting better."""
    best = losses[losses["best"]]
    last = losses.groupby("member")["epoch"].max()
    finding = f"{things(len(best), noun)}; the best held-out loss is {quantity(float(best['loss'].median()))} in the "
    losses_span, epochs_span = span(best["loss"].tolist()), span(best["epoch"].tolist())
    finding += f"median ({losses_span}), at epoch {round(best['epoch'].median())} ({epochs_span})."
    unfinished = int((best.set_index("member")["epoch"] == last).sum())
    if unfinished:
        finding += f" {things(unfinished, f'{noun} was', f'{noun}s were')} best at the last epoch: more may help."
    return finding
