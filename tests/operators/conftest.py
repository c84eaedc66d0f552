"""Dense stand-ins for the operators of other rooms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class Dense:
    """A symmetric operator as the matrix it is."""

    matrix: np.ndarray

    def __len__(self) -> int:
        return len(self.matrix)

    def take(self, rows) -> Dense:
        return Dense(self.matrix[rows][:, rows])

    def matvec(self, vector: np.ndarray) -> np.ndarray:
        return self.matrix @ vector

    def diagonal(self) -> np.ndarray:
        return np.diag(self.matrix)

    def quadratic(self, features: np.ndarray) -> np.ndarray:
        return features.T @ self.matrix @ features


@pytest.fixture
def dense() -> type[Dense]:
    return Dense


@pytest.fixture
def plate_noise() -> np.ndarray:
    """Σ_Y (240, 240): well noise 0.09, and offsets of variance 0.04 shared by 6 plates of 40."""
    plate = np.repeat(np.arange(6), 40)
    return 0.09 * np.eye(240) + 0.04 * (plate[:, None] == plate[None, :])
