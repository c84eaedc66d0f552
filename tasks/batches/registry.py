"""All strategies, by the name that a slot gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tasks.batches.adversarial import pick_adversarial_bim
from tasks.batches.badge import pick_badge
from tasks.batches.batch_bald import pick_batch_bald
from tasks.batches.d2_sampling import pick_d2_sampling
from tasks.batches.eigenmodes import pick_eigenmodes
from tasks.batches.eigenspace_clusters import pick_eigenspace_clusters
from tasks.batches.error_sampling import pick_error_sampling
from tasks.batches.expected_improvement import pick_expected_improvement
from tasks.batches.forward_backward import pick_expected_improvement_backward
from tasks.batches.greedy_hits import pick_greedy_hits
from tasks.batches.in_order import pick_in_order
from tasks.batches.k_centre import pick_k_centre
from tasks.batches.k_means import pick_k_means_embedding, pick_k_means_features
from tasks.batches.least_confidence import pick_least_confidence
from tasks.batches.margin import pick_margin
from tasks.batches.max_determinant import pick_max_determinant
from tasks.batches.maximum_entropy import pick_maximum_entropy
from tasks.batches.pool import Kind, Picks
from tasks.batches.query_by_committee import pick_query_by_committee
from tasks.batches.random import pick_random
from tasks.batches.soft_bald import pick_soft_bald
from tasks.batches.top_variance import pick_top_variance
from tasks.batches.ucb import pick_ucb

ANY: tuple[Kind, ...] = ("continuous", "binary", "multi-class")
CLASSES: tuple[Kind, ...] = ("binary", "multi-class")


@dataclass(frozen=True)
class Strategy:
    """One way of choosing a batch.

    Attributes:
        pick: (pool, n, rng) → n distinct open rows. Its docstring tells formula, source, cost and when it fails, in
            sections of these names, from which the table of strategies is made. Its keyword-only parameters are the
            options that a slot may give.
        kinds: Readouts it is defined for.
        noise_aware: Whether it uses `pool.noise`.
        batch_aware: Whether a pick depends on the picks before it.
        needs: Parts of the pool view that are left out unless a strategy needs them (members, features, embedding,
            gradient), and the readouts for which it does.
        instead: Strategy that does the same for the readouts it is not defined for.
    """

    pick: Callable[..., Picks]
    kinds: tuple[Kind, ...] = ANY
    noise_aware: bool = False
    batch_aware: bool = False
    needs: Mapping[str, tuple[Kind, ...]] = field(default_factory=dict)
    instead: str = ""

    def needed(self, kind: Kind) -> tuple[str, ...]:
        """What it needs for a kind of readout."""
        return tuple(part for part, kinds in self.needs.items() if kind in kinds)


STRATEGIES: dict[str, Strategy] = {
    "random": Strategy(pick_random),
    "in-order": Strategy(pick_in_order),
    "top-variance": Strategy(pick_top_variance),
    "soft-bald": Strategy(pick_soft_bald, needs={"members": CLASSES}),
    "error-sampling": Strategy(pick_error_sampling),
    "least-confidence": Strategy(pick_least_confidence, CLASSES, instead="top-variance"),
    "margin": Strategy(pick_margin, needs={"members": ("continuous",)}),
    "maximum-entropy": Strategy(pick_maximum_entropy, noise_aware=True),
    "query-by-committee": Strategy(pick_query_by_committee, needs={"members": ANY}),
    "batch-bald": Strategy(
        pick_batch_bald, CLASSES, batch_aware=True, needs={"members": CLASSES}, instead="max-determinant"
    ),
    "adversarial-bim": Strategy(pick_adversarial_bim, needs={"features": ANY, "gradient": ANY}),
    "greedy-hits": Strategy(pick_greedy_hits),
    "ucb": Strategy(pick_ucb, needs={"members": ("multi-class",)}),
    "eigenmodes": Strategy(pick_eigenmodes, batch_aware=True),
    "expected-improvement": Strategy(pick_expected_improvement, noise_aware=True, batch_aware=True),
    "expected-improvement-backward": Strategy(pick_expected_improvement_backward, noise_aware=True, batch_aware=True),
    "max-determinant": Strategy(pick_max_determinant, noise_aware=True, batch_aware=True),
    "eigenspace-clusters": Strategy(pick_eigenspace_clusters, noise_aware=True, batch_aware=True),
    "k-centre": Strategy(pick_k_centre, batch_aware=True),
    "d2-sampling": Strategy(pick_d2_sampling, batch_aware=True),
    "badge": Strategy(pick_badge, batch_aware=True, needs={"embedding": ANY}),
    "k-means-features": Strategy(pick_k_means_features, batch_aware=True, needs={"features": ANY}),
    "k-means-embedding": Strategy(pick_k_means_embedding, batch_aware=True, needs={"embedding": ANY}),
}
