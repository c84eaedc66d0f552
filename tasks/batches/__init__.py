"""Batches: strategies that choose from the operator's eigenspace, composition, plate layout, worklists."""

from tasks.batches.eigenmodes import pick_eigenmodes
from tasks.batches.eigenspace_clusters import pick_eigenspace_clusters
from tasks.batches.pool import ExhaustedStrategy, Picks, PoolView, Strategy
from tasks.batches.random import pick_random
from tasks.batches.top_variance import pick_top_variance

STRATEGIES: dict[str, Strategy] = {
    "random": pick_random,
    "top-variance": pick_top_variance,
    "eigenmodes": pick_eigenmodes,
    "eigenspace-clusters": pick_eigenspace_clusters,
}

__all__ = ["STRATEGIES", "ExhaustedStrategy", "Picks", "PoolView", "Strategy"]
