"""Rule `lemma` of inference set design: the least confident picks as the worst case of the rest."""

from __future__ import annotations

import math

from scipy.optimize import brentq

from tasks.campaigns.stopping_settings import StoppingSection
from tasks.errors import UserError
from tasks.stopping.evidence import Look
from tasks.stopping.rule import Found, Rule, bounded, largest

#: The acquisition functions of inference set design. What they pick is what the ensemble is least sure of.
ORDERED = ("least-confidence", "query-by-committee")
CONDITION = "conditional on calibration"
ASSUMPTION = (
    "Conditional on calibration, which nothing here checks: no perturbation left may be less often right than the "
    "least confident ones that were picked, errors must be independent of each other, measurements the truth, and the "
    "model fitted anew on the picks no worse than the one that was asked before. Confidently wrong predictions, plate "
    "effects and noise break it."
)


def kl_lower(mean: float, trials: int, risk: float) -> float:
    """Smallest a ≤ mean with KL(mean‖a) ≤ log(1/risk)/trials, of Bernoulli distributions.

    Two uses (Chernoff's bound, independent trials, also of different probabilities). With an observed mean: exceeds the
    mean probability of the trials with probability at most `risk`. With a mean probability: the observed mean falls
    below it with probability at most `risk`.

    Args:
        mean: Observed share of successes, or mean probability, 0 to 1.
        trials: Number of trials, at least 1.
        risk: Probability of being wrong, 0 ≤ risk ≤ 1. With 0 nothing can be said.

    Raises:
        UserError: On numbers out of these ranges.
    """
    if not (0 <= mean <= 1 and trials >= 1 and 0 <= risk <= 1):
        raise UserError(
            "lemma's bound of impossible numbers",
            got=f"mean {mean}, trials {trials}, risk {risk}",
            expected="0 ≤ mean ≤ 1, trials ≥ 1, 0 ≤ risk ≤ 1",
        )
    if mean == 0 or risk == 0:
        return 0.0
    allowed = -math.log(risk) / trials
    if mean == 1:
        return math.exp(-allowed)

    def excess(a: float) -> float:
        return mean * math.log(mean / a) + (1 - mean) * math.log((1 - mean) / (1 - a)) - allowed

    # KL is at least mean·log(mean/a) + (1 − mean)·log(1 − mean): below this a it is too large.
    low = mean * math.exp(-(allowed - (1 - mean) * math.log(1 - mean)) / mean)
    if low == 0.0 or excess(low) <= 0:
        return low
    return float(min(brentq(excess, low, mean, xtol=1e-15), mean)) if allowed > 0 else mean


def lemma_accuracy(library: int, measured: int, left: int, picks: int, right: int, risk: float) -> float:
    """Lower bound of the system accuracy from the newest picks.

    With half the risk each: α bounds the mean probability of being right over the picks, and hence over what is left;
    β bounds the share of what is left that turns out right. accuracy ≥ (measured + β·left)/library.

    Args:
        library: Perturbations, N.
        measured: Those with a measurement.
        left: Those without one that the picks stand for. The others of the library count as wrong.
        picks: Newest picks; unmeasured ones count as wrong.
        right: Of them predicted rightly before they were measured.
        risk: Probability of being wrong.

    Source: inference set design (Neporozhnii et al., arXiv 2410.19631), section 3.4, equation 4, corrected: the risk
        of a look instead of the whole one (the looks are many), the realised share β instead of the mean probability α,
        and confidence instead of the probability of class 1 as what must be ordered. Its proof has the inequality
        reversed; right is that the least confident are the worst case *if* confidence orders accuracy.
    """
    if picks == 0 or left == 0:
        return measured / library
    alpha = kl_lower(right / picks, picks, risk / 2)
    beta = kl_lower(alpha, left, risk / 2)
    return (measured + math.floor(beta * left)) / library


def find(look: Look, stopping: StoppingSection, risk: float) -> Found:
    """Stop when the bound reaches γ. Where the lemma does not apply, only what is measured is known to be right."""
    audit, picks = look.audit, look.picks
    measured = audit.chosen - audit.pending + audit.measured
    why = not_applicable(look)
    if why or picks is None:
        bound = measured / audit.library
        reason = f"Does not apply: {why}. {percent_measured(bound)}"
        return Found(bound >= stopping.gamma, reason, ASSUMPTION, bound, CONDITION)
    bound = lemma_accuracy(audit.library, measured, audit.open, picks.picks, picks.right, risk)
    said = bounded(bound, stopping.gamma, risk, CONDITION)
    reason = f"{said[0].upper()}{said[1:]}; {picks.right} of the newest {picks.picks} picks were predicted rightly."
    return Found(bound >= stopping.gamma, reason, ASSUMPTION, bound, CONDITION)


def percent_measured(share: float) -> str:
    """What is known without the lemma."""
    return f"Known to be right is what is measured, {math.floor(share * 1000) / 10:.1f}%."


def not_applicable(look: Look) -> str:
    """Why the lemma says nothing at this look, in a clause; empty where it does."""
    picks = look.picks
    if picks is None or picks.picks == 0:
        return "no strategy has picked anything since the model before"
    if len(picks.strategies) != 1 or picks.strategies[0] not in ORDERED:
        return f"it needs picks of {' or '.join(ORDERED)} alone, these are of {', '.join(picks.strategies)}"
    return ""


def would_change(look: Look, stopping: StoppingSection, risk: float) -> str:
    """How many of the picks would have to be right."""
    picks, audit = look.picks, look.audit
    if not_applicable(look) or picks is None:
        return f"A batch whose strategic picks are all of {' or '.join(ORDERED)}."
    measured = audit.chosen - audit.pending + audit.measured

    def falls_short(right: int) -> bool:
        return lemma_accuracy(audit.library, measured, audit.open, picks.picks, right, risk) < stopping.gamma

    most = largest(-1, picks.picks + 1, falls_short)
    now = f"now {picks.right} of {picks.picks}"
    if most == picks.picks:
        return f"Not more right picks ({now}): {picks.picks} are too few, or too much is left. More rounds."
    if picks.right > most:
        nothing = f"No number of right picks: the target is reached whatever it is ({now})."
        return f"{most} right picks or fewer would have denied it ({now})." if most >= 0 else nothing
    return f"{most + 1} right picks would reach the target ({now})."


RULE = Rule(find, would_change, certifies=True)
