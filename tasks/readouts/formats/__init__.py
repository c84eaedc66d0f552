"""Plate files: each form of them is one module here and one line in `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.campaigns.config import ReadoutSection
from tasks.errors import UserError
from tasks.readouts.formats import anndata_file, grid, long_text, parquet
from tasks.readouts.formats.plate import PlateHead, PlateReadout

__all__ = ["AUTO", "FORMATS", "Format", "PlateHead", "PlateReadout", "read_plate_file"]

#: Name in the configuration with which the form is found from a file's content.
AUTO = "auto"


@dataclass(frozen=True)
class Format:
    """One form of plate files.

    Attributes:
        read: Content, name of the file, readout section and wells of the plate to plates.
        recognises: Whether content and name look like this form.
    """

    read: Callable[[bytes, str, ReadoutSection, int], list[PlateReadout]]
    recognises: Callable[[bytes, str, ReadoutSection], bool]


#: Name in the configuration -> form. `auto` takes the first that recognises the file; the last one takes all.
FORMATS: dict[str, Format] = {
    "parquet": Format(parquet.read, parquet.recognises),
    "anndata": Format(anndata_file.read, anndata_file.recognises),
    "long": Format(long_text.read, long_text.recognises),
    "grid": Format(grid.read, grid.recognises),
}


def read_plate_file(data: bytes, name: str, readout: ReadoutSection, fmt: int) -> list[PlateReadout]:
    """Read a plate file with one or more plates.

    Wells are normalised and numbers parsed. What is wrong with a single plate (a bad or doubled well, a cell that is no
    finite number) stands in its `problems`, and the other plates of the file are not concerned.

    Args:
        data: Content of the file.
        name: Name of the file, for messages; its stem is the run, or the barcode, where the file names none.
        readout: Form, columns, decimal mark, last line, features and output.
        fmt: Wells of the plate: 96, 384 or 1536.

    Returns:
        One readout per plate attempt, by barcode and attempt.

    Raises:
        RejectedInput: The file cannot be split into plates; says why and where.
        UserError: `readout.format` is unknown.
    """
    if readout.format not in (AUTO, *FORMATS):
        expected = " or ".join([AUTO, *FORMATS])
        raise UserError("unknown form of plate files", where="readout.format", got=readout.format, expected=expected)
    chosen = readout.format
    if chosen == AUTO:
        chosen = next(form for form, format_ in FORMATS.items() if format_.recognises(data, name, readout))
    return FORMATS[chosen].read(data, name, readout, fmt)
