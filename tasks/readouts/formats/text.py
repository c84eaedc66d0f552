"""Text files: their encoding, their lines and cells."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence

from tasks.campaigns.config import ReadoutSection
from tasks.readouts.formats.lines import refuse

#: Delimiters by how they are called; the first of equals is taken.
DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma"}

_MAGIC = {
    b"PK\x03\x04": "a zip file or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF",
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
#: Characters that no text file of a lab holds.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Row = tuple[int, list[str]]


def decode(data: bytes, source: str, section: ReadoutSection) -> str:
    """Text of a file.

    Raises:
        RejectedInput: Empty, not UTF-8, a control character in it, or, where the last line must be complete, no line
            end at the end.
    """
    if not data.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n,;"):
        raise refuse(source, "empty file, expected one line per well or a grid")
    kind = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    if kind is not None:
        raise refuse(source, f"this is {kind}, expected text: export it as CSV (UTF-8)")
    if data.startswith(_UTF16) or _every_second_is_zero(data):
        raise refuse(source, "looks like UTF-16, expected UTF-8: save it as CSV UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"not UTF-8 at byte {error.start} (0x{data[error.start]:02x}), expected UTF-8 text"
        raise refuse(source, f"{what}; looks like Latin-1 or Windows-1252: save it as CSV UTF-8", line) from None
    control = CONTROL.search(text)
    if control is not None:
        line = text.count("\n", 0, control.start()) + 1
        what = "NUL byte" if control[0] == "\0" else f"control character U+{ord(control[0]):04X}"
        raise refuse(source, f"{what} in the text, expected printable text: is the file damaged?", line)
    if section.last_line == "complete" and not text.endswith(("\n", "\r")):
        reason = "the last line has no line end: the upload was cut off? (readout.last_line: any takes such files)"
        raise refuse(source, reason, text.count("\n") + 1)
    return text


def _every_second_is_zero(data: bytes) -> bool:
    head = data[:1000]
    return len(head) >= 8 and max(head[::2].count(0), head[1::2].count(0)) > 0.4 * len(head)


def split(text: str, source: str, delimiter: str) -> list[Row]:
    """Lines with a filled cell as their number (from 1) and their cells, not yet stripped.

    Raises:
        RejectedInput: Quotes that do not close, stand inside a cell, or hold a line end.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    before = 0
    try:
        for cells in reader:
            if reader.line_num - before > 1:
                reason = (
                    f"a quoted cell runs over lines {before + 1} to {reader.line_num}: is a quotation mark missing?"
                )
                raise refuse(source, reason, before + 1)
            before = reader.line_num
            if any(map(str.strip, cells)):
                rows.append((before, cells))
    except csv.Error as error:
        raise refuse(source, f"cannot be split into cells: {error}", reader.line_num) from None
    if not rows:
        raise refuse(source, "no line with content, expected one line per well or a grid")
    return rows


def first_line(text: str, delimiter: str) -> list[str]:
    """Stripped cells of the first line that is not blank; none where this delimiter cannot split it."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        cells = next((cells for cells in reader if any(map(str.strip, cells))), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in cells]


def best_delimiter(text: str, score: Callable[[Sequence[str]], tuple[int, int]]) -> str:
    """Delimiter whose first line scores highest; of equals the first of `DELIMITERS`."""
    return max(DELIMITERS, key=lambda mark: score(first_line(text, mark)))
