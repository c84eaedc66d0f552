"""Batches: strategies that choose from the operator's eigenspace, composition, plate layout, worklists."""

from tasks.batches.pool import ExhaustedStrategy, Picks, PoolView
from tasks.batches.registry import STRATEGIES, Strategy

__all__ = ["STRATEGIES", "ExhaustedStrategy", "Picks", "PoolView", "Strategy"]
