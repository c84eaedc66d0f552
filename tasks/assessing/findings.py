"""What an assessment says: pieces of evidence, each with its numbers and a sentence, and the verdict."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.ensembles.estimates import Estimate

Advice = Literal["active", "random", "fix the assay first"]
#: What a piece of evidence speaks for; "" where it is only to know, or cannot tell.
Speaks = Literal["active", "random", "fix the assay first", ""]


class Frozen(BaseModel):
    """Base of what is kept as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(Frozen):
    """One piece of evidence.

    Attributes:
        name: Of the evidence.
        speaks_for: What it speaks for.
        sentence: What was found, with the number in it; or why nothing could be.
        figures: The numbers by name; intervals are 95%.
    """

    name: str
    speaks_for: Speaks = ""
    sentence: str
    figures: dict[str, Estimate] = {}


class Pair(Frozen):
    """One repeat of the replay inside the observed labels: errors of both orders on labels that neither had seen.

    Errors are root mean squares [readout unit], of classes the share wrong. In a hybrid screen what an order would
    measure has no error.

    Attributes:
        repeat: Number of the repeat.
        labels: Labels that each of the two models learnt.
        tested: Labels that they were tested on.
        start: Error of the model that the strategy chose with.
        active: Error of the hybrid screen after the strategy's batch.
        random: The same after as many at random.
        model_active: Error of the model alone after the strategy's batch.
        model_random: The same after as many at random.
        difference: log(active / random), at most a factor of ten; of classes active − random. Below 0 the strategy is
            better.
        model_difference: The same of the model alone.
    """

    repeat: int
    labels: int
    tested: int
    start: float
    active: float
    random: float
    model_active: float
    model_random: float
    difference: float
    model_difference: float


class Assessment(Frozen):
    """Whether active selection is worth it.

    Attributes:
        schema_version: Of this record.
        source: What it rests on.
        round: The round, None before a campaign.
        strategy: What is compared with random order.
        measure: What `difference` of a pair is of.
        labels: Labels that it rests on.
        library: Perturbations of the library.
        verdict: What is advised.
        why: One sentence.
        difference: Mean over the pairs, of the hybrid screen's error, with its interval.
        findings: The evidence in reading order.
        pairs: The replay inside the observed labels.
        random_share: Share of the strategic wells for the model that the next batch draws at random for this.
        random_why: What moved that share, or kept it.
    """

    schema_version: Literal[1] = 1
    source: Literal["campaign", "past screen"]
    round: int | None = None
    strategy: str
    measure: Literal["log RMSE", "error rate"]
    labels: int
    library: int
    verdict: Advice
    why: str
    difference: Estimate
    findings: tuple[Finding, ...]
    pairs: tuple[Pair, ...] = ()
    random_share: float = 0.0
    random_why: str = ""
