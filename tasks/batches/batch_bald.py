"""Strategy `batch-bald`: the batch whose classes together say most about which member is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from tasks.batches.pointwise import picks
from tasks.batches.pool import (
    ExhaustedStrategy,
    FloatArray,
    IntArray,
    Picks,
    PoolView,
    check_supply,
    needed,
    seeded_argmax,
)
from tasks.batches.probabilities import entropy, member_probabilities, require_classes
from tasks.errors import UserError

NAME = "batch-bald"

#: Gains are entropies of order 1, computed by matrix products whose last bits depend on their shape [nat].
_ROUNDING = 1e-12
#: Numbers of a block of probabilities in float64.
_NUMBERS = 2**21
#: Joint classes of the outputs of one perturbation, at most.
_JOINT = 64


def pick_batch_bald(
    pool: PoolView,
    n: int,
    rng: np.random.Generator,
    *,
    configurations: Annotated[
        int, Field(ge=1, description="Classes of the batch so far that are kept, at most.")
    ] = 4096,
) -> Picks:
    """Take, one after another, the perturbation that adds most to the mutual information of batch and members.

    The classes of what was picked have C^b configurations, each with the members' posterior given it. While there are
    no more of them than `configurations` all are kept and every pick is exact; after that so many are drawn, stratified
    by their probability. Gains can only fall when the batch grows, so a perturbation is looked at again only when its
    old gain could still win. What is pending counts as part of the batch.

    Formula:
        argmax I(y_S∪x ; m) − I(y_S ; m) = E over y_S of H(Σ_m p(m | y_S) p(y | x, m)) − mean over m of H(p(y | x, m))
    Cost:
        O(P M C) once, then O(Q M C min(C^b, configurations)) a pick for the Q looked at again: few while gains differ,
        all of them when the members are nearly told apart; O(P) memory
    Fails:
        Ends when the members are told apart: all picks together gain at most log M nat, so few members make few useful
        picks, and it is exhausted then. With drawn configurations gains are estimates, and the order of near ties is
        chance. Continuous readouts: `max-determinant` is the same rule in closed form.
    Source:
        Kirsch et al. 2019 (BatchBALD), equations 9 and 12. The paper draws configurations from each member anew for
        each pick; here those drawn before are extended

    Raises:
        ExhaustedStrategy: If n > P, or if nothing left tells the members apart.
        UserError: The readout is continuous or has too many joint classes, or the pool view has no members.
    """
    check_supply(pool, n, NAME)
    require_classes(pool, NAME)
    if n == 0:
        return picks(np.empty(0), np.empty(0), ())
    candidates = np.flatnonzero(pool.open)
    known = _Known.nothing(needed(pool.members, "members", NAME).shape[1])
    for row in np.flatnonzero(pool.pending).tolist():
        known = known.add(_joint(pool, np.array([row]))[0], configurations, rng)
    gain = np.full(len(candidates), np.inf)
    rows, score = np.empty(n, dtype=np.int64), np.empty(n)
    for k in range(n):
        place = _best(pool, candidates, gain, known, rng)
        rows[k], score[k] = candidates[place], gain[place]
        if score[k] <= _ROUNDING:
            raise _exhausted(k, n)
        gain[place] = -np.inf
        known = known.add(_joint(pool, candidates[[place]])[0], configurations, rng)
    total = np.cumsum(score)
    return picks(rows, score, tuple(f"adds {s:.3g} nat, {t:.3g} so far" for s, t in zip(score, total, strict=True)))


@dataclass(frozen=True)
class _Known:
    """Configurations of the classes of the batch so far.

    Args:
        probability: (S,) of each, sum 1.
        posterior: (S, M) of the members, given each.
    """

    probability: FloatArray
    posterior: FloatArray

    @classmethod
    def nothing(cls, members: int) -> _Known:
        return cls(np.ones(1), np.full((1, members), 1.0 / members))

    def entropy_of(self, said: FloatArray) -> FloatArray:
        """(k,) expected entropy of one more class [nat], for what the members say of it (k, M, C)."""
        size, members, classes = said.shape
        mixed = self.posterior @ said.transpose(1, 0, 2).reshape(members, size * classes)
        return np.asarray(self.probability @ entropy(mixed.reshape(-1, size, classes)))

    def add(self, said: FloatArray, most: int, rng: np.random.Generator) -> _Known:
        """After a perturbation of which the members say (M, C) was picked; at most `most` configurations, drawn."""
        joint = self.probability[:, None, None] * self.posterior[:, None, :] * said.T[None]
        joint = joint.reshape(-1, said.shape[0])
        probability = joint.sum(axis=1)
        joint, probability = joint[probability > 0], probability[probability > 0]
        posterior = joint / probability[:, None]
        if len(probability) <= most:
            return _Known(probability / probability.sum(), posterior)
        places = (np.arange(most) + rng.random()) / most
        cumulated = np.cumsum(probability) / probability.sum()
        drawn = np.minimum(np.searchsorted(cumulated, places, side="right"), len(cumulated) - 1)
        return _Known(np.full(most, 1.0 / most), posterior[drawn])


def _best(pool: PoolView, candidates: IntArray, gain: FloatArray, known: _Known, rng: np.random.Generator) -> int:
    """Place of the largest gain, ties by `rng`; brings `gain` (P,) up to date where it could be the largest."""
    stale, best = gain.copy(), -np.inf
    looked: list[IntArray] = []
    _, members, classes = _joint(pool, candidates[:1]).shape
    size = max(1, _NUMBERS // ((len(known.probability) + members) * classes))
    while stale.max() > -np.inf and stale.max() >= best - 2 * _ROUNDING:
        part = _largest(stale, size)
        said = _joint(pool, candidates[part])
        gain[part] = known.entropy_of(said) - entropy(said).mean(axis=1)
        stale[part] = -np.inf
        best = max(best, float(gain[part].max()))
        looked.append(part)
    places = np.sort(np.concatenate(looked))
    return int(places[seeded_argmax(np.round(gain[places] / _ROUNDING), rng)])


def _largest(values: FloatArray, count: int) -> IntArray:
    """Places of the largest of `values`, in no order; those at −∞ left out."""
    places = np.argpartition(values, max(0, len(values) - count))[-count:].astype(np.int64)
    return places[values[places] > -np.inf]


def _joint(pool: PoolView, rows: IntArray) -> FloatArray:
    """(k, M, C): what the members say of some rows; of several outputs the joint classes (independent in a member)."""
    said = member_probabilities(needed(pool.members, "members", NAME)[rows], pool.kind)
    joint = said[:, :, 0]
    if joint.shape[-1] ** said.shape[2] > _JOINT:
        raise UserError(
            "too many joint classes",
            where=f"strategy {NAME}",
            got=f"{said.shape[2]} outputs of {joint.shape[-1]} classes",
            expected=f"at most {_JOINT} together",
        )
    for output in range(1, said.shape[2]):
        joint = (joint[..., :, None] * said[:, :, output, None, :]).reshape(*joint.shape[:2], -1)
    return joint


def _exhausted(picked: int, n: int) -> ExhaustedStrategy:
    return ExhaustedStrategy(
        "nothing left tells the members apart",
        where=f"strategy {NAME}, pick {picked + 1}",
        got="no information",
        expected=f"{n} perturbations that add some",
        todo="Give the slot a smaller share, or fit more members.",
    )
