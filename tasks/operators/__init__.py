"""The error operator Ω as factors: Σ_F, Δ, their sum, and its eigenmodes."""

from __future__ import annotations

from tasks.operators.cobias import Cobias, cobias_factor, quadratic_delta
from tasks.operators.eigenmodes import Eigenmodes, eigenmodes
from tasks.operators.factors import Factor, SymmetricOperator, hstack, member_factor

__all__ = [
    "Cobias",
    "Eigenmodes",
    "Factor",
    "SymmetricOperator",
    "cobias_factor",
    "eigenmodes",
    "hstack",
    "member_factor",
    "quadratic_delta",
]
