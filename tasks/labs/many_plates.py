"""A campaign whose first round has as many plates as asked for, on a made-up library, with next to no model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

from tasks.labs.replay import LabConfig, ReplayLab

NAME = "many-plates"
_SEED = 11
_FORMAT = {96: ("A01:H02", "A11:H12"), 384: ("A01:P01", "A24:P24")}
_SAMPLES = {96: 64, 384: 352}  # wells of a plate besides those of controls
_LEFT = 1000  # perturbations that round 0 leaves, for the next batch


def write_campaign(folder: Path, plates: int, wells: int, storage: str) -> Path:
    """Write library and configuration into a folder; the configuration's path.

    Args:
        folder: Where both go.
        plates: Plates of round 0.
        wells: Wells of a plate, 96 or 384.
        storage: Where the campaign's files are to be.
    """
    features = _features(plates, wells)
    table = pd.DataFrame(features, columns=["f0", "f1", "f2"])
    table.insert(0, "perturbation", _ids(len(features)))
    table.to_csv(folder / "library.csv", index=False)
    negcon, poscon = _FORMAT[wells]
    content = {
        "campaign": {"name": NAME, "seed": _SEED, "storage": storage},
        "library": {"uri": "library.csv"},
        "readout": {"kind": "continuous", "tolerance": 1.0},
        "plates": {
            "format": wells,
            "negcon": {"wells": [negcon], "nominal": 0.0},
            "poscon": {"wells": [poscon], "nominal": 6.0},
            "initial": plates,
            "per_round": 1,
        },
        "alignment": {"method": "two-point"},
        "ensemble": {"members": 4, "hidden": [8], "epochs": 2, "patience": 2},
        "operators": {"sketch": 8, "features": 4},
        "batch": {"audit": 0.05, "slots": [{"strategy": "random", "share": 1.0}]},
        "stopping": {"gamma": 0.9999, "max_rounds": 4},
    }
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def many_plates_lab(plates: int, wells: int) -> ReplayLab:
    """Its lab: values smooth in two features; every plate passes."""
    features = _features(plates, wells)
    truth = pd.DataFrame({"perturbation": _ids(len(features)), "value": 2 * np.sin(features[:, 0]) + features[:, 1]})
    return ReplayLab(truth, LabConfig(seed=1, well_noise=0.2, poscon_value=6.0, negcon_value=0.0))


def _features(plates: int, wells: int) -> npt.NDArray[np.float64]:
    """Features (n, 3) of the library."""
    return np.random.default_rng(_SEED).normal(size=(plates * _SAMPLES[wells] + _LEFT, 3)).round(4)


def _ids(count: int) -> list[str]:
    return [f"X{number:06d}" for number in range(count)]
