"""What a batch holds: slots of strategies, hits, the random arm and the audit, vetoes and repeats."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.campaigns.section import Section, Share


class Slot(Section):
    """A share of the batch for one strategy."""

    strategy: str = Field(description="Name of a strategy.")
    share: Annotated[float, Field(gt=0, le=1)] = Field(description="Share of the strategic wells.")
    options: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="Options of the strategy, as beta of ucb; its defaults for the rest."
    )


class Hits(Section):
    """A share of the batch that looks for hits instead of teaching the model."""

    strategy: Literal["greedy-hits", "ucb"] = Field(
        default="ucb", description="greedy-hits: best predictions. ucb: predictions plus some standard deviations."
    )
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Share of the strategic wells; the slots share the rest."
    )
    options: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="Options of the strategy: tail (high, low, both), output, beta."
    )


class Adaptive(Section):
    """Random picks in place of strategic ones while the training labels speak against the strategy.

    After each round the share s of the slots' wells that goes to random picks moves by one formula, from s = 0:
    s ← min(most, s + step) where labels in the strategy's order teach less than in random order for certain (the 95%
    interval of the difference excludes 0), s ← max(0, s − step) where they teach more for certain, and s stays where it
    cannot be told. They are picks of strategy `random`, and training data like other picks: not the random arm, which
    joins the audit and must not react to results.
    """

    most: Share = Field(
        default=0.5, description="Largest share of the slots' wells that goes to random picks; 0: it never reacts."
    )
    step: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.25, description="By how much the share moves after a round."
    )
    repeats: Annotated[int, Field(ge=2, le=20)] = Field(
        default=6,
        description="Repeats of the replay inside the training labels. Labels drawn at random are dealt into as many "
        "parts, each the test of one repeat: with more the interval is narrower, at their cost.",
    )


class BatchSection(Section):
    """What a round measures."""

    slots: tuple[Slot, ...] = Field(
        default=(Slot(strategy="eigenspace-clusters", share=1.0),),
        min_length=1,
        description="Strategies and their shares (sum 1). By default eigenspace-clusters, for a binary readout "
        "least-confidence.",
    )
    operator: Literal["members", "reducible", "calibrated", "gradients", "difference"] = Field(
        default="gradients",
        description="Operator whose eigenspace strategies see. members: Σ_F. reducible: Σ_F + Δ. calibrated: the same "
        "with its diagonal set to the error that honest residuals show. gradients: that diagonal, and which errors go "
        "together from the gradients by the networks' weights. difference: the last drop of the reducible "
        "error; from round 2 on, before it the reducible one.",
    )
    random_arm: Share = Field(
        default=0.1,
        description="Share of every batch drawn uniformly: tops up the audit and is the control for active selection.",
    )
    audit: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.08, description="Share of the library drawn uniformly as audit set when the campaign opens."
    )
    hits: Hits | None = Field(default=None, description="Wells that look for hits. None: all wells are for the model.")
    adaptive: Adaptive = Field(
        default_factory=Adaptive,
        description="Random picks while the labels speak against the strategy. Not with stopping rule lemma, whose "
        "batches are of one strategy.",
    )
    veto: str | None = Field(
        default=None,
        description="Annotation of the library: true for perturbations that no batch may hold (out of stock, toxic). "
        "The certificate counts those that were not measured as wrong.",
    )
    abandoned: Literal["choose", "repeat"] = Field(
        default="choose",
        description="Perturbations all of whose plates were abandoned. choose: they may be chosen again. repeat: the "
        "next batch measures them first, and they keep their place.",
    )

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        total = math.fsum(slot.share for slot in self.slots)
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"the shares of the slots must sum to 1, not {total:g}")
        return self

    @model_validator(mode="after")
    def _strategies_differ(self) -> Self:
        names = [slot.strategy for slot in self.slots]
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise ValueError(f"strategy {double} stands in two slots: add their shares up")
        return self
