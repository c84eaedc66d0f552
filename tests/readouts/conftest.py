"""Simulated plates that the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tasks.campaigns.config import ControlWells, PlatesSection, ReadoutSection
from tasks.readouts.ingest import WELL_COLUMNS
from tasks.readouts.noise import NoiseModel
from tasks.readouts.wells import position_to_well

MakeWells = Callable[..., pd.DataFrame]
WELLS = [position_to_well(index // 24, index % 24, 384) for index in range(384)]


def _plate(
    barcode: str,
    rng: np.random.Generator,
    negcon: int,
    poscon: int,
    truth: dict[str, float],
    offset: float,
    scale: float,
    noise: float,
    run: str,
    attempt: int,
    levels: tuple[float, float],
) -> pd.DataFrame:
    roles = ["negcon"] * negcon + ["poscon"] * poscon + ["sample"] * len(truth)
    true = np.array([levels[0]] * negcon + [levels[1]] * poscon + list(truth.values()))
    rows, columns = np.divmod(np.arange(len(roles)), 24)
    return pd.DataFrame(
        {
            "barcode": barcode,
            "attempt": attempt,
            "run": run,
            "well": WELLS[: len(rows)],
            "row": rows,
            "column": columns,
            "role": roles,
            "perturbation": [""] * (negcon + poscon) + list(truth),
            "replicate": [0] * (negcon + poscon) + [1] * len(truth),
            "value": offset + scale * (true + noise * rng.standard_normal(len(true))),
        }
    )[WELL_COLUMNS]


@pytest.fixture(scope="session")
def make_wells() -> MakeWells:
    """Wells of simulated 384-well plates: value = offset + scale·(truth + noise·N(0, 1))."""

    def make(
        seed: int = 0,
        *,
        offsets: tuple[float, ...] = (0.0,),
        scales: tuple[float, ...] | None = None,
        negcon: int = 16,
        poscon: int = 16,
        samples: int = 20,
        noise: float = 1.0,
        run: str = "R00",
        attempt: int = 1,
        levels: tuple[float, float] = (0.0, 10.0),
        truth: dict[str, float] | None = None,
    ) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        scales = scales or (1.0,) * len(offsets)
        tables = []
        for index, (offset, scale) in enumerate(zip(offsets, scales, strict=True)):
            values = truth if truth is not None else {f"X{index}-{i:02d}": float(i) / 4 for i in range(samples)}
            tables.append(
                _plate(f"P{index:02d}", rng, negcon, poscon, values, offset, scale, noise, run, attempt, levels)
            )
        return pd.concat(tables, ignore_index=True)

    return make


@pytest.fixture(scope="session")
def make_profiles() -> MakeWells:
    """Wells with d correlated features of very different size: value = centre_f + size_f·(offset_p + scale_p·noise)."""

    def make(
        seed: int = 0,
        *,
        d: int = 4,
        n_plates: int = 3,
        negcon: int = 24,
        samples: int = 6,
        spread: float = 3.0,
        run: str = "R00",
        first: int = 0,
    ) -> pd.DataFrame:
        of_features = np.random.default_rng(77)
        centre, size = of_features.normal(0, 1e4, d), 10.0 ** of_features.uniform(-3, 3, d)
        rng = np.random.default_rng(seed)
        mix = np.eye(d) + 0.5 * rng.standard_normal((d, d))
        tables = []
        for p in range(first, first + n_plates):
            noise = rng.standard_normal((negcon + samples, d)) @ mix
            noise[negcon:] += 4.0 * rng.standard_normal((samples, d))
            values = centre + size * (spread * rng.standard_normal(d) + np.exp(0.3 * rng.standard_normal(d)) * noise)
            rows, columns = np.divmod(np.arange(negcon + samples), 24)
            table = pd.DataFrame(
                {
                    "barcode": f"P{p:02d}",
                    "attempt": 1,
                    "run": run,
                    "well": WELLS[: len(rows)],
                    "row": rows,
                    "column": columns,
                    "role": ["negcon"] * negcon + ["sample"] * samples,
                    "perturbation": [""] * negcon + [f"X{p}-{i}" for i in range(samples)],
                    "replicate": [0] * negcon + [1] * samples,
                    "value": values[:, 0],
                }
            )[WELL_COLUMNS]
            tables.append(table.join(pd.DataFrame(values, columns=[f"f{j}" for j in range(d)])))
        return pd.concat(tables, ignore_index=True)

    return make


@pytest.fixture(scope="session")
def plates() -> PlatesSection:
    """A layout with nominal values 0 and 10."""
    return PlatesSection(
        negcon=ControlWells(wells=("A01:H01",), nominal=0.0), poscon=ControlWells(wells=("A02:H02",), nominal=10.0)
    )


@pytest.fixture(scope="session")
def continuous() -> ReadoutSection:
    return ReadoutSection(kind="continuous", tolerance=1.0)


@pytest.fixture(scope="session")
def binary() -> ReadoutSection:
    return ReadoutSection(kind="binary", threshold=2.0)


@pytest.fixture(scope="session")
def make_noise() -> Callable[..., NoiseModel]:
    """A noise model: constant well noise, plates that are all equal, each in the run R0 unless said."""

    def make(
        keys: list[str],
        *,
        well: float = 2.0,
        offset: float | list[float] = 0.3,
        scale: float | list[float] = 0.0,
        runs: list[str] | None = None,
        run_variances: dict[str, float] | None = None,
        reagent: float = 0.0,
        anchors: dict[str, float] | None = None,
        knots: tuple[float, ...] = (0.0,),
        variances: tuple[float, ...] | None = None,
    ) -> NoiseModel:
        of = dict(zip(keys, runs or ["R0"] * len(keys), strict=True))
        return NoiseModel(
            average=well,
            source="negcon",
            n=9,
            floor=0.1,
            knots=knots,
            variances=variances or (well,),
            plates=dict(zip(keys, np.broadcast_to(offset, len(keys)).tolist(), strict=True)),
            scales=dict(zip(keys, np.broadcast_to(scale, len(keys)).tolist(), strict=True)),
            runs=of,
            run_variances=run_variances or dict.fromkeys(of.values(), 0.0),
            reagent=reagent,
            anchors=anchors or dict.fromkeys(of.values(), 0.0),
        )

    return make
