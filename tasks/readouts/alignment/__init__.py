"""Plates of a run onto one scale.

Chosen perturbations are no random sample of the library, so the methods of `ALIGNMENTS` look at control wells only: a
plate median over samples would drift with the selection. Anchors, where asked for, look at samples in two ways that
selection cannot reach. The methods of `SAMPLE_BASED` do what others do, for one-off screens, and carry a warning.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.campaigns.config import AlignmentSection, PlatesSection
from tasks.errors import UserError
from tasks.readouts.alignment.fitting import extend, fit_first
from tasks.readouts.alignment.model import AlignmentFit, PlateFit
from tasks.readouts.alignment.negcon import fit_negcon
from tasks.readouts.alignment.request import Method, ask
from tasks.readouts.alignment.samples import SampleMethod, fit_b_score, fit_plate_median, fit_to_samples
from tasks.readouts.alignment.two_point import fit_two_point
from tasks.readouts.two_way import plate_keys

__all__ = [
    "ALIGNMENTS",
    "SAMPLE_BASED",
    "SAMPLE_WARNING",
    "AlignmentFit",
    "PlateFit",
    "alignment_warning",
    "apply_alignment",
    "fit_alignment",
]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

#: Name in the configuration -> method fitted on controls. A new alignment is one file and one line here.
ALIGNMENTS: dict[str, Method] = {"negcon": fit_negcon, "two-point": fit_two_point}
_SAMPLE_METHODS: dict[str, SampleMethod] = {"plate-median": fit_plate_median, "b-score": fit_b_score}
#: Methods fitted on the samples.
SAMPLE_BASED = frozenset(_SAMPLE_METHODS)
SAMPLE_WARNING = "uses the samples: drifts when perturbations are chosen; for one-off screens only"


def alignment_warning(method: str) -> str | None:
    """What a user has to know before trusting a method; None: nothing."""
    return f"alignment {method} {SAMPLE_WARNING}" if method in SAMPLE_BASED else None


def fit_alignment(
    wells: pd.DataFrame,
    alignment: AlignmentSection,
    plates: PlatesSection,
    *,
    known: AlignmentFit | None = None,
    exclude: frozenset[str] = frozenset(),
) -> AlignmentFit:
    """Fit offset and scale of every plate of one run.

    Args:
        wells: Table of wells of all passed plates of one run. Samples are looked at only for anchors, and by the
            methods of `SAMPLE_BASED`. A column `round` parts the sample medians that are compared.
        alignment: Method, anchors, shrinkage, smallest number of controls, what to do with fewer.
        plates: Nominal values of the controls.
        known: A stored fit of the same run, made before its later plates came. Its plates stay as they are, bit by bit,
            whether or not `wells` still holds them; later plates are fitted with the settings it left behind. Anchors
            tie later plates to those earlier ones whose wells are there.
        exclude: Perturbations that nothing may look at (hidden members of the audit).

    Returns:
        One fit per plate attempt. The error variance of a plate's offset, shared by every well of the plate, is
        `offset_variance` + `run_offset_variance`; the second is common to all plates of the run.

    Raises:
        UserError: No plate or several runs, unknown method, too few controls, MAD = 0, noise that nothing tells, a
            known fit of another run or method; names the plate and the way out.
    """
    run = _run_of(wells, alignment, known)
    if alignment.method in SAMPLE_BASED:
        return fit_to_samples(_SAMPLE_METHODS[alignment.method], wells, alignment.method, run, known, exclude)
    asked = ask(ALIGNMENTS[alignment.method], wells, alignment, plates, known, exclude)
    if known is None:
        return fit_first(asked, alignment.method, run)
    return extend(asked, known) if asked.plates else known


def _run_of(wells: pd.DataFrame, alignment: AlignmentSection, known: AlignmentFit | None) -> str:
    """The one run of the wells; method and known fit have to go with it."""
    runs = sorted({str(run) for run in wells["run"]})
    if len(runs) != 1:
        raise UserError("an alignment is fitted to the plates of one run", got=f"runs {runs}", expected="one run")
    names = sorted([*ALIGNMENTS, *SAMPLE_BASED])
    if alignment.method not in names:
        raise UserError(
            "unknown alignment", where="alignment.method", got=alignment.method, expected=" or ".join(names)
        )
    if known is not None and (known.run, known.method) != (runs[0], alignment.method):
        raise UserError(
            "the known alignment is of another run or method",
            got=f"run {known.run}, {known.method}",
            expected=f"run {runs[0]}, {alignment.method}",
        )
    return runs[0]


def apply_alignment(wells: pd.DataFrame, fit: AlignmentFit) -> pd.DataFrame:
    """Bring wells onto the common scale.

    Args:
        wells: Table of wells; every plate attempt in it must have been fitted.
        fit: The stored alignment.

    Returns:
        The same rows with the column `aligned`, (value − offset − row and column effect)/scale [readout unit]; NaN
        where the value is missing.

    Raises:
        UserError: A plate attempt is not part of the fit.
    """
    place = {plate.key: index for index, plate in enumerate(fit.plates)}
    keys = plate_keys(wells)
    unknown = sorted(set(keys) - set(place))
    if unknown:
        raise UserError(
            "plate without an alignment",
            where=f"run {fit.run}",
            got=", ".join(unknown),
            expected="only plates that the alignment was fitted on",
        )
    of = np.asarray(keys.map(place), dtype=np.int64)
    offset = np.array([plate.offset for plate in fit.plates])[of]
    scale = np.array([plate.scale for plate in fit.plates])[of]
    rows = _effects([plate.row_effects for plate in fit.plates], of, wells["row"])
    columns = _effects([plate.column_effects for plate in fit.plates], of, wells["column"])
    return wells.assign(aligned=(wells["value"].to_numpy(dtype=np.float64) - offset - (rows + columns)) / scale)


def _effects(effects: list[tuple[float, ...]], of: Index, line: pd.Series[int]) -> Array:
    """Effect of each well's row or column; lines without samples have none. (N,), (N,) -> (N,)."""
    table = np.zeros((len(effects), 1 + max([*line, *(len(values) for values in effects)], default=0)))
    for index, values in enumerate(effects):
        table[index, : len(values)] = values
    return np.asarray(table[of, np.asarray(line, dtype=np.int64)])
