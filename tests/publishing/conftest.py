"""A campaign as the report sees it in its third round: numbers of a real shape, drawn with fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.campaigns.config import ReadoutSection
from tasks.publishing.calibration_data import judge
from tasks.publishing.cards.wording import percent_floor
from tasks.publishing.report_data import ReportData
from tasks.publishing.screen import build_screen
from tasks.publishing.training_data import WORK_COLUMNS, losses_table
from tasks.readouts.wells import PLATE_SHAPES, position_to_well

N = 1282


def readout_of(kind: str) -> ReadoutSection:
    if kind == "binary":
        return ReadoutSection(kind="binary", threshold=0.0)
    return ReadoutSection(kind="continuous", unit="log mol/L", tolerance=1.0)


def decision(stop: bool = False, bound: float = 0.8437, **more: Any) -> dict[str, Any]:
    base = {
        "stop": stop,
        "reason": f"Go on: so far at least {percent_floor(bound)} of the screen is correct at a risk of 0.0063; "
        "the target is 90.0%.",
        "rule": "audit",
        "bound": bound,
        "estimate": 0.8812,
        "gamma": 0.9,
        "risk": 0.05,
        "risk_spent": 0.0188,
        "risk_left": 0.0312,
        "risk_this_look": 0.0063,
        "look": 4,
        "assumption": "The hidden audit members are a uniform random sample of everything not chosen. That holds as "
        "long as their readouts influence nothing that is chosen, trained, tuned or repeated. Nothing is assumed.",
        "wells_used": 596,
        "wells_full_screen": 1282,
        "wells_saved": 686,
        "certified": bound >= 0.9,
        "certificate": "audit",
        "rules": make_rules(bound),
        "wells_random": 700,
        "wells_random_low": 610,
        "wells_random_high": 820,
        "wells_random_note": "Random order with a model as accurate as this one.",
        "would_change": "At most 11 errors would certify (now 16 errors among 97 measured audit members).",
    }
    return base | more


def make_rules(bound: float) -> dict[str, dict[str, Any]]:
    """What every rule says, as in the record of a decision."""

    def rule(stop: bool, bound: float | None, reason: str, change: str) -> dict[str, Any]:
        risk = None if bound is None else 0.0063
        said = {"decides": False, "stop": stop, "bound": bound, "risk": risk, "reason": reason}
        return said | {"assumption": "Its assumption.", "would_change": change}

    rules = {
        "audit": rule(bound >= 0.9, bound, "at least so much is correct", "At most 11 errors would certify."),
        "lemma": rule(False, 0.7241, "Does not apply.", "A batch of least-confidence."),
        "budget": rule(False, None, "No budget is set.", "A budget."),
        "plateau": rule(True, None, "The error rests.", "A lower error."),
        "manual": rule(False, None, "Nobody has asked to stop.", "A reason."),
    }
    rules["audit"]["decides"] = True
    return rules


def make_evidence(kind: str) -> dict[str, Any]:
    """What the rules saw: 97 hidden members, 16 of them wrong; four rounds of the random control."""
    errors = [0.8, 0.7, 0.65, 0.6] if kind == "continuous" else [0.25, 0.2, 0.2, 0.15]
    return {
        "round_index": 3,
        "audit": {"library": 1282, "chosen": 480, "pending": 0, "audit": 97, "measured": 97, "errors": 16},
        "wells": {"used": 596, "full": 1282, "next_round": 132},
        "picks": None,
        "controls": [{"round_index": i, "n": 60, "right": 45, "error": error} for i, error in enumerate(errors)],
    }


INTAKE = {
    "alignment": "two-point", "warning": None, "plate": "SOL-R03-P01.1", "shared_sd": 0.08, "rejected": 0, "excluded": 0
}  # fmt: skip


def make_ids(n: int, hostile: bool = False) -> list[str]:
    ids = [f"CMPD-{index:05d}" for index in range(n)]
    if hostile:
        ids[0] = "<script>alert(1)</script>"
        ids[1] = '=HYPERLINK("http://example.org";"x")'
        ids[2] = "</script><img src=x onerror=alert(2)>"
        ids[3] = "CC(C)(C)OC(=O)N1CCC(CC1)C(=O)NC2=CC=C(C=C2)S(=O)(=O)NC3=NC(=CC(=N3)C)C" * 3
        ids[4] = "'\"&{{ 7*7 }}%{x}\u2028"
    return ids


def make_labels(ids: list[str], truth: np.ndarray, measured: int, kind: str, rng: np.random.Generator) -> pd.DataFrame:
    rows = np.sort(rng.permutation(len(ids))[:measured])
    rows = np.union1d(rows, np.arange(min(5, len(ids))))
    value = truth[rows] + rng.normal(0, 0.25, len(rows))
    return pd.DataFrame(
        {
            "perturbation": [ids[row] for row in rows],
            "value": (value > 0).astype(float) if kind == "binary" else value,
            "n": 2,
            "variance": 0.03,
            "plates": "SOL-R00-P01;SOL-R00-P02",
            "round": rng.integers(0, 4, len(rows)),
            "audit": rng.random(len(rows)) < 0.2,
        }
    )


def make_screen(ids: list[str], kind: str = "continuous", measured: int = 596, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    truth = rng.normal(-2.9, 2.0, len(ids)) if kind == "continuous" else rng.normal(0, 1, len(ids))
    truth[:5] = 9.0  # the first ids are the odd ones: they must show among the extremes
    guess = truth + rng.normal(0, 0.75, len(ids))
    mean = 1 / (1 + np.exp(-2 * guess)) if kind == "binary" else guess
    predictions = pd.DataFrame(
        {
            "mean": mean,
            "epistemic_sd": rng.gamma(4, 0.12, len(ids)),
            "bias_sd": rng.gamma(2, 0.15, len(ids)),
            "aleatoric_sd": 0.25,
        },
        index=ids,
    )
    labels = make_labels(ids, truth, measured, kind, rng)
    obs = pd.DataFrame({"name": [f"compound {index}" for index in range(len(ids))]}, index=ids)
    return build_screen(obs, predictions, labels, readout_of(kind), {"stop": False}, {"campaign": "SOL"}).obs


def make_forward(ids: list[str], kind: str, seed: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    parts = []
    for round_ in (1, 2, 3):
        n = min(132, len(ids))
        picks = rng.choice(len(ids), n, replace=False)
        sd = rng.gamma(6, 0.16, n)
        truth = rng.normal(-2.9, 2.0, n) if kind == "continuous" else rng.normal(0, 1, n)
        arm = np.where(np.arange(n) < n // 8, "random", "strategy")
        error = rng.normal(0, 1, n) * sd * np.where(arm == "random", 0.8, 1.15) / (1 + 0.15 * round_)
        predicted, measured = truth + error, truth + rng.normal(0, 0.25, n)
        if kind == "binary":
            predicted, measured = 1 / (1 + np.exp(-2 * predicted)), (measured > 0).astype(float)
        parts.append(
            pd.DataFrame(
                {
                    "round": round_,
                    "perturbation": [ids[row] for row in picks],
                    "predicted": predicted,
                    "sd": sd,
                    "epistemic": 0.8 * sd,
                    "measured": measured,
                    "arm": arm,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def make_batch(ids: list[str], wells: int, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    picks = np.r_[np.arange(5), 5 + rng.permutation(len(ids) - 5)][: wells + 5]
    rows = []
    for rank, pick in enumerate(picks):
        arm = "random" if rank >= 0.9 * len(picks) else "strategy"
        slot = "random" if arm == "random" else ("eigenspace-clusters" if rank % 3 else "top-variance")
        release = arm == "strategy" and 5 <= rank < 10
        reason = (
            "drawn uniformly from the pool"
            if arm == "random"
            else f"largest distance {2.1 - rank / 500:.2f} in cluster {rank % 17}"
        )
        rows.append(
            (
                ids[pick],
                "release" if release else "measure",
                arm,
                slot,
                rank,
                np.nan if arm == "random" else 2.1 - rank / 500,
                -1,
                reason,
            )
        )
    return pd.DataFrame(rows, columns=["perturbation", "action", "arm", "slot", "rank", "score", "mode", "reason"])


def make_platemap(batch: pd.DataFrame, plates: int, fmt: int, barcode: str = "SOL-R04-P{:02d}") -> pd.DataFrame:
    rows, columns = PLATE_SHAPES[fmt]
    rng = np.random.default_rng(4)
    chosen = batch[batch["action"] == "measure"]
    pool = list(zip(chosen["perturbation"], chosen["slot"], strict=True))
    out: list[tuple[Any, ...]] = []
    for plate in range(plates):
        mine = [pool[i] for i in rng.permutation(range(plate, len(pool), plates))]
        share = len(mine) / (rows * (columns - 2))
        for row in range(rows):
            for column in range(columns):
                role, perturbation, slot = "empty", "", ""
                if column == 0 or (column == columns - 1):
                    role = "negcon" if (row + column) % 2 else "poscon"
                elif mine and rng.random() < share:
                    role, (perturbation, slot) = "sample", mine.pop()
                out.append(
                    (
                        barcode.format(plate + 1),
                        position_to_well(row, column, fmt),
                        row,
                        column,
                        role,
                        perturbation,
                        int(role == "sample"),
                        slot,
                    )
                )
    return pd.DataFrame(out, columns=["barcode", "well", "row", "column", "role", "perturbation", "replicate", "slot"])


def metric(name: str, value: float | None, threshold: float | None, verdict: str, reason: str = "") -> dict[str, Any]:
    return {"name": name, "value": value, "n": 32, "threshold": threshold, "verdict": verdict, "reason": reason}


def make_quality(barcode: str, attempt: int, zprime: float) -> dict[str, Any]:
    good = zprime >= 0.3
    metrics = [
        metric("negcon_wells", 16.0, 2.0, "PASS"),
        metric("poscon_wells", 16.0, 2.0, "PASS"),
        metric("negcon_spread", 812.4, None, "INFO"),
        metric(
            "zprime", zprime, 0.3, "PASS" if good else "FAIL", f"{zprime:.3g} is {'at least' if good else 'below'} 0.3"
        ),
        metric("ssmd", 11.2 if good else 2.1, 3.0, "PASS" if good else "FAIL"),
        metric("negcon_cv", 0.063, None, "INFO"),
        metric("missing", 0.004, 0.05, "PASS"),
        metric("dynamic_range", 21340.0, None, "INFO"),
        metric("row_effect", 0.031, None, "INFO"),
        metric("column_effect", None, None, "INFO", "12 sample wells in 12 columns are too few"),
    ]
    reasons = [] if good else [f"zprime: {zprime:.3g} is below 0.3", "ssmd: 2.1 is below 3"]
    return {
        "barcode": barcode,
        "attempt": attempt,
        "run": "R03",
        "metrics": metrics,
        "passed": good,
        "reasons": reasons,
    }


def make_states(plates: int, barcode: str = "SOL-R{:02d}-P{:02d}") -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    rng = np.random.default_rng(5)
    rows, quality = [], []
    for round_ in range(4):
        for plate in range(1, plates + 1):
            code = barcode.format(round_, plate)
            bad = (round_, plate) in ((1, 2), (3, 2))
            state = "passed" if not bad else ("repeated" if round_ == 1 else "failed")
            rows.append((round_, code, 1, state, ""))
            quality.append(make_quality(code, 1, -1.42 if bad else float(rng.uniform(0.5, 0.85))))
            if round_ == 1 and bad:
                rows.append((round_, code, 2, "passed", ""))
                quality.append(make_quality(code, 2, 0.71))
    return pd.DataFrame(rows, columns=["round", "barcode", "attempt", "state", "reason"]), quality


def make_spectrum() -> pd.DataFrame:
    mode = np.arange(24)
    parts = {
        "reducible": 240 * 0.8**mode,
        "members": 150 * 0.72**mode,
        "cobias": np.where(mode < 9, 60 * 0.6**mode, -1e-3),
        "noise": 5 * 0.99**mode,
        "total": 240 * 0.8**mode + 4.5,
    }
    return pd.concat(
        [pd.DataFrame({"mode": mode, "eigenvalue": v, "operator": k}) for k, v in parts.items()], ignore_index=True
    )


OPERATOR = {
    "chosen": {"asked": "reducible", "operator": "reducible", "why": ""},
    "cobias": {"residuals": 335, "effective_residuals": 36.2, "clipped_share": 0.15, "stability": {"diagonals": 0.56}},
    "calibration": {
        "residuals": 422, "effective_residuals": 383.0, "correlation": 0.31, "stability": {"diagonals": 0.4}
    },
}  # fmt: skip


def make_eigenmap(ids: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(6)
    group = rng.choice(["pool", "observed", "audit", "chosen"], len(ids), p=[0.5, 0.32, 0.08, 0.1])
    z = rng.standard_t(9, (len(ids), 2)) * [2.0, 1.1]
    return pd.DataFrame({"perturbation": ids, "z1": z[:, 0], "z2": z[:, 1], "group": group})


def make_losses() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    epoch, history = np.arange(90), np.full((16, 90), np.nan)
    for member, end in enumerate(rng.integers(40, 91, 16)):
        history[member, :end] = (0.35 + 0.75 * np.exp(-epoch / 14) + rng.normal(0, 0.02, 90))[:end]
    return losses_table(history)


def make_work() -> pd.DataFrame:
    rows = [
        ("fit/000", "fit", "1–8", "node-7:4121", "cuda", 1, 61.2, 4_800_000.0, 3.4, 1),
        ("fit/001", "fit", "9–16", "node-8:977", "cuda", 1, 58.9, 4_800_000.0, 3.4, 0),
        ("ensemble", "ensemble", "", "node-7:4121", "", 1, 2.2, np.nan, 3.5, 1),
        ("predict", "predict", "", "node-7:4121", "", 40, 81.0, np.nan, 3.9, 40),
        ("predict", "predict", "", "node-8:977", "", 38, 79.5, np.nan, 3.8, 20),
    ]
    return pd.DataFrame(rows, columns=WORK_COLUMNS)


def make_recomputed() -> pd.DataFrame:
    rows = [
        ("ingest", "computed", "no checkpoint"),
        ("quality SOL-R03-P01", "cached", "checkpoint 3f9a… is intact"),
        ("quality SOL-R03-P02", "computed", "input plate SOL-R03-P02 attempt 1"),
        ("align run R03", "computed", "input quality changed"),
        ("fit ensemble", "computed", "input labels changed"),
        ("predict chunk 1", "computed", "input ensemble changed"),
        ("operator", "computed", "input predictions changed"),
        ("library features", "cached", "checkpoint 77b1… is intact"),
    ]
    return pd.DataFrame(rows, columns=["node", "status", "reason"])


LINKS = {
    "Hybrid screen (CSV)": "../../../../screens/0004/screen.csv",
    "Hybrid screen (AnnData)": "../../../../screens/0004/screen.h5ad",
    "Proposed plate maps": "proposal/platemap.csv",
    "Echo pick list": "proposal/worklists/echo.csv",
    "Digests, versions and seeds": "round.lock.json",
}


def make_report_data(
    kind: str = "continuous", plates: int = 4, fmt: int = 384, hostile: bool = False, library: int = N, **more: Any
) -> ReportData:
    ids = make_ids(library, hostile)
    barcode = "<i>SOL</i>-" + "very-long-barcode-" * 4 + "{:02d}" if hostile else "SOL-R04-P{:02d}"
    usable = {96: 80, 384: 352, 1536: 1472}[fmt]
    batch = make_batch(ids, min(plates * usable, 300 if plates <= 4 else library - 10))
    states, quality = make_states(plates, "LONG-" * 14 + "<b>R{:02d}-P{:02d}" if hostile else "SOL-R{:02d}-P{:02d}")
    history = pd.DataFrame(
        {
            "round": [0, 1, 2, 3],
            "run": [1, 1, 1, 1],
            "look": [1, 2, 3, 4],
            "bound": [0.596, 0.712, 0.79, 0.8437],
            "estimate": [0.71, 0.79, 0.851, 0.8812],
            "gamma": 0.9,
            "wells_used": [200, 332, 464, 596],
            "risk_this_look": [0.0063, 0.0063, 0.0, 0.0063],
            "risk_spent": [0.0062, 0.0125, 0.0125, 0.0188],
        }
    )
    base: dict[str, Any] = {
        "campaign": "aqueous-solubility",
        "round_index": 3,
        "run_index": 1,
        "unit": "log mol/L" if kind == "continuous" else "",
        "kind": kind,
        "decision": decision(),
        "history": history,
        "quality": quality,
        "plate_states": states,
        "screen": make_screen(ids, kind, measured=min(596, library)),
        "recomputed": make_recomputed(),
        "forward": make_forward(ids, kind),
        "spectrum": make_spectrum(),
        "batch": batch,
        "platemap": make_platemap(batch, plates, fmt, barcode),
        "eigenmap": make_eigenmap(ids),
        "evidence": make_evidence(kind),
        "intake": INTAKE,
        "operator": OPERATOR,
        "fit": {"model": "mlp", "members": 16, "labels": 596, "features": 25},
        "losses": make_losses(),
        "work": make_work(),
        "links": LINKS,
        "tolerance": 1.0 if kind == "continuous" else None,
    }
    base |= more
    if "calibration" not in base:
        base["calibration"] = judge(base["forward"], base["screen"], kind, base["round_index"])
    return ReportData(**base)


@pytest.fixture(scope="session")
def report_data() -> Callable[..., ReportData]:
    """Factory of report data; keywords replace fields."""
    return make_report_data
