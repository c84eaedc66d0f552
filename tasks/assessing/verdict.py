"""Evidence into findings and a verdict: active, random, or fix the assay first."""

from __future__ import annotations

from tasks.assessing.findings import Advice, Finding
from tasks.assessing.informativeness import Spread
from tasks.assessing.pool import PoolFacts
from tasks.assessing.replay_evidence import Evidence
from tasks.ensembles.estimates import Estimate

LEAST_CEILING = 0.1
"""Where even a model that knows the noise-free readout could not reach this R², a plate more buys hardly anything."""
EVEN = 0.15
"""Share of the error in its largest tenth below which informativeness is as good as even (0.1 is exactly even)."""
AGREE = 0.1
"""Rank correlation with the squared error that the lower end must pass for uncertainty to tell where errors are."""
COVERED = (0.85, 0.95)
"""Coverage of 90% intervals that is as promised for what a campaign does with them."""
MANY_OUTLIERS = 0.05
"""Share of outliers (0.001 of Gaussian points) from which on strategies of distance and variance chase them."""
MANY_DUPLICATES = 0.1
"""Share of near-duplicates from which on a batch chosen one by one would measure the same thing several times."""


def findings_of(
    evidence: Evidence | None,
    missing: str,
    ceiling: Estimate,
    spread: Spread | None,
    pool: PoolFacts,
    strategy: str,
    classes: bool,
) -> tuple[Finding, ...]:
    """Every piece of evidence in words, what decides first. `missing`: why there is no evidence of a replay."""
    found = [signal_finding(evidence, missing), ceiling_finding(ceiling, evidence)]
    found += [replay_finding(evidence, missing, strategy, classes), agreement_finding(evidence, missing)]
    found += [uncertainty_finding(evidence, missing)]
    found += [] if spread is None else [spread_finding(spread)]
    return (*found, pool_finding(pool))


def judge(findings: tuple[Finding, ...]) -> tuple[Advice, str]:
    """The verdict and its reason.

    The assay comes first: without signal, or where noise leaves nothing to predict, no order of measuring helps. Then
    the replay decides where its interval excludes 0. Where it does not, active selection takes two weaker signs that
    agree: the replay's mean in its favour, and uncertainty that tells where errors are. Else random order: it costs
    nothing, and its labels say more of the library.
    """
    by_name = {finding.name: finding for finding in findings}
    for name in ("noise ceiling", "signal"):
        if by_name[name].speaks_for == "fix the assay first":
            return "fix the assay first", by_name[name].sentence
    if by_name["signal"].speaks_for == "random":
        return "random", by_name["signal"].sentence
    replay, agreement = by_name["replay"], by_name["agreement"]
    if replay.speaks_for == "active" or replay.speaks_for == "random":
        return replay.speaks_for, replay.sentence
    mean = replay.figures["difference"].value if "difference" in replay.figures else None
    if mean is not None and mean < 0 and agreement.speaks_for == "active":
        return "active", f"{replay.sentence} {agreement.sentence}"
    return "random", f"{replay.sentence} Without evidence for the strategy random order is the safe choice."


def signal_finding(evidence: Evidence | None, missing: str) -> Finding:
    """Whether the model is better than the mean."""
    if evidence is None:
        return Finding(name="signal", sentence=missing)
    signal = evidence.signal
    said = f"R² {_told(signal)} on labels that the model had not seen, from {_labels(evidence)}"
    if signal.low is None:
        return Finding(name="signal", sentence=f"{said}: {signal.why}.", figures={"signal": signal})
    if signal.low > 0:
        return Finding(name="signal", sentence=f"The model beats the mean: {said}.", figures={"signal": signal})
    why = f"The model is not shown to beat the mean: {said}. The features tell little of it, or it is mostly noise."
    return Finding(name="signal", speaks_for="fix the assay first", sentence=why, figures={"signal": signal})


def ceiling_finding(ceiling: Estimate, evidence: Evidence | None) -> Finding:
    """What could be reached at all, and how much of it is."""
    name, figures = "noise ceiling", {"ceiling": ceiling}
    if ceiling.value is None:
        return Finding(name=name, sentence=f"Not known: {ceiling.why}.", figures=figures)
    said = f"Noise lets no model pass R² {_told(ceiling)} on measurements"
    highest = ceiling.value if ceiling.high is None else ceiling.high
    if highest < LEAST_CEILING:
        todo = f"{said}: better measure with more replicates, or change the assay."
        return Finding(name=name, speaks_for="fix the assay first", sentence=todo, figures=figures)
    reached = evidence.signal.value if evidence else None
    if reached is not None and ceiling.value > 0:
        said += f"; the model reaches {max(0.0, reached / ceiling.value):.0%} of it"
    return Finding(name=name, sentence=f"{said}.", figures=figures)


def replay_finding(evidence: Evidence | None, missing: str, strategy: str, classes: bool) -> Finding:
    """Which order wins among the observed labels."""
    if evidence is None:
        return Finding(name="replay", sentence=missing)
    difference = evidence.difference
    if difference.value is None:
        return Finding(name="replay", sentence=f"Nothing to compare with random order: {difference.why}.")
    measure = "error rate" if classes else "log RMSE"
    said = (
        f"{measure} of the hybrid screen {_signed(difference)} against random order over {len(evidence.pairs)} splits, "
        f"of the model alone {_signed(evidence.model)}"
    )
    figures = {"difference": difference, "of the model alone": evidence.model}
    if difference.high is not None and difference.high < 0:
        sentence = f"{strategy} wins among the labels at hand: {said}."
        return Finding(name="replay", speaks_for="active", sentence=sentence, figures=figures)
    if difference.low is not None and difference.low > 0:
        sentence = f"{strategy} loses among the labels at hand: {said}."
        return Finding(name="replay", speaks_for="random", sentence=sentence, figures=figures)
    return Finding(name="replay", sentence=f"{strategy} neither wins nor loses for certain: {said}.", figures=figures)


def agreement_finding(evidence: Evidence | None, missing: str) -> Finding:
    """Whether what strategies take for the error goes with the error."""
    if evidence is None:
        return Finding(name="agreement", sentence=missing)
    found, figures = evidence.agreement, {"rank correlation": evidence.agreement}
    if found.low is None:
        return Finding(name="agreement", sentence=f"Not known: {found.why}.", figures=figures)
    said = f"rank correlation of the expected with the squared error {_told(found)}"
    if found.low > AGREE:
        return Finding(
            name="agreement",
            speaks_for="active",
            sentence=f"What strategies go by tells where errors are: {said}.",
            figures=figures,
        )
    return Finding(
        name="agreement",
        speaks_for="random" if found.high is not None and found.high < AGREE else "",
        sentence=f"What strategies go by hardly tells where errors are: {said}.",
        figures=figures,
    )


def uncertainty_finding(evidence: Evidence | None, missing: str) -> Finding:
    """Whether intervals hold what they promise."""
    if evidence is None:
        return Finding(name="uncertainty", sentence=missing)
    coverage, figures = evidence.coverage, {"coverage": evidence.coverage, "rank correlation": evidence.uncertainty}
    if coverage.value is None:
        return Finding(name="uncertainty", sentence=f"Not judged: {coverage.why}.", figures=figures)
    off = (coverage.high or 0.0) < COVERED[0] or (coverage.low or 1.0) > COVERED[1]
    kept = "Intervals are off" if off else "Intervals hold what they promise"
    said = f"{kept}: 90% ones held {_told(coverage, percent=True)} of the measurements"
    return Finding(name="uncertainty", sentence=f"{said}.", figures=figures)


def spread_finding(spread: Spread) -> Finding:
    """How uneven the expected error is; to know, as not every strategy goes by it."""
    even = spread.top_tenth < EVEN
    kept = "The operator's expected error is " + ("nearly even" if even else "uneven")
    figures = {name: Estimate(getattr(spread, name)) for name in ("gini", "top_tenth", "effective_rank")}
    return Finding(
        name="spread",
        sentence=f"{kept}: its largest tenth holds {spread.top_tenth:.0%} (Gini {spread.gini:.2f}), "
        f"over about {spread.effective_rank:.0f} of {spread.modes} directions.",
        figures=figures,
    )


def pool_finding(pool: PoolFacts) -> Finding:
    """Outliers and near-duplicates of the library."""
    warned = []
    if pool.outliers > MANY_OUTLIERS:
        warned.append("strategies that go by distance or variance will take outliers first")
    if pool.duplicates > MANY_DUPLICATES:
        warned.append("strategies that are not batch-aware will measure the same thing twice")
    of = "" if pool.sampled == pool.size else f" of a sample of {pool.sampled:,}"
    said = f"{pool.outliers:.1%}{of} are outliers of the features, {pool.duplicates:.1%} have a near-duplicate"
    figures = {"outliers": Estimate(pool.outliers), "duplicates": Estimate(pool.duplicates)}
    tail = f": {' and '.join(warned)}" if warned else ""
    return Finding(name="library", sentence=f"{said} (asked of {pool.asked:,}){tail}.", figures=figures)


def _labels(evidence: Evidence) -> str:
    return f"{evidence.labels:,} labels"


def _told(estimate: Estimate, percent: bool = False) -> str:
    numbers = [f"{number:.1%}" if percent else f"{number:.3f}" for number in (estimate.value or 0.0,)]
    if estimate.low is not None and estimate.high is not None:
        ends = [f"{end:.1%}" if percent else f"{end:.3f}" for end in (estimate.low, estimate.high)]
        return f"{numbers[0]} [{ends[0]}, {ends[1]}]".replace("-", "−")
    return numbers[0].replace("-", "−")


def _signed(estimate: Estimate) -> str:
    said = [f"{number:+.3f}" for number in (estimate.value, estimate.low, estimate.high) if number is not None]
    return (f"{said[0]} [{said[1]}, {said[2]}]" if len(said) == 3 else said[0]).replace("-", "−")
