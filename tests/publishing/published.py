"""Small screens as rounds publish them, drawn by a seed."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from tasks.campaigns.config import ReadoutSection
from tasks.checkpoints.records import NodeRecord, RoundLock
from tasks.checkpoints.refs import Ref
from tasks.publishing.flags import FLAGS
from tasks.publishing.formats import complete_provenance
from tasks.publishing.screen import build_screen

READOUTS = {
    "continuous": ReadoutSection(kind="continuous", unit="log units", tolerance=0.5),
    "binary": ReadoutSection(kind="binary", unit="%", threshold=30.0),
}
CERTIFICATE = {
    "stop": True, "certified": True, "reason": "Certified: at least 91.2% is correct", "bound": 0.91277, "gamma": 0.9,
    "estimate": 0.953, "risk": 0.05, "risk_spent": 0.02, "look": 3, "assumption": "the audit is drawn at random",
    "would_change": "3 errors more", "wells_used": 24, "wells_full_screen": 80,
}  # fmt: skip
ANNOTATION = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00'"), max_size=8)


def record(node, key="0", output="a", **given):
    """A step whose key and output are told by a letter each."""
    refs = {"table": Ref(uri=f"checkpoints/{node}", sha256=output * 64, kind="table")}
    base = {"stage": node, "version": 1, "params": {}, "seed": None, "inputs": {}}
    return NodeRecord(node=node, key=key * 64, outputs=refs, **{**base, **given})


def lock(*nodes, **versions):
    ensemble = {"model": "mlp", "members": 16}
    alignment = {"method": "two-point"}
    given = nodes or (
        record("align", params={"alignment": alignment}),
        record("fit", params={"ensemble": ensemble, "list": [1, None]}),
    )
    versions = {"numpy": "2.0", **versions}
    return RoundLock(campaign="pilot", round=2, nodes={node.node: node for node in given}, versions=versions)


def screen(kind="continuous", rows=40, seed=0, annotation=None, certificate=None, locked=None, **labels):
    """A third of the rows is measured; the first four are hidden audit members. `labels` replaces columns of theirs."""
    rng = np.random.default_rng(seed)
    ids = [f"CPD-{row:03d}" for row in range(rows)]
    mean = rng.uniform(size=rows) if kind == "binary" else rng.normal(size=rows)
    guess = pd.DataFrame({"mean": mean, "epistemic_sd": 0.3, "bias_sd": 0.4, "aleatoric_sd": 0.2}, index=ids)
    n = max(1, rows // 3)
    known = {
        "perturbation": ids[:n],
        "value": (rng.uniform(size=n) > 0.5) * 1.0 if kind == "binary" else mean[:n] + 0.1 * rng.normal(size=n),
        "n": 2,
        "variance": 0.04,
        "plates": "P1;P2",
        "round": 1,
        "audit": [row < 4 for row in range(n)],
    }
    known = pd.DataFrame({**known, **labels})
    flags = pd.Series([";".join(f for f in FLAGS if rng.random() < 0.1) for _ in ids], index=ids)
    provenance = {"campaign": "pilot", "round": 2, "inputs": {"library": "f" * 64}}
    built = build_screen(
        pd.DataFrame(annotation or {}, index=ids), guess, known, READOUTS[kind], {**CERTIFICATE, **(certificate or {})},
        provenance, flags,
    )  # fmt: skip
    return complete_provenance(built, 1, locked or lock())
