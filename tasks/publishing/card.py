"""The card of a hybrid screen: what it is, how accurate, on what assumption, how it was made, its limits. Markdown."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from tasks.publishing.cards.wording import (
    count,
    percent,
    percent_floor,
    plain_percent,
    quantity,
    sentence,
    things,
)

_MARKS = re.compile(r"([\\`*_\[\]<>|#])")
_FLAG_WORDS = {
    "failed": "stand on a plate that failed quality control and is not used",
    "waived": "stand on a plate that failed quality control and is used all the same, by a person's decision",
    "abandoned": "stand on a plate that was given up",
    "vetoed": "may not be chosen",
    "outlier": "have plates that disagree more than noise explains (probability below 0.001)",
}
_LIMITS = """\
- The certificate counts a measured value as correct. A measured value still has noise: see `standard_error`.
- It is about this library alone, and about all of it together: a part chosen by its values may be less accurate.
- Intervals lean on the model's estimate of its own error; the certificate does not say that they hold.
- A measured row that is not a hidden audit member was in training: its prediction tests nothing."""
_READ = """
    import anndata
    import plotly.express as px
    screen = anndata.read_zarr("screen.zarr")
    hidden = screen.obs[screen.obs["audit"]].dropna(subset="measured")
    px.scatter(hidden, "measured", "predicted", hover_name=hidden.index)
"""


def render_card(screen: ad.AnnData) -> str:
    """The card as Markdown. Every number comes from the screen itself; the same screen gives the same card.

    Args:
        screen: What `tasks.publishing.formats.complete_provenance` gave.
    """
    provenance = screen.uns["provenance"]
    parts = [
        f"# Hybrid screen of {_plain(provenance['campaign'])}, round {provenance['round']}, run {provenance['run']}",
        *_what(screen),
        *_accuracy(screen),
        *_single_values(screen),
        *_flags(screen.obs["flags"]),
        *_making(screen),
        "## Limits",
        _LIMITS,
        "## How to read it",
        "What every column means: `tasks/publishing/SCHEMA.md` of the project. `screen.h5ad`, `screen.parquet` and "
        "`screen.csv` hold the same rows.",
        _READ.strip("\n"),
    ]
    return "\n\n".join(parts) + "\n"


def _what(screen: ad.AnnData) -> list[str]:
    """Rows, where their values come from, and what a value is."""
    obs, readout = screen.obs, screen.var.iloc[0]
    measured = int((obs["source"] == "measured").sum())
    share = percent(measured / max(1, len(obs)))
    if readout["kind"] == "binary":
        limit = quantity(float(readout["threshold"]), _plain(readout["unit"]))
        value = (
            "`value` is a class where it was measured, and the probability of class 1 where it is predicted; class 1 "
        )
        value += f"is an aligned readout above {limit}."
    else:
        unit = f" in {_plain(readout['unit'])}" if readout["unit"] else ""
        value = (
            f"`value` is the aligned readout{unit}: its measurement where there is one, else the model's prediction."
        )
    rows = f"{things(len(obs), 'perturbation')}: {count(measured)} measured ({share}), "
    rows += f"{count(len(obs) - measured)} predicted."
    return ["## What it is", f"{rows} {value}"]


def _accuracy(screen: ad.AnnData) -> list[str]:
    """The certificate in words: never more than its bound."""
    certificate = screen.uns["certificate"]
    bound, gamma = percent_floor(certificate["bound"]), plain_percent(certificate["gamma"])
    verdict = (
        f"**Certified: at least {bound} of the values are correct; the target was {gamma}.**"
        if certificate["certified"]
        else f"**Not certified: the target of {gamma} is not shown to be reached. At least {bound} of the values are "
        "correct.**"
    )
    risk = (
        "If that holds on which it rests, any such statement of this campaign is wrong with probability "
        f"{plain_percent(certificate['risk'])} at most; {plain_percent(certificate['risk_spent'])} are spent so far "
        f"(look {certificate['look']})."
    )
    estimate = certificate.get("estimate")
    guess = "" if estimate is None else f" The plain estimate, which guarantees nothing, is {percent(estimate)}."
    return [
        "## How accurate",
        f"{verdict} {risk}{guess}",
        f"*Correct* means: measured, or {_tolerated(screen.var.iloc[0])}. The statement is about how many values are "
        "correct, not about which.",
        f"**It rests on**: {_text(certificate['assumption'])}",
        f"**The decision**: {_text(certificate['reason'])} {_text(certificate.get('would_change', ''))}".rstrip(),
        *_other_rules(certificate),
    ]


def _other_rules(certificate: Mapping[str, Any]) -> list[str]:
    """Bounds of the rules that the certificate does not come from, each with what it rests on."""
    rules = {name: rule for name, rule in certificate.get("rules", {}).items() if rule.get("bound") is not None}
    rows = [
        f"- `{name}`: at least {percent_floor(rule['bound'])}, if this holds: {_text(rule['assumption'])}"
        for name, rule in sorted(rules.items())
        if name != certificate.get("certificate")
    ]
    return ["Shown beside it, not what the certificate says:\n\n" + "\n".join(rows)] if rows else []


def _tolerated(readout: pd.Series[Any]) -> str:
    if readout["kind"] == "binary":
        return "predicted to be of the class that a measurement would show"
    unit = _plain(readout["unit"])
    return f"predicted within {quantity(float(readout['tolerance']), unit)} of what a measurement would show"


def _single_values(screen: ad.AnnData) -> list[str]:
    """Standard errors, and what the hidden audit members say of the predictions."""
    obs = screen.obs
    rows = []
    for source in ("measured", "predicted"):
        errors = obs.loc[obs["source"] == source, "standard_error"]
        if len(errors):
            middle = quantity(float(errors.median()), _unit(screen))
            rows.append(f"- {source}: median standard error {middle} ({things(len(errors), 'row')})")
    hidden = obs[obs["audit"] & obs["measured"].notna()]
    if len(hidden):
        right = int(hidden["correct"].sum())
        line = (
            f"- hidden audit members, whose measurement the model has not seen: {count(right)} of {count(len(hidden))} "
        )
        line += "predicted correctly"
        if screen.var["kind"].iloc[0] == "continuous":
            error = float(np.sqrt(np.mean(np.square(hidden["measured"] - hidden["predicted"]))))
            line += f"; root mean square difference of prediction and measurement {quantity(error, _unit(screen))}"
        rows.append(line)
    else:
        rows.append("- no hidden audit member is measured: nothing here tests the model")
    return ["## Single values", "\n".join(rows)]


def _flags(flags: pd.Series[str]) -> list[str]:
    """How many rows carry each flag."""
    found = Counter(flag for text in flags for flag in text.split(";") if flag)
    rows = [
        f"- `{flag}`: {things(found[flag], 'row')} that {words}" for flag, words in _FLAG_WORDS.items() if found[flag]
    ]
    return ["## Flags", "\n".join(rows) or "No row carries one."]


def _making(screen: ad.AnnData) -> list[str]:
    """Wells, plates, models and versions, as the certificate and the lock say."""
    certificate, provenance = screen.uns["certificate"], screen.uns["provenance"]
    nodes: dict[str, dict[str, Any]] = json.loads(provenance["lock"])["nodes"]
    barcodes = {barcode for text in screen.obs["plates"] for barcode in text.split(";") if barcode}
    used, whole = certificate["wells_used"], certificate["wells_full_screen"]
    rows = [
        f"- rounds: {provenance['round'] + 1} (0 to {provenance['round']}); plates behind the measurements: "
        f"{count(len(barcodes))}",
        f"- sample wells measured: {count(used)}, repeated and failed plates included; a full screen takes "
        f"{count(whole)}",
    ]
    for stage, section, name, words in (
        ("align", "alignment", "method", "alignment"),
        ("fit", "ensemble", "model", "model"),
        ("fit", "ensemble", "members", "members of the ensemble"),
    ):
        said = _said(nodes, stage, section, name)
        rows += [f"- {words}: {_plain(said)}"] if said else []
    versions = ", ".join(f"{name} {version}" for name, version in sorted(provenance["versions"].items()))
    rows += [
        f"- steps in the lock of the round: {count(len(nodes))} (`uns['provenance']['lock']`, JSON)",
        f"- versions: {_plain(versions)}; schema {screen.uns['schema_version']}",
    ]
    return ["## How it was made", "\n".join(rows)]


def _said(nodes: dict[str, dict[str, Any]], stage: str, section: str, name: str) -> str:
    """A parameter as the nodes of a stage have it; all values where they differ, empty where none says it."""
    params = [node["params"].get(section, {}) for node in nodes.values() if node["stage"] == stage]
    found = {str(part[name]) for part in params if isinstance(part, dict) and name in part}
    return ", ".join(sorted(found))


def _unit(screen: ad.AnnData) -> str:
    readout = screen.var.iloc[0]
    return _plain(readout["unit"]) if readout["kind"] == "continuous" else ""


def _plain(text: object) -> str:
    """Text in one line, in which Markdown finds nothing."""
    return _MARKS.sub(r"\\\1", " ".join(str(text).split()))


def _text(text: str) -> str:
    return sentence(_plain(text))
