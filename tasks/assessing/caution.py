"""How much of the next batch is drawn at random because of the evidence: one formula."""

from __future__ import annotations

from tasks.campaigns.batch_settings import Adaptive
from tasks.ensembles.estimates import Estimate

#: What a batch says of such picks. Without numbers: another figure with the same share is the same batch.
REASON = "in place of the strategy, against which the training labels speak"


def random_share(difference: Estimate, before: float, adaptive: Adaptive, only_one: str = "") -> tuple[float, str]:
    """Share of the slots' wells for random picks, and a sentence on it.

    s ← clip(s + step·d, 0, most), d = +1 where the interval of the difference (strategy less random order) lies above
    0, −1 where it lies below, else 0.

    Args:
        difference: Of the replay inside the observed labels.
        before: s after the round before; 0 at first.
        adaptive: Bounds and step.
        only_one: Why batches must be of one strategy, if they must.
    """
    if only_one or adaptive.most == 0:
        return 0.0, f"It does not react to this: {only_one or 'batch.adaptive.most is 0'}."
    before = min(before, adaptive.most)
    if difference.low is not None and difference.low > 0:
        share, why = min(adaptive.most, before + adaptive.step), "the strategy loses against random order"
    elif difference.high is not None and difference.high < 0:
        share, why = max(0.0, before - adaptive.step), "the strategy wins against random order"
    else:
        share, why = before, "which order is better cannot be told"
    share = round(share, 6)
    moved = "stays at" if share == round(before, 6) else "goes to"
    return share, f"The share of random picks in the slots {moved} {share:.0%} (at most {adaptive.most:.0%}): {why}."
