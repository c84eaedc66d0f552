# ruff: noqa: E501 - lists of words
"""Ways to make hostile files of good ones: bytes, cells, lines, and the structure of JSON, YAML, Parquet and HDF5."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

Rng = np.random.Generator
Files = dict[str, bytes]

#: Cells and names that have broken some reader somewhere.
WORDS = [
    "", " ", "NA", "nan", "NaN", "inf", "-inf", "Infinity", "1e999", "-1e-999", "0x1F", "1_000", "1,5", "1.5", "-0",
    "9" * 400, "9" * 5000, "99999999999999999999", "-1", "0", "١٢٣", "²", "½", "true", "null", "~", "A01", "A00", "AF48",
    "ZZ99", "A1A", "../../etc/passwd", "..\\..\\x", "/etc/passwd", "C:\\x", "a/b", "~root", "$HOME", "%s%n", "{0}", "{}",
    "{x.__class__}", "{{7*7}}", "${jndi:x}", "=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</script>", "&lt;", '"', "'", '""', '"a\nb"', "a;b", "a,b",
    "a\tb", "\0", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202eabc", "\u2066", "\u200b", "\ufeff", "\ufffd", "\ufdd0",
    "e\u0301", "é", "А01", "Ａ０１", "kinase", "ſ", "İ", "😀", "\U0010ffff", "a" * 300, "a" * 200_000, "*", "(", "[", "(a+)+$",
    "a{99999999999}", "(?P<x>", "\\", ".", "..", "!!python/object/apply:os.system [ls]", "&a", "*a", "<<: *a", "!x", "2001-99-99",
    "1:99:99", "0b", "0o8", "? x", "- - -", "%YAML 9.9", "---", "...", "\ud7ff",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 0.0, -0.0, 1e308, 5e-324, float("nan"), float("inf"),
    float("-inf"), [], {}, [[]], [None], {"": None}, {"a": {}}, ["x"] * 3, [0] * 1000, {"__class__": "x"},
]  # fmt: skip
_MAGIC = [
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"\0" * 8,
    b"PAR1",
    b"PK\3\4",
    b"\x1f\x8b",
    b"\x80\x04.",
]


def pick(rng: Rng, items: Any) -> Any:
    """One of some items."""
    return items[int(rng.integers(len(items)))]


def hostile_value(rng: Rng) -> Any:
    """A scalar or small structure."""
    return pick(rng, VALUES) if rng.random() < 0.5 else pick(rng, WORDS)


# Bytes


def _span(rng: Rng, data: bytes) -> tuple[int, int]:
    first = int(rng.integers(len(data) + 1))
    return first, min(len(data), first + int(rng.integers(1, 64)))


def _flip(rng: Rng, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 8)) if data else 0):
        changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _replace_span(rng: Rng, data: bytes) -> bytes:
    first, last = _span(rng, data)
    new = pick(rng, _MAGIC) if rng.random() < 0.6 else rng.bytes(last - first)
    return data[:first] + new + data[last:]


def _insert(rng: Rng, data: bytes) -> bytes:
    first, _ = _span(rng, data)
    return data[:first] + pick(rng, _MAGIC) + data[first:]


def _repeat(rng: Rng, data: bytes) -> bytes:
    first, last = _span(rng, data)
    return data[:last] + data[first:last] * int(pick(rng, [1, 2, 100, 3000])) + data[last:]


def _cut(rng: Rng, data: bytes) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def _drop(rng: Rng, data: bytes) -> bytes:
    first, last = _span(rng, data)
    return data[:first] + data[last:]


def _number(rng: Rng, data: bytes) -> bytes:
    """An integer of 1, 2, 4 or 8 bytes becomes an extreme one."""
    width = int(pick(rng, [1, 2, 4, 8]))
    if len(data) < width:
        return data
    first = int(rng.integers(len(data) - width + 1))
    value = pick(rng, [0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), 2 ** (8 * width - 1) - 1, 2 ** (4 * width)])
    return data[:first] + int(value).to_bytes(width, pick(rng, ["little", "big"])) + data[first + width :]


BYTES: list[Callable[[Rng, bytes], bytes]] = [_flip, _replace_span, _insert, _repeat, _cut, _drop, _number]

# Text


def _cells(rng: Rng, data: bytes) -> bytes:
    """One to three cells become hostile ones."""
    parts = re.split(rb"([,;\t\n])", data)
    for _ in range(int(rng.integers(1, 4))):
        parts[int(rng.integers(len(parts) // 2 + 1)) * 2] = pick(rng, WORDS).encode("utf-8", "surrogatepass")
    return b"".join(parts)


def _header(rng: Rng, data: bytes) -> bytes:
    """The same in the first line, which says what the others are."""
    first, end, rest = data.partition(b"\n")
    return _cells(rng, first) + end + rest


def _lines(rng: Rng, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True) or [b"\n"]
    at, to = int(rng.integers(len(lines))), int(rng.integers(len(lines)))
    change = int(rng.integers(5))
    if change == 0:
        del lines[at]
    elif change == 1:
        lines.insert(to, lines[at])
    elif change == 2:
        lines[at], lines[to] = lines[to], lines[at]
    elif change == 3:
        lines.insert(to, pick(rng, [b"\n", b"\r", b",,,\n", b'"\n', b"\t\n", b"x\n", b'"a""b"\n']))
    else:
        lines[at] = lines[at].rstrip(b"\r\n") * int(pick(rng, [2, 50, 2000])) + b"\n"
    return b"".join(lines)


def _encoding(rng: Rng, data: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    changes = [
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-16-le"),
        lambda: text.encode("utf-32"),
        lambda: b"\xef\xbb\xbf" * int(rng.integers(1, 3)) + data,
        lambda: text.replace("1", "é").encode("latin-1", "replace"),
        lambda: data.replace(b"\n", pick(rng, [b"\r\n", b"\r", b"\x0b", b"\xc2\x85", b"\xe2\x80\xa8"])),
        lambda: data.replace(b",", pick(rng, [b";", b"\t", b"|", b", "])),
        lambda: data.replace(b".", b","),
    ]
    return bytes(pick(rng, changes)())


TEXT = [_cells, _cells, _header, _lines, _lines, _encoding, _flip, _replace_span, _insert, _cut]

# JSON and YAML


def _places(content: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        found.append((content, key))
        _places(value, found)
    return found


def change_tree(rng: Rng, content: Any) -> Any:
    """A copy of a tree of dictionaries and lists in which one to three places are changed."""
    content = json.loads(json.dumps(content))
    for _ in range(int(rng.integers(1, 4))):
        places = _places(content, [])
        if not places:
            return hostile_value(rng)
        inside, key = pick(rng, places)
        change = rng.random()
        if change < 0.6:
            inside[key] = hostile_value(rng)
        elif change < 0.75:
            del inside[key]
        elif change < 0.85 and isinstance(inside, dict):
            inside[pick(rng, WORDS)] = hostile_value(rng)
        elif change < 0.93:
            other, at = pick(rng, places)
            inside[key] = json.loads(json.dumps(other.get(at) if isinstance(other, dict) else None))
        else:
            for _ in range(int(pick(rng, [1, 5, 60]))):
                inside[key] = [inside[key]] if rng.random() < 0.5 else {"x": inside[key]}
    return content


def _json(rng: Rng, data: bytes) -> bytes:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return _flip(rng, data)
    text = json.dumps(change_tree(rng, content), ensure_ascii=bool(rng.random() < 0.5))
    if rng.random() < 0.1:  # the same key twice
        text = re.sub(r'("[^"]*": )', r"\1 1, \1", text, count=1)
    if rng.random() < 0.03:
        text = "[" * 100_000 + text
    return text.encode("utf-8", "surrogatepass")


def _yaml(rng: Rng, data: bytes) -> bytes:
    try:
        content = yaml.safe_load(data)
        if not isinstance(content, dict):
            return _flip(rng, data)
        changed = change_tree(rng, content)
        text = yaml.dump(changed, allow_unicode=bool(rng.random() < 0.5), default_flow_style=bool(rng.random() < 0.3))
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError):
        return _flip(rng, data)
    return text.encode("utf-8", "surrogatepass")


# Tables and HDF5


def _column(rng: Rng, rows: int) -> pa.Array:
    """A column of a type that a table of wells should not have."""
    makers = [
        lambda: pa.array([None] * rows),
        lambda: pa.array([pick(rng, WORDS).replace("\0", "") for _ in range(rows)]),
        lambda: pa.array([rng.bytes(4) for _ in range(rows)]),
        lambda: pa.array([[1.0, None]] * rows),
        lambda: pa.array([{"a": 1}] * rows),
        lambda: pa.array([True] * rows),
        lambda: pa.array([10**9] * rows, pa.timestamp("ns", "UTC")),
        lambda: pa.array([2**62] * rows, pa.duration("us")),
        lambda: pa.array([2**40] * rows, pa.timestamp("s")),
        lambda: pa.array([1] * rows).cast(pa.decimal128(20, 3)),
        lambda: pa.array(["a"] * rows).dictionary_encode(),
        lambda: pa.array([1] * rows).dictionary_encode(),
        lambda: pa.array(rng.normal(size=rows).astype(np.float16)),
        lambda: pa.array([np.inf] * rows),
        lambda: pa.array([2**64 - 1] * rows, pa.uint64()),
        lambda: pa.array([1] * rows, pa.time32("s")),
        lambda: pa.array([[("k", 1)]] * rows, pa.map_(pa.string(), pa.int64())),
    ]
    return pick(rng, makers)()


def _parquet(rng: Rng, data: bytes) -> bytes:
    try:
        table = pq.read_table(pa.BufferReader(data))
        names = table.column_names
    except (pa.ArrowException, OSError, ValueError):
        return _flip(rng, data)
    change, name = int(rng.integers(5)), pick(rng, names or [""])
    try:
        if change <= 1 and name:
            table = table.set_column(table.column_names.index(name), name, _column(rng, len(table)))
        elif change == 2:
            table = table.append_column(pick(rng, [name, *WORDS[:40]]), _column(rng, len(table)))
        elif change == 3:
            new = [pick(rng, [*table.column_names, *WORDS[:40]]) if n == name else n for n in table.column_names]
            table = table.rename_columns(new)
        else:
            table = table.slice(0, int(pick(rng, [0, 1, 3])))
        sink = io.BytesIO()
        pq.write_table(table, sink, compression=pick(rng, ["none", "snappy", "gzip", "zstd"]))
    except (pa.ArrowException, ValueError, KeyError, UnicodeError):
        return _flip(rng, data)
    return sink.getvalue()


def _replace_in_hdf5(rng: Rng, file: h5py.File, name: str) -> None:
    attrs, shape = dict(file[name].attrs), getattr(file[name], "shape", ())
    del file[name]
    kind = int(rng.integers(7))
    if kind == 0:
        file.create_dataset(name, shape=(10**7, 10**5), dtype="f8", chunks=(10**4, 10), compression="gzip")
    elif kind == 1:
        file.create_dataset(name, data=np.array([pick(rng, WORDS).replace("\0", "") for _ in range(3)], dtype=object))
    elif kind == 2:
        file.create_dataset(name, data=np.zeros(shape or (2,), dtype=[("a", "f8"), ("b", "S4")]))
    elif kind == 3:
        file.create_dataset(name, data=np.full(shape or (2,), np.nan))
    elif kind == 4:
        file[name] = h5py.SoftLink(pick(rng, ["/", "/X", "/nowhere", name]))
    elif kind == 5:
        file[name] = h5py.ExternalLink(pick(rng, ["/etc/passwd", "other.h5"]), "/X")
    else:
        file.create_group(name)
    if rng.random() < 0.5 and name in file and kind not in (4, 5):
        for key, value in attrs.items():
            file[name].attrs[key] = value


def _hdf5(rng: Rng, data: bytes) -> bytes:
    buffer = io.BytesIO(data)
    try:
        with h5py.File(buffer, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            name = pick(rng, names or ["X"])
            if rng.random() < 0.5:
                _replace_in_hdf5(rng, file, name)
            elif file[name].attrs:
                key, value = pick(rng, list(file[name].attrs)), hostile_value(rng)
                file[name].attrs[key] = str(value).replace("\0", "") if isinstance(value, str | dict | list) else value
            else:
                del file[name]
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, UnicodeError):
        return _flip(rng, data)
    return buffer.getvalue()


STRUCTURES: dict[str, Callable[[Rng, bytes], bytes]] = {
    ".json": _json,
    ".yaml": _yaml,
    ".parquet": _parquet,
    ".h5ad": _hdf5,
}
_TEXTS = (".csv", ".tsv", ".txt")


def mutate(rng: Rng, files: Files) -> Files:
    """Files of which one is hostile; seldom two, and seldom one is missing."""
    changed = dict(files)
    for _ in range(1 if rng.random() < 0.85 else 2):
        name = pick(rng, sorted(changed)) if changed else None
        if name is None:
            break
        suffix = "." + name.rpartition(".")[2]
        if rng.random() < 0.02 and len(changed) > 1:
            del changed[name]
        elif suffix in STRUCTURES and rng.random() < 0.65:
            changed[name] = STRUCTURES[suffix](rng, changed[name])
        elif suffix in _TEXTS:
            changed[name] = pick(rng, TEXT)(rng, changed[name])
        else:
            changed[name] = pick(rng, [*BYTES, *([_cells, _lines] if suffix in STRUCTURES else [])])(rng, changed[name])
    return changed


def as_table(data: bytes) -> pd.DataFrame:
    """A CSV file as a table of text."""
    return pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False)
