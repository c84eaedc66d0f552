"""What the report is made from: looks with their risk, spectra with the noise, how the readouts came in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tasks.campaigns.ledger import Run
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.records import RoundLock
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.operators.task import Omega
from tasks.publishing.assemble import intake_facts, looks_table, noise_spectra, read_eigenspace
from tasks.readouts.noise import NoiseModel


@pytest.fixture
def cp(tmp_path: Path) -> Checkpointer:
    return Checkpointer(CheckpointStore(Storage(str(tmp_path))))


def stored(cp: Checkpointer, node: str, payloads: dict[str, Payload]) -> Outputs:
    return cp.run(node, Stage("stored", 1), lambda: payloads, outputs=tuple(payloads), params={"node": node})


def summary(round_: int, run: int, risk: float | None, evidence: str) -> Mapping[str, Any]:
    known = {} if risk is None else {"risk_this_look": risk}
    said = {"round": round_, "run": run, "look": 1, "bound": 0.8, "estimate": 0.9, "gamma": 0.9, "wells_used": 100}
    return said | known | {"evidence": evidence}


def run_of(told: Mapping[str, Any]) -> Run:
    lock = RoundLock(campaign="c", round=told["round"], nodes={}, versions={})
    return Run(told["round"], told["run"], "", lock, told)


def test_the_same_evidence_is_looked_at_once() -> None:
    runs = [run_of(summary(0, 1, 0.005, "a")), run_of(summary(0, 2, 0.005, "a")), run_of(summary(1, 1, 0.004, "b"))]
    table = looks_table(runs, summary(2, 1, 0.003, "c"))
    assert table["risk_spent"].tolist() == pytest.approx([0.005, 0.005, 0.009, 0.012])
    assert table["risk_this_look"].tolist() == [0.005, 0.005, 0.004, 0.003]
    assert table["round"].tolist() == [0, 0, 1, 2]


def test_a_look_of_unknown_risk_leaves_the_sum_unknown() -> None:
    table = looks_table([run_of(summary(0, 1, None, "a"))], summary(1, 1, 0.003, "b"))
    assert np.isnan(table["risk_spent"].to_numpy()).all()


def placed(cp: Checkpointer, noise: np.ndarray[Any, Any]) -> tuple[Omega, np.ndarray[Any, Any]]:
    """30 perturbations in two chunks, of which 24 are the pool: their coordinates are modes of 4 columns over it."""
    pool = np.arange(30) % 5 != 0
    rng = np.random.default_rng(0)
    values = np.array([5.0, 2.0, 1.0, 0.3])
    z = rng.standard_normal((30, 4))
    z[pool] = np.linalg.qr(rng.standard_normal((24, 4)))[0] * np.sqrt(values)
    halves = {"a": slice(0, 13), "b": slice(13, 30)}
    chunks = [stored(cp, name, {"coordinates": Payload("array", z[at])}) for name, at in halves.items()]
    parts = [stored(cp, f"parts {name}", {"noise": Payload("array", noise[at])}) for name, at in halves.items()]
    modes = stored(cp, "modes", {"eigenvalues": Payload("array", values)})
    return Omega(cast(Any, SimpleNamespace()), parts, modes, chunks), z


def test_noise_along_the_modes_is_that_of_the_dense_operator(cp: Checkpointer) -> None:
    noise = np.random.default_rng(1).uniform(0.1, 2.0, 30)
    omega, z = placed(cp, noise)
    pool = np.arange(30) % 5 != 0
    coordinates, (along, alone) = read_eigenspace(cp, omega, pool)
    values = np.array([5.0, 2.0, 1.0, 0.3])
    u = z[pool] / np.sqrt(values)
    whole = z[pool] @ z[pool].T + np.diag(noise[pool])
    spectra = noise_spectra({"reducible": values.tolist(), "cobias": [9.0] * 6}, "reducible", along, alone)
    assert spectra["total"] == pytest.approx(np.diag(u.T @ whole @ u))
    assert spectra["noise"] == pytest.approx(sorted(noise[pool])[:-7:-1])  # as many as the longest spectrum has
    np.testing.assert_array_equal(coordinates, z[:, :2])


def test_with_even_noise_these_are_the_eigenvalues(cp: Checkpointer) -> None:
    omega, z = placed(cp, np.full(30, 0.7))
    pool = np.arange(30) % 5 != 0
    _, noise = read_eigenspace(cp, omega, pool)
    total = noise_spectra({"reducible": [5.0, 2.0, 1.0, 0.3]}, "reducible", *noise)["total"]
    dense = np.linalg.eigvalsh(z[pool] @ z[pool].T + 0.7 * np.eye(24))
    assert total == pytest.approx(dense[::-1][:4])
    assert "total" not in noise_spectra({"difference": [1.0]}, "difference", np.ones(1), np.ones(3))


def test_the_largest_shared_error_is_that_of_plate_and_run(cp: Checkpointer) -> None:
    model = NoiseModel(
        average=0.01, source="negcon", n=50, floor=0.005, knots=(0.0,), variances=(0.01,),
        plates={"A.1": 0.04, "B.2": 0.03}, scales={"A.1": 0.0, "B.2": 0.0}, runs={"A.1": "X", "B.2": "Y"},
        run_variances={"X": 0.0, "Y": 0.06}, anchors={"X": 0.0, "Y": 0.0},
    )  # fmt: skip
    node = stored(cp, "labels", {"noise": Payload("json", model.model_dump(mode="json"))})
    facts = intake_facts(cp, node["noise"], "two-point", None, 2, 5)
    assert facts.pop("shared_sd") == pytest.approx(0.3)
    assert facts == {"alignment": "two-point", "warning": None, "plate": "B.2", "rejected": 2, "excluded": 5}
