"""What each experiment of replay_experiments.py plays: sets, arms, rounds, figures."""

from __future__ import annotations

from dataclasses import dataclass

from replay_sets import GENES, PEER, UCI

TYPE_II = {"level": 0.3, "slope": 0.5, "replicates": 2, "controls": 8}
TYPE_III = {"level": 0.3, "plate": 0.5, "replicates": 2, "controls": 2, "wells": 64}


def only(strategy, operator="reducible", options=None, **more):
    """An arm of one strategy."""
    return {"slots": [{"strategy": strategy, "share": 1.0, "options": options or {}}], "operator": operator, **more}


RANDOM, DEFAULT = only("random"), only("eigenspace-clusters", "gradients")
HITS = {"strategy": "greedy-hits", "share": 0.5, "options": {"tail": "both"}}
NINE = ("random", "top-variance", "soft-bald", "margin", "k-centre", "badge", "k-means-embedding", "k-means-features",
        "adversarial-bim")  # fmt: skip
WITHOUT_FOREST = ("k-centre", "badge", "k-means-embedding", "adversarial-bim")  # GeneDisco's need its network


@dataclass(frozen=True)
class Experiment:
    """What is played.

    Attributes:
        sets: Name in tables → set, noise to add.
        arms: Name in tables → slots, operator, hits, and where it differs the ensemble.
        first: Arms that are played before the others.
        seeds: How many.
        figures: That tables are about.
        rounds: Batches.
        curve: What the figure shows. None: no figure (a dozen curves in a panel are none).
        versus: Two arms of which the first is compared with the second too.
    """

    sets: dict[str, tuple[str, dict | None]]
    arms: dict[str, dict]
    first: tuple[str, ...] = ("random", "default")
    seeds: int = 5
    figures: tuple[str, ...] = ("rmse", "error_99", "mae")
    rounds: int = 8
    curve: str | None = "rmse"
    versus: tuple[str, str] | None = None


EXPERIMENTS = {
    "regression": Experiment(
        {name: (name, None) for name in (*UCI, "qm9")},
        {
            "random": RANDOM,
            "default": DEFAULT,
            "lcmd (bmdal_reg)": only(PEER, "members"),
        },
        first=("random", "default", "lcmd (bmdal_reg)"),
        versus=("default", "lcmd (bmdal_reg)"),
    ),
    "ablations": Experiment(
        {name: (name, None) for name in UCI},
        {
            "random": RANDOM,
            "default": DEFAULT,
            "clusters, calibrated": only("eigenspace-clusters", "calibrated"),
            "clusters, reducible": only("eigenspace-clusters"),
            "clusters, reducible, direct Δ": only("eigenspace-clusters", operators={"cobias": "direct"}),
            "clusters, difference": only("eigenspace-clusters", "difference"),
            "clusters, members": only("eigenspace-clusters", "members"),
            "clusters, members, no last layer": only("eigenspace-clusters", "members", operators={"within": "none"}),
            "d2, gradients": only("d2-sampling", "gradients"),
            "eigenmodes, gradients": only("eigenmodes", "gradients"),
            "error-sampling, calibrated": only("error-sampling", "calibrated"),
            "top-variance": only("top-variance"),
            "expected-improvement": only("expected-improvement"),
            "default, half random": {
                "slots": [{"strategy": name, "share": 0.5} for name in ("eigenspace-clusters", "random")],
                "operator": "gradients",
            },
        },
        seeds=1,
        figures=("rmse", "error_99"),
        curve=None,
    ),
    "regression-full": Experiment(
        {name: (name, None) for name in (*UCI, "qm9")}, {"random": RANDOM, "default": DEFAULT}, rounds=16
    ),
    "noise": Experiment(
        {f"{name}, {kind}": (name, noise) for kind, noise in (("II", TYPE_II), ("III", TYPE_III)) for name in UCI},
        {
            "random": RANDOM,
            "default": DEFAULT,
            "top-variance": only("top-variance"),
            "noise ignored": only("eigenspace-clusters", "gradients", options={"noise": "ignore"}),
        },
    ),
    "genes": Experiment(
        {name: (name, None) for name in GENES},
        {
            "random": RANDOM,
            "default": DEFAULT,
            "default, half hits": only("eigenspace-clusters", "gradients", hits=HITS),
            "hits alone": only("eigenspace-clusters", "gradients", hits=HITS | {"share": 1.0}),
            "ucb alone": only(
                "eigenspace-clusters", "gradients", hits={"strategy": "ucb", "share": 1.0, "options": {"tail": "both"}}
            ),
            "error-sampling, calibrated": only("error-sampling", "calibrated"),
            "top-variance": only("top-variance"),
        },
        first=("random", "default", "default, half hits"),
        figures=("rmse", "mae", "hits_found"),
        curve="hits_found",
    ),
    "genedisco": Experiment(
        {"schmidt_il2": ("schmidt_il2, mean", None)},
        {
            f"{strategy}, {short}": only(strategy, "members", ensemble={"model": model, "preset": preset})
            for short, model, preset in (
                ("network", "mc-dropout", "genedisco-bnn"),
                ("forest", "forest", "genedisco-forest"),
            )
            for strategy in NINE
            if short == "network" or strategy not in WITHOUT_FOREST
        },
        first=(),
        figures=("rmse", "hits_found"),
    ),
}
