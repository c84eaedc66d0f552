"""A tiny campaign on a made-up library, for the self-test: a plate of its second round fails and has to be repeated."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.labs.replay import LabConfig, ReplayLab

_SIZE = 200
_SEED = 7
FAILING = (1, 1)


def write_tiny_campaign(folder: Path) -> Path:
    """Write library and configuration into a folder; the configuration's path."""
    table = pd.DataFrame(_features(), columns=["f0", "f1", "f2"])
    table.insert(0, "perturbation", _ids())
    table.to_csv(folder / "library.csv", index=False)
    path = folder / "campaign.yaml"
    path.write_text(files("tasks.labs").joinpath("tiny.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return path


def tiny_lab() -> ReplayLab:
    """Its lab: values smooth in two features; plate 1 of round 1 fails [log units]."""
    features = _features()
    values = pd.DataFrame({"perturbation": _ids(), "value": 2 * np.sin(features[:, 0]) + features[:, 1]})
    return ReplayLab(values, LabConfig(seed=1, well_noise=0.2, poscon_value=6.0, negcon_value=0.0, failures=(FAILING,)))


def _features() -> np.ndarray:
    return np.random.default_rng(_SEED).normal(size=(_SIZE, 3)).round(6)


def _ids() -> list[str]:
    return [f"T{number:03d}" for number in range(_SIZE)]
