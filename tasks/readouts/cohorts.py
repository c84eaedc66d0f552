"""Which plates of a run are aligned together: those that arrived together.

A plate that comes later must not change what earlier plates said. So every run has a first cohort, which is fitted from
its plates alone, and each later cohort meets the fit that the first one left behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.checkpoints.refs import Ref


@dataclass(frozen=True)
class Cohort:
    """Plates of one run that are aligned in one step.

    Attributes:
        run: The run.
        wells: Wells by plate key: the new plates, and where earlier ones may help, theirs too.
        new: Keys of the plates that are aligned in this step.
        rounds: Round by barcode.
        known: The stored fit that these plates meet, None for the first.
    """

    run: str
    wells: Mapping[str, Ref]
    new: frozenset[str]
    rounds: Mapping[str, int]
    known: Mapping[str, Ref] | None = None


def split_cohorts(now: Mapping[str, str], before: Sequence[Mapping[str, str]]) -> list[frozenset[str]]:
    """Part the plates of a run into cohorts.

    Args:
        now: Digest of the wells by plate key, of the plates that are used now.
        before: The same of each cohort that the newest run of the campaign aligned, in order.

    Returns:
        Plate keys of each cohort: the earlier cohorts as they were, then one of all plates that are new. If a plate of
        an earlier cohort changed or is used no more, that cohort and all after it are aligned anew, as one.
    """
    kept: list[frozenset[str]] = []
    aligned: frozenset[str] = frozenset()
    for cohort in before:
        # A record of an older run may name plates that have been aligned anew with an earlier cohort since.
        if not cohort or aligned & cohort.keys() or any(now.get(key) != digest for key, digest in cohort.items()):
            break
        kept.append(frozenset(cohort))
        aligned |= cohort.keys()
    rest = frozenset(now) - aligned
    return [*kept, rest] if rest else kept
