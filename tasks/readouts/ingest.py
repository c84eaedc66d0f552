"""From plate files to the table of wells: `read_plate_file`, `resolve_copies`, `match_platemap`."""

from tasks.readouts.copies import reference_features, resolve_copies
from tasks.readouts.formats import PlateHead, PlateReadout, read_plate_file
from tasks.readouts.matching import WELL_COLUMNS, Matched, feature_columns, match_platemap, match_plates
from tasks.readouts.rejections import RejectedInput, Rejection

__all__ = [
    "WELL_COLUMNS",
    "Matched",
    "PlateHead",
    "PlateReadout",
    "RejectedInput",
    "Rejection",
    "feature_columns",
    "match_platemap",
    "match_plates",
    "read_plate_file",
    "reference_features",
    "resolve_copies",
]
