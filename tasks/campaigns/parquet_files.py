"""Parquet from outside: a few bytes of it can claim, and hold, more than a machine has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_MOST_BYTES = 64_000_000  # of text or metadata that a small file may claim
_LONGEST_TEXT = 10_000

#: Given all columns, those to read.
Choose = Callable[[list[str]], Sequence[str]]


def read_parquet(data: bytes, choose: Choose, cells: int, cells_per_byte: int) -> pd.DataFrame:
    """Chosen columns of a Parquet file.

    Text is read as categories and made text afterwards, all equal ones being one object: a long one that is repeated a
    million times takes no more bytes in the file than once.

    Args:
        data: The file.
        choose: Which columns to read.
        cells: A table of so many cells may be in any file.
        cells_per_byte: And so many more for each byte of the file.

    Raises:
        ValueError: Not Parquet, damaged, or of a size that no file of so few bytes can have.
    """
    try:
        file = _open(data, [])
        names = [str(name) for name in file.schema_arrow.names]
        chosen = list(dict.fromkeys(choose(names)))
        _check(file.metadata, chosen, len(data), cells, cells_per_byte)
        fields = [field for field in file.schema_arrow if field.name in chosen]
        texts = [field.name for field in fields if _is_text(field.type)]
        categories = [field.name for field in fields if pa.types.is_dictionary(field.type)]
        table = _open(data, texts).read(columns=chosen)
        for name in [*texts, *categories]:
            _check_text(table, name)
        frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, KeyError, MemoryError, RuntimeError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return frame.astype({name: object for name in texts})


def _open(data: bytes, texts: Sequence[str]) -> pq.ParquetFile:
    return pq.ParquetFile(
        pa.BufferReader(data),
        page_checksum_verification=True,
        thrift_string_size_limit=_MOST_BYTES,
        thrift_container_size_limit=1_000_000,
        read_dictionary=list(texts),
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check(metadata: pq.FileMetaData, chosen: Sequence[str], size: int, cells: int, cells_per_byte: int) -> None:
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    held = max(
        metadata.num_rows * len(chosen),
        sum(group.column(at).num_values for group in groups for at in range(group.num_columns)),
    )
    if held > cells + cells_per_byte * size:
        raise ValueError(f"{size:,} bytes claim to hold {held:,} values")
    claimed = sum(group.total_byte_size for group in groups)
    if claimed > max(50 * size, _MOST_BYTES):
        raise ValueError(f"{size:,} bytes claim to hold {claimed:,}")


def _check_text(table: pa.Table, name: str) -> None:
    for chunk in table.column(name).chunks:
        words = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
        if not _is_text(words.type) or not len(words):
            continue
        longest = pc.max(pc.binary_length(words)).as_py()
        if (longest or 0) > _LONGEST_TEXT:
            raise ValueError(f"a text of {longest:,} bytes in column {name!r}, expected at most {_LONGEST_TEXT:,}")
