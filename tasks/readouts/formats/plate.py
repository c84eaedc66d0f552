"""One plate attempt as a file reports it: its head, and its values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from tasks.readouts.rejections import Rejection

#: Columns of `PlateReadout.values` that are not numbers.
TEXTS = ("perturbation", "role")


@dataclass(frozen=True)
class PlateHead:
    """Everything of a plate attempt but its values: enough to tell plates, copies and feature sets apart.

    Attributes:
        barcode: Barcode of the plate.
        attempt: Attempt, counted from 1.
        run: Plates processed together in the lab.
        run_written: Whether the file says which run it is; False when the run is the file's stem.
        source: Name of the file.
        columns: Columns of the values.
        content: Digest of the values, the same in whatever order lines and columns stand.
        problems: Why this plate is refused, whatever its plate map says.
    """

    barcode: str
    attempt: int
    run: str
    run_written: bool
    source: str
    columns: tuple[str, ...]
    content: str
    problems: tuple[Rejection, ...]

    @property
    def head(self) -> PlateHead:
        """Itself: where the values do not matter, a head stands for its readout."""
        return self

    @property
    def key(self) -> str:
        """Key of the plate attempt, as in labels and noise."""
        return f"{self.barcode}.{self.attempt}"

    @property
    def numbers(self) -> list[str]:
        """Columns that hold numbers, in the order of the file."""
        return number_columns(self.columns)

    def same_content(self, other: PlateHead) -> bool:
        """Whether the other file says the same of the same plate attempt.

        A run that is only the file's name is no content: a copy under another name is the same.
        """
        return self._written() == other._written() and self.content == other.content

    def _written(self) -> tuple[str, int, str | None]:
        return self.barcode, self.attempt, self.run if self.run_written else None


@dataclass(frozen=True, eq=False)
class PlateReadout:
    """One plate attempt as it stands in a file; not yet compared with a plate map.

    Attributes:
        barcode: Barcode of the plate.
        attempt: Attempt, counted from 1.
        run: Plates processed together in the lab.
        source: Name of the file.
        values: One row per well that the file reports: well (A01), line (of the file, or row of a table, from 1), the
            numbers (float64, NaN where missing; column `value`, or the features under their names), and the text
            columns perturbation and role where the file has them.
        run_written: Whether the file says which run it is; False when the run is the file's stem.
        problems: Why this plate is refused, whatever its plate map says. Rows with problems may lack in `values`.
    """

    barcode: str
    attempt: int
    run: str
    source: str
    values: pd.DataFrame
    run_written: bool = True
    problems: tuple[Rejection, ...] = ()

    @cached_property
    def head(self) -> PlateHead:
        """Everything but the values."""
        return PlateHead(
            barcode=self.barcode,
            attempt=self.attempt,
            run=self.run,
            run_written=self.run_written,
            source=self.source,
            columns=tuple(self.values.columns),
            content=_content(self.values),
            problems=self.problems,
        )

    @property
    def numbers(self) -> list[str]:
        """Columns of `values` that hold numbers, in the order of the file."""
        return number_columns(self.values.columns)


def number_columns(columns: Iterable[str]) -> list[str]:
    """Those of the columns of a plate's values that hold numbers, in their order."""
    return [name for name in columns if name not in ("well", "line", *TEXTS)]


def _content(values: pd.DataFrame) -> str:
    """Digest of a plate's values, whatever the order of lines and columns; where a line stood is no content."""
    order = np.argsort(values["well"].to_numpy(dtype=str), kind="stable")
    texts = [name for name in ("well", *TEXTS) if name in values.columns]
    names = sorted(number_columns(values.columns))
    numbers = values[names].to_numpy(dtype=np.float64)[order]
    numbers = np.where(np.isnan(numbers), np.nan, numbers + 0.0)  # one kind of NaN and of zero
    said = [[*texts, "", *names], *(values[name].astype(str).to_numpy()[order].tolist() for name in texts)]
    written = json.dumps(said, ensure_ascii=False).encode()
    return hashlib.sha256(written + numbers.tobytes()).hexdigest()
