"""What was refused at ingestion, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.errors import UserError, one_line

_SHOWN = 5


@dataclass(frozen=True, order=True)
class Rejection:
    """One reason for which a file or a plate was refused.

    Attributes:
        source: Name of the file.
        plate: Barcode, empty when the whole file is meant.
        line: Line of the file, counted from 1 (the header); None when no single line is to blame.
        reason: What was found and what was expected.
    """

    source: str
    plate: str
    line: int | None
    reason: str

    def as_row(self) -> dict[str, str | int | None]:
        """As a row of `rejected.csv`: file, plate, line, reason."""
        return {"file": self.source, "plate": self.plate, "line": self.line, "reason": one_line(self.reason)}

    def __str__(self) -> str:
        plate = f", plate {self.plate}" if self.plate else ""
        line = f", line {self.line}" if self.line is not None else ""
        return f"{self.source}{plate}{line}: {self.reason}"


class RejectedInput(UserError):
    """A file or a plate was refused as a whole.

    Args:
        what: What was refused, in a few words.
        rejections: Every reason that was found, not only the first.
    """

    def __init__(self, what: str, rejections: Sequence[Rejection]) -> None:
        self.rejections = tuple(rejections)
        shown = "; ".join(str(rejection) for rejection in self.rejections[:_SHOWN])
        more = len(self.rejections) - _SHOWN
        super().__init__(
            f"{what}: {shown}" + (f"; and {more} more" if more > 0 else ""),
            todo="Correct the file and upload it again.",
        )
