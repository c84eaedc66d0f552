"""Quality of plates: metrics with value, interval, threshold, verdict and reason.

`assess_plate` judges one plate by itself. What no plate can tell about itself is judged over plates together:
`judge_directions`, `judge_gaps`, `judge_replicates`.
"""

from tasks.readouts.quality.across import judge_directions, judge_gaps
from tasks.readouts.quality.plate import assess_plate
from tasks.readouts.quality.replicates import judge_replicates
from tasks.readouts.quality.verdicts import Direction, Metric, PlateQuality, Verdict

__all__ = [
    "ACROSS_PLATES",
    "Direction",
    "Metric",
    "PlateQuality",
    "Verdict",
    "assess_plate",
    "judge_directions",
    "judge_gaps",
    "judge_replicates",
]

#: Fields of the section `quality` that the judgement of a single plate does not read.
ACROSS_PLATES = frozenset({"min_passed", "poscon_reads", "min_gap_share", "min_replicate_correlation"})
