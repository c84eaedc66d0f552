"""The error operator Ω as factors: Σ_F, Δ, their sum, and its eigenmodes."""

from __future__ import annotations

from tasks.operators.blocks import Blocks
from tasks.operators.cobias import Cobias, cobias_factor, quadratic_delta
from tasks.operators.diagonal import Diagonal
from tasks.operators.eigenmodes import Eigenmodes, eigenmodes
from tasks.operators.factors import Factor, SymmetricOperator, hstack, member_factor
from tasks.operators.linear import Operator, as_linear_operator
from tasks.operators.sums import LowRankPlusDiagonal, add, noise_operator

__all__ = [
    "Blocks",
    "Cobias",
    "Diagonal",
    "Eigenmodes",
    "Factor",
    "LowRankPlusDiagonal",
    "Operator",
    "SymmetricOperator",
    "add",
    "as_linear_operator",
    "cobias_factor",
    "eigenmodes",
    "hstack",
    "member_factor",
    "noise_operator",
    "quadratic_delta",
]
