"""The tables that come of a scored screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from tasks.readouts.ingest import PlateReadout, Rejection, feature_columns
from tasks.readouts.layouts import ScreenLayout, excluded
from tasks.readouts.quality import PlateQuality

LABEL_COLUMNS = ["perturbation", "value", "n", "variance", "plates"]
_WELL = ["barcode", "attempt", "well"]


def well_table(wells: pd.DataFrame, aligned: pd.DataFrame, exclusions: pd.DataFrame) -> pd.DataFrame:
    """Wells with what they read after alignment, and why a value was excluded.

    Args:
        wells: Table of wells of all plates.
        aligned: Table of wells of those that are used, with `aligned` and, where there are any, aligned features.
        exclusions: The layout's exclusion log.

    Returns:
        The wells with `aligned`, an `aligned_…` for each feature, and `excluded`.
    """
    names = {name: f"aligned_{name}" for name in feature_columns(wells)}
    found = aligned[[*_WELL, "aligned", *names]].rename(columns=names)
    found = wells.merge(found, on=_WELL, how="left", validate="one_to_one")
    return found.assign(excluded=excluded(found, exclusions).fillna(""))


def score_table(labels: pd.DataFrame | None, layout: ScreenLayout) -> pd.DataFrame:
    """Labels, with those columns of the layout that say one thing of each perturbation.

    Args:
        labels: Table of labels; None when there are none.
        layout: Its annotation is used.
    """
    if labels is None:
        return pd.DataFrame(columns=LABEL_COLUMNS)
    columns = [name for name in layout.annotation.columns if name not in ("barcode", "well")]
    if not columns:
        return labels
    samples = layout.platemap.loc[layout.platemap["role"] == "sample", ["barcode", "well", "perturbation"]]
    ids = samples.merge(layout.annotation, on=["barcode", "well"], validate="one_to_one").drop_duplicates(
        ["perturbation", *columns]
    )
    single = [
        name for name in columns if not ids.drop_duplicates(["perturbation", name])["perturbation"].duplicated().any()
    ]
    ids = ids.drop_duplicates("perturbation")[["perturbation", *single]]
    free = {name: f"{name} of the layout" for name in single if name in labels.columns}
    return labels.merge(ids.rename(columns=free), on="perturbation", how="left", validate="one_to_one")


def plate_table(
    layout: ScreenLayout,
    plates: Sequence[PlateReadout],
    qualities: Sequence[PlateQuality],
    used: Mapping[str, int],
    rejections: Sequence[Rejection],
) -> pd.DataFrame:
    """What became of every plate of the layout, and of every other that arrived.

    verdict: passed, failed, repeated (another attempt is used), refused, missing (no file holds it).

    Args:
        layout: Its layout.
        plates: Plates that arrived.
        qualities: Quality of those that were accepted.
        used: Attempt that is used, by barcode.
        rejections: Why the others were refused.
    """
    judged = {(quality.barcode, quality.attempt): quality for quality in qualities}
    names = list(dict.fromkeys(metric.name for quality in qualities for metric in quality.metrics))
    rows = []
    for plate in sorted(plates, key=lambda plate: (plate.barcode, plate.attempt)):
        quality = judged.get((plate.barcode, plate.attempt))
        verdict, reasons = _verdict(plate, quality, used, rejections)
        metrics = {} if quality is None else {metric.name: metric.value for metric in quality.metrics}
        own = {"barcode": plate.barcode, "attempt": plate.attempt, "run": plate.run, "file": plate.source}
        rows.append({**own, "verdict": verdict, "reasons": reasons, **metrics})
    arrived = {plate.barcode for plate in plates}
    for row in layout.files[~layout.files["barcode"].isin(arrived)].itertuples():
        reasons = "; ".join(
            r.reason for r in rejections if r.plate == row.barcode or (row.file and r.source == row.file)
        )
        verdict = "refused" if reasons else "missing"
        own = {"barcode": row.barcode, "attempt": row.attempt, "run": row.run, "file": row.file}
        rows.append({**own, "verdict": verdict, "reasons": reasons or "no file holds it"})
    table = pd.DataFrame(rows, columns=["barcode", "attempt", "run", "file", "verdict", "reasons", *names])
    known = layout.files[["barcode", "plate", "replicate"]]
    table = known.merge(table, on="barcode", how="right").sort_values(["barcode", "attempt"], ignore_index=True)
    return table.astype({"replicate": "Int64"})


def _verdict(
    plate: PlateReadout, quality: PlateQuality | None, used: Mapping[str, int], rejections: Sequence[Rejection]
) -> tuple[str, str]:
    if quality is None:
        return "refused", "; ".join(r.reason for r in rejections if r.plate == plate.barcode)
    if not quality.passed:
        return "failed", "; ".join(quality.reasons)
    if used[plate.barcode] != plate.attempt:
        return "repeated", f"attempt {used[plate.barcode]} is used"
    return "passed", ""
