"""Nodes of the operators room: small estimates, then Ω chunk by chunk."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.campaigns.config import CampaignConfig
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage, derive_seed
from tasks.checkpoints.pieces import Place
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.task import node_task
from tasks.ensembles.task import Reference
from tasks.operators.estimates import Measured, calibrate, estimate_change, estimate_cobias
from tasks.operators.pieces import Chunk, Plan, Terms, find_modes, measure_chunk, place_chunk
from tasks.operators.stored_rows import StoredRows

COBIAS = Stage("cobias", 1)
CALIBRATION = Stage("calibration", 1)
DIFFERENCE = Stage("difference", 1)
GRAMS = Stage("grams", 2)
OMEGA = Stage("omega", 3)
COORDINATES = Stage("coordinates", 2)

_SAID = ("members", "within", "features", "gradients")
_SPREAD = ("members", "within")


@dataclass(frozen=True)
class Estimates:
    """Nodes of the small estimates; None where a round has none."""

    calibration: Outputs
    cobias: Outputs | None = None
    difference: Outputs | None = None

    def terms(self, noise: Ref) -> Terms:
        """What the chunks read of them."""
        cobias = self.cobias["cobias"] if self.cobias else None
        difference = self.difference["difference"] if self.difference else None
        return Terms(noise, self.calibration["calibration"], cobias, difference)


@dataclass(frozen=True)
class Omega:
    """Ω over the library, in the order of its rows.

    Attributes:
        estimates: What it is made of.
        parts: Of each chunk: `variance` (n, 2 or 3), diagonals of Σ_F and Δ, and ê where there is a calibration;
            `noise` (n,) of a new measurement; `grams`.
        modes: `eigenvalues`, `rotation`, `chosen`, `spectra`, `members`.
        chunks: Of each chunk: `coordinates` (n, k) float32 and `diagonal` (n,) of the chosen operator.
    """

    estimates: Estimates
    parts: Sequence[Outputs]
    modes: Outputs
    chunks: Sequence[Outputs]

    def refs(self, node: str, name: str) -> list[Ref]:
        """References to an output of all `parts` or `chunks`, in the order of the library."""
        nodes: Sequence[Outputs] = getattr(self, node)
        return [outputs[name] for outputs in nodes]

    def inputs(self, node: str, *names: str) -> dict[str, Ref]:
        """The same by name, as inputs of a node."""
        return {f"omega {i:05d} {name}": ref for name in names for i, ref in enumerate(self.refs(node, name))}


def load_rows(cp: Checkpointer, refs: Sequence[Ref]) -> NDArray[Any]:
    """Arrays of all chunks as one: for vectors and a few columns, not for what is N×r."""
    return np.concatenate([cp.load(ref) for ref in refs])


def coordinate_rows(cp: Checkpointer, omega: Omega) -> StoredRows:
    """Z (N, k), read chunk by chunk."""
    return StoredRows.of_refs(cp.store, omega.refs("chunks", "coordinates"))


@node_task("cobias")
def cobias_node(
    cp: Checkpointer,
    place: Place,
    config: CampaignConfig,
    labels: Outputs,
    rounds: Sequence[tuple[int, Mapping[str, Ref]]],
    reference: Reference,
) -> Outputs:
    """Δ from the forward residuals of the newest rounds. `rounds`: age and forward residuals of each."""
    features = [chunk["features"] for chunk in reference.chunks]
    seed = derive_seed(config.campaign.seed, "cobias")
    settings = config.operators
    inputs = _labels(labels) | _numbered("reference", reference.chunks, ("features",))
    inputs |= {f"age {age} {name}": forward[name] for age, forward in rounds for name in ("table", *_SPREAD)}
    return cp.run(
        "omega/cobias",
        COBIAS,
        partial(estimate_cobias, cp.store, _measured(labels, config), list(rounds), features, settings, seed),
        outputs=("cobias", "facts"),
        params={
            "operators": settings.model_dump(mode="json", include={"cobias", "ridge", "decay"}),
            "kind": config.readout.kind,
            "ages": [age for age, _ in rounds],
        },
        inputs=inputs,
        seed=seed,
        place=place,
    )


@node_task("calibration")
def calibration_node(
    cp: Checkpointer,
    place: Place,
    config: CampaignConfig,
    library: Ref,
    labels: Outputs,
    fitted: Outputs,
    chunks: Sequence[Outputs],
) -> Outputs:
    """ê from the out-of-fold residuals of this round's ensemble."""
    seed = derive_seed(config.campaign.seed, "calibration")
    refs = [chunk.refs for chunk in chunks]
    measured = _measured(labels, config)
    return cp.run(
        "omega/calibration",
        CALIBRATION,
        partial(calibrate, cp.store, library, measured, fitted["tensors"], refs, seed),
        outputs=("calibration", "facts"),
        params={"kind": config.readout.kind},
        inputs={
            "library": library,
            "tensors": fitted["tensors"],
            **_labels(labels),
            **_numbered("chunk", chunks, ("features", "members")),
        },
        seed=seed,
        place=place,
    )


@node_task("difference")
def difference_node(
    cp: Checkpointer, place: Place, config: CampaignConfig, labels: Outputs, forward: Outputs, older: Reference
) -> Outputs:
    """Change of Δ between the last two ensembles, from labels that neither had seen."""
    seed = derive_seed(config.campaign.seed, "difference")
    refs = [chunk.refs for chunk in older.chunks]
    measured = _measured(labels, config)
    return cp.run(
        "omega/difference",
        DIFFERENCE,
        partial(estimate_change, cp.store, measured, forward.refs, refs, older.labels, config.operators, seed),
        outputs=("difference", "facts"),
        params={"ridge": config.operators.ridge, "kind": config.readout.kind},
        inputs={
            "seen labels": older.labels,
            **_labels(labels),
            **{f"forward {name}": ref for name, ref in forward.refs.items()},
            **_numbered("older", older.chunks, _SPREAD),
        },
        seed=seed,
        place=place,
    )


@node_task("measure chunk", "{node}")
def measure_node(
    cp: Checkpointer,
    place: Place,
    node: str,
    config: CampaignConfig,
    chunk: Chunk,
    terms: Terms,
    standing: Ref,
    rows: tuple[int, int],
) -> Outputs:
    """Variances, noise and Gram matrices of a chunk of the library, `rows` the first and the last (exclusive)."""
    plan, pool = _plan(config, terms), _pool(cp, standing)[slice(*rows)]
    return cp.run(
        node,
        GRAMS,
        partial(measure_chunk, cp.store, chunk, terms, plan, pool),
        outputs=("grams", "variance", "noise"),
        params={"plan": asdict(plan), "rows": list(rows)},
        inputs={"membership": standing, "noise": terms.noise, **_chunk_inputs(chunk, terms)},
        place=place,
    )


@node_task("modes")
def modes_node(cp: Checkpointer, place: Place, config: CampaignConfig, parts: Sequence[Outputs]) -> Outputs:
    """Eigenmodes of all operators over the pool, and which one strategies see."""
    grams, asked = [part["grams"] for part in parts], config.batch.operator
    return cp.run(
        "omega",
        OMEGA,
        partial(find_modes, cp.store, grams, asked),
        outputs=("eigenvalues", "rotation", "chosen", "spectra", "members"),
        params={"operator": asked},
        inputs=_numbered("chunk", parts, ("grams",)),
        place=place,
    )


@node_task("place chunk", "{node}")
def place_node(
    cp: Checkpointer,
    place: Place,
    node: str,
    config: CampaignConfig,
    chunk: Chunk,
    terms: Terms,
    part: Outputs,
    modes: Outputs,
) -> Outputs:
    """Coordinates of a chunk of the library in the eigenspace of the chosen operator."""
    plan = _plan(config, terms)
    chosen = modes["rotation"], modes["chosen"]
    return cp.run(
        node,
        COORDINATES,
        partial(place_chunk, cp.store, chunk, terms, plan, part["variance"], chosen),
        outputs=("coordinates", "diagonal"),
        params={"plan": asdict(plan)},
        inputs={
            "variance": part["variance"],
            "rotation": modes["rotation"],
            "chosen": modes["chosen"],
            **_chunk_inputs(chunk, terms),
        },
        place=place,
    )


def diagnostics(cp: Checkpointer, omega: Omega) -> dict[str, Any]:
    """What strategies see, and how far each estimate can be trusted: `chosen`, and facts by the estimate's name."""
    estimates = omega.estimates
    nodes = {"calibration": estimates.calibration, "cobias": estimates.cobias, "difference": estimates.difference}
    facts = {name: cp.load(outputs["facts"]) for name, outputs in nodes.items() if outputs is not None}
    return {"chosen": cp.load(omega.modes["chosen"]), "members": cp.load(omega.modes["members"]), **facts}


def _measured(labels: Outputs, config: CampaignConfig) -> Measured:
    return Measured(labels["training"], labels["incidence"], labels["noise"], config.readout.kind)


def _labels(labels: Outputs) -> dict[str, Ref]:
    return {f"labels {name}": labels[name] for name in ("training", "incidence", "noise")}


def _numbered(what: str, nodes: Sequence[Outputs], names: Sequence[str]) -> dict[str, Ref]:
    return {f"{what} {i:05d} {name}": outputs[name] for i, outputs in enumerate(nodes) for name in names}


def _plan(config: CampaignConfig, terms: Terms) -> Plan:
    remaining = config.operators.remaining and terms.difference is not None
    return Plan(config.readout.kind, config.plates.replicates, remaining)


def _chunk_inputs(chunk: Chunk, terms: Terms) -> dict[str, Ref]:
    """What a piece reads of its chunk and of the estimates."""
    inputs = {name: chunk.now[name] for name in _SAID} | {"calibration": terms.calibration}
    if terms.cobias is not None and chunk.reference is not None:
        inputs |= {"cobias": terms.cobias, "reference features": chunk.reference["features"]}
    if terms.difference is not None and chunk.reference is not None and chunk.older is not None:
        inputs |= {"difference": terms.difference, "reference features": chunk.reference["features"]}
        inputs |= {f"reference {name}": chunk.reference[name] for name in _SPREAD}
        inputs |= {f"older {name}": chunk.older[name] for name in _SPREAD}
    return inputs


@lru_cache(maxsize=2)
def _pool(cp: Checkpointer, standing: Ref) -> NDArray[np.bool_]:
    """(N,) who has not been chosen."""
    return ~np.asarray(cp.load(standing)["chosen"], dtype=bool)
