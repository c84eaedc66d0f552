"""The pieces of work that Ω is made of: plain functions that load their inputs from storage themselves.

Ω over the library is never in one place. Estimates (cobias, calibration, difference) are small and come first; each
chunk of the library gives its part of the Gram matrices; their sum gives the modes; each chunk its coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import CheckpointStore
from tasks.errors import NumericalError
from tasks.operators.calibrated import Error, ErrorModel, rescale
from tasks.operators.cobias import root_factor
from tasks.operators.difference import difference_factor, weighted_by_remaining
from tasks.operators.eigenmodes import Eigenmodes, gram_matrix, modes_of_gram
from tasks.operators.epistemic import epistemic_factor, member_stability
from tasks.operators.factors import Factor, Float64, hstack
from tasks.operators.measurement import measurement_noise
from tasks.readouts.noise import NoiseModel
from tasks.threads import one_blas_thread

Bools = npt.NDArray[np.bool_]
Said = Mapping[str, Ref]  # outputs of a prediction of one chunk
Name = Literal["members", "reducible", "calibrated", "gradients", "difference"]

_MISSING = {
    "calibrated": "there are too few out-of-fold residuals to calibrate with",
    "gradients": "the model has no gradients by its weights, or too few out-of-fold residuals to calibrate with",
    "difference": "the difference takes the ensembles of two earlier rounds and labels that neither has seen",
}


@dataclass(frozen=True)
class Terms:
    """The estimates that Ω is made of, as references to tensors; None where one does not exist in this round.

    Attributes:
        noise: Noise of the readout (JSON).
        calibration: Of ê, in the features of this round's ensemble; without a model where residuals are too few.
        cobias: `root` of Δ, in the features of the reference ensemble.
        difference: `root` and `signs` of the change of Δ, in the features of the reference ensemble.
    """

    noise: Ref
    calibration: Ref
    cobias: Ref | None = None
    difference: Ref | None = None


@dataclass(frozen=True)
class Chunk:
    """What Ω reads of one chunk of the library: predictions of this round's ensemble and of the two before it."""

    now: Said
    reference: Said | None = None
    older: Said | None = None


@dataclass(frozen=True)
class Plan:
    """How measurements are made, and whether the difference weighs drops by what remains."""

    kind: Literal["continuous", "binary"]
    replicates: int
    remaining: bool


@one_blas_thread()
def measure_chunk(store: CheckpointStore, chunk: Chunk, terms: Terms, plan: Plan, pool: Bools) -> dict[str, Payload]:
    """What a chunk of n perturbations gives to Ω.

    Args:
        store: Where everything lies.
        chunk: Predictions.
        terms: Estimates.
        plan: Settings.
        pool: (n,) who was never chosen: Gram matrices are over them.

    Returns:
        `grams`: of each operator `<name>` (r, r) and `<name> signs` (r,), and `layout`: members M, their columns, and
        all columns of Σ_F, which come first in the reducible one. `variance` (n, 2 or 3): diagonals of Σ_F and Δ, and ê
        where there is a calibration. `noise` (n,): variance of a new measurement.
    """
    members = store.load(chunk.now["members"])
    sigma_f = epistemic_factor(members, store.load(chunk.now["within"]))
    delta = _cobias(store, chunk, terms, len(sigma_f))
    noise = measurement_noise(
        NoiseModel.model_validate(store.load(terms.noise)),
        members.mean(axis=1, dtype=np.float64),
        plan.replicates,
        plan.kind,
    )
    columns = [sigma_f.diagonal(), delta.diagonal()]
    error, label_noise = _grown(_At(terms.calibration, store))
    if error is not None:
        # Noise of a class that is measured is no noise of its probability: there the labels' own mean counts.
        known = noise if plan.kind == "continuous" else np.full(len(noise), label_noise)
        columns.append(error(store.load(chunk.now["features"]), known))
    variance = np.stack(columns, axis=1)
    layout = [members.shape[1], int(np.prod(members.shape[1:])), sigma_f.rank]
    grams: dict[str, npt.NDArray[Any]] = {"layout": np.array(layout)}
    reducible = hstack([sigma_f, delta])
    gradients = error is not None and _gradients(store, chunk).shape[1] > 0
    for name in _named(error is not None, gradients, _has_difference(store, terms)):
        factor = _seen(store, name, reducible, chunk, terms, plan, variance)
        grams |= {name: gram_matrix(factor, pool), f"{name} signs": factor.signs}
    return {
        "grams": Payload("tensors", grams),
        "variance": Payload("array", variance),
        "noise": Payload("array", noise),
    }


@one_blas_thread()
def find_modes(store: CheckpointStore, grams: Sequence[Ref], asked: Name) -> dict[str, Payload]:
    """Eigenmodes of all operators over the pool, from the Gram matrices of the chunks, summed in their order.

    Returns:
        `eigenvalues` (k,): the positive ones of the operator that strategies see. `rotation` (r, k): its factor's rows
        times this are the coordinates. `chosen`: which operator that is, and why where it is not the one `asked` for.
        `spectra`: positive eigenvalues of all. `members`: rank of Σ_F, and agreement of two halves of its members.
    """
    total = dict(store.load(grams[0]))
    for ref in grams[1:]:
        part = store.load(ref)
        total |= {name: total[name] + part[name] for name in _operators(total)}
    count, between, epistemic = (int(number) for number in total["layout"])
    whole = total["reducible"]
    modes = {name: modes_of_gram(total[name], total[f"{name} signs"]) for name in _operators(total)}
    modes |= {
        "members": modes_of_gram(whole[:epistemic, :epistemic], np.ones(epistemic)),
        "cobias": modes_of_gram(whole[epistemic:, epistemic:], np.ones(len(whole) - epistemic)),
    }
    instead = "calibrated" if asked == "gradients" and "calibrated" in modes else "reducible"
    used, why = (asked, "") if asked in modes else (instead, _MISSING[asked])
    eigenvalues = _positive(modes[used])
    rotation = modes[used].rotation[:, : len(eigenvalues)] * np.sqrt(eigenvalues)
    stability = member_stability(whole[:between, :between], count)
    return {
        "eigenvalues": Payload("array", eigenvalues),
        "rotation": Payload("array", rotation),
        "chosen": Payload("json", {"asked": asked, "operator": used, "why": why}),
        "spectra": Payload("json", {name: _positive(found).tolist() for name, found in sorted(modes.items())}),
        "members": Payload("json", {"rank": modes["members"].positive, "stability": asdict(stability)}),
    }


@one_blas_thread()
def place_chunk(
    store: CheckpointStore, chunk: Chunk, terms: Terms, plan: Plan, variance: Ref, modes: tuple[Ref, Ref]
) -> dict[str, Payload]:
    """Where a chunk's perturbations lie in the eigenspace of the chosen operator.

    Args:
        store: Where everything lies.
        chunk: Predictions.
        terms: Estimates.
        plan: Settings.
        variance: Of the chunk, from `measure_chunk`.
        modes: `rotation` and `chosen` of `find_modes`.

    Returns:
        `coordinates` (n, k) float32, Z = U₊Λ₊^½; `diagonal` (n,) of the operator.
    """
    rotation, name = store.load(modes[0]), store.load(modes[1])["operator"]
    error = store.load(variance)
    if name == "gradients":
        factor = _along_gradients(store, chunk, error)
    else:
        sigma_f = epistemic_factor(store.load(chunk.now["members"]), store.load(chunk.now["within"]))
        delta = [] if name == "members" else [_cobias(store, chunk, terms, len(sigma_f))]
        factor = _seen(store, name, hstack([sigma_f, *delta]), chunk, terms, plan, error)
    return {
        "coordinates": Payload("array", factor.expand(rotation).astype(np.float32)),
        "diagonal": Payload("array", factor.diagonal()),
    }


def _seen(
    store: CheckpointStore, name: str, reducible: Factor, chunk: Chunk, terms: Terms, plan: Plan, variance: Float64
) -> Factor:
    """An operator's rows of the chunk, from those of the reducible one."""
    if name == "difference":
        return _difference(store, chunk, terms, plan, variance)
    if name == "gradients":
        return _along_gradients(store, chunk, variance)
    return rescale(reducible, variance[:, 2]) if name == "calibrated" else reducible


def _difference(store: CheckpointStore, chunk: Chunk, terms: Terms, plan: Plan, variance: Float64) -> Factor:
    if terms.difference is None or chunk.reference is None or chunk.older is None:
        raise NumericalError("a difference without the ensembles of two earlier rounds")
    change = store.load(terms.difference)
    before, after = (
        epistemic_factor(store.load(said["members"]), store.load(said["within"]))
        for said in (chunk.older, chunk.reference)
    )
    features = store.load(chunk.reference["features"]).astype(np.float64)
    whole = difference_factor(before, after, root_factor(features, change["root"], change["signs"]))
    if not plan.remaining:
        return whole
    left = variance[:, 2] if variance.shape[1] > 2 else variance.sum(axis=1)
    return weighted_by_remaining(whole, left, float(change["remaining"][0]))


def _cobias(store: CheckpointStore, chunk: Chunk, terms: Terms, n: int) -> Factor:
    """Δ over the chunk; without a column where there are no forward residuals yet."""
    if terms.cobias is None or chunk.reference is None:
        return Factor(np.zeros((n, 0), dtype=np.float32))
    return root_factor(store.load(chunk.reference["features"]), store.load(terms.cobias)["root"])


@dataclass(frozen=True)
class _At:
    """What is stored somewhere. A reference says its content, so where it is read from is no part of what it equals."""

    ref: Ref
    store: CheckpointStore = field(compare=False)


@lru_cache(maxsize=2)
def _grown(calibration: _At) -> tuple[Error | None, float]:
    """What evaluates ê, and the mean noise of the labels it was learnt from. Chunks in one process share it."""
    tensors = calibration.store.load(calibration.ref)
    noise = float(tensors["noise"][0])
    return (ErrorModel.from_tensors(tensors).grow() if "numbers" in tensors else None), noise


def _has_difference(store: CheckpointStore, terms: Terms) -> bool:
    """Whether there were labels to estimate one from."""
    return terms.difference is not None and "remaining" in store.load(terms.difference)


def _along_gradients(store: CheckpointStore, chunk: Chunk, variance: Float64) -> Factor:
    """ê as the diagonal, and what the gradients by the weights say of which errors go together."""
    return rescale(Factor(_gradients(store, chunk)), variance[:, 2])


def _gradients(store: CheckpointStore, chunk: Chunk) -> npt.NDArray[np.float32]:
    """(n, g) sketched gradients; g = 0 where the model has none."""
    found: npt.NDArray[np.float32] = store.load(chunk.now["gradients"])
    return found


def _named(calibrated: bool, gradients: bool, difference: bool) -> list[str]:
    """Operators that there are, but for the blocks of the reducible one."""
    there = {"reducible": True, "calibrated": calibrated, "gradients": gradients, "difference": difference}
    return [name for name, is_there in there.items() if is_there]


def _operators(grams: Mapping[str, Any]) -> list[str]:
    return [name for name in ("reducible", "calibrated", "gradients", "difference") if name in grams]


def _positive(modes: Eigenmodes) -> Float64:
    return modes.values[: modes.positive]
