"""Good plate files, ways to damage them, and simple readers that say what a damaged file literally holds."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from tasks.campaigns.config import ReadoutColumns, ReadoutSection
from tasks.readouts.wells import plate_shape, plate_wells

Rng = np.random.Generator
Literal = dict[tuple[str, str, str], set[float]]

KEYS = ["barcode", "well"]


@dataclass(frozen=True, eq=False)
class Case:
    """One plate file with its plates' true values (barcode, well and a column for each number)."""

    kind: str
    name: str
    data: bytes
    section: ReadoutSection
    fmt: int
    truth: pd.DataFrame

    @property
    def columns(self) -> list[str]:
        return [name for name in self.truth.columns if name not in KEYS]

    @property
    def labelled(self) -> bool:
        """Whether each line says itself which wells it is about."""
        return self.kind.startswith("long")


def plate_values(folder: Path | None, fmt: int, features: int, plates: int) -> pd.DataFrame:
    """Wells of some plates: real ones where there is a folder with them."""
    names = ["value"] if features == 1 else [f"Cells_{i}" for i in range(features)]
    if folder is not None and features == 1:
        real = pd.read_parquet(folder / "kcviab/kcviab.parquet").query("replicate == 1")
        tables = [real[real["plate"] == 10 + i].assign(barcode=f"FT{10 + i}-G01") for i in range(plates)]
        return pd.concat(tables, ignore_index=True)[[*KEYS, "value"]]
    if folder is not None:
        real = pd.read_parquet(folder / "bbbc021/bbbc021_wells.parquet")
        chosen = [name for name in real.columns if name.startswith("Cells_")][:features]
        kept = real[real["plate"].isin(sorted(set(real["plate"]))[:plates])].drop_duplicates(["plate", "well"])
        table = kept[["plate", "well", *chosen]].set_axis([*KEYS, *names], axis=1)
        return table.astype({name: "float64" for name in names}).reset_index(drop=True)
    rng = np.random.default_rng(fmt + features)
    wells = plate_wells(fmt) if features == 1 else plate_wells(96)[14:34]
    tables = []
    for i in range(plates):
        table = pd.DataFrame(rng.normal(1e4, 1e3, (len(wells), features)).round(3), columns=names)
        tables.append(pd.concat([pd.DataFrame({"barcode": f"FT{10 + i}-G01", "well": wells}), table], axis=1))
    return pd.concat(tables, ignore_index=True)


def make_cases(folder: Path | None, scratch: Path) -> dict[str, Case]:
    """One case of each kind, with two plates where the form can hold them."""
    one, many = plate_values(folder, 384, 1, 2), plate_values(folder, 96, 6, 2)
    first = one[one["barcode"] == one["barcode"].iloc[0]]
    single = ReadoutSection(tolerance=1.0)
    several = ReadoutSection(tolerance=1.0, features=("Cells_*",), output="Cells_1")
    columns = ReadoutColumns(plate=1, well=2, value=3)
    positional = ReadoutSection(tolerance=1.0, columns=columns)
    h5ad, parquet = scratch / "case.h5ad", io.BytesIO()
    numbers = many.drop(columns=KEYS)
    obs = many[KEYS].rename(columns={"barcode": "plate"}).set_index(pd.Index([str(i) for i in range(len(many))]))
    anndata.AnnData(numbers.to_numpy(), obs=obs, var=pd.DataFrame(index=numbers.columns)).write_h5ad(h5ad)
    many.rename(columns={"barcode": "plate"}).to_parquet(parquet)
    plain = "".join(f"{r.barcode}\t{r.well}\t{_text(r.value)}\n" for r in first.itertuples())
    named = one.rename(columns={"barcode": "plate"}).assign(run="R00", attempt=1).to_csv(index=False, sep=";")
    profiles = many.rename(columns={"barcode": "plate"}).to_csv(index=False)
    files = {
        "long positional": (f"{first['barcode'].iloc[0]}.txt", plain.encode(), positional, 384, first),
        "long named": ("week 1.csv", named.encode(), single, 384, one),
        "long features": ("profiles.csv", profiles.encode(), several, 96, many),
        "grid labelled": ("reader.csv", _grids(one, letters=True).encode(), single, 384, one),
        "grid plain": ("reader.txt", _grids(one, letters=False).encode(), single, 384, one),
        "parquet": ("profiles.parquet", parquet.getvalue(), several, 96, many),
        "anndata": ("profiles.h5ad", h5ad.read_bytes(), several, 96, many),
    }
    return {kind: Case(kind, *content[:4], content[4].reset_index(drop=True)) for kind, content in files.items()}


def _text(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _grids(table: pd.DataFrame, *, letters: bool) -> str:
    blocks = []
    for barcode, plate in table.groupby("barcode"):
        values = plate.sort_values("well")["value"].to_numpy().reshape(plate_shape(384))
        lines = [f"Plate: {barcode}", *([",".join(["", *map(str, range(1, 25))])] if letters else [])]
        for row, line in enumerate(values):
            lines.append((",".join([chr(65 + row)] if letters else []) + "," * letters) + ",".join(map(_text, line)))
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


# Damage. Each takes the content and returns it changed; `structural` ones leave every cell they keep as it was.


def _at(rng: Rng, data: bytes) -> int:
    return int(rng.integers(0, max(len(data), 1)))


def _lines(change: Callable[[Rng, list[bytes]], list[bytes]]) -> Callable[[Rng, bytes], bytes]:
    return lambda rng, data: b"".join(change(rng, data.splitlines(keepends=True) or [b""]))


def _pick(rng: Rng, items: list[bytes]) -> int:
    return int(rng.integers(len(items)))


def _delete_lines(rng: Rng, lines: list[bytes]) -> list[bytes]:
    first = _pick(rng, lines)
    return lines[:first] + lines[first + int(rng.integers(1, 4)) :]


def _duplicate_line(rng: Rng, lines: list[bytes]) -> list[bytes]:
    i, j = _pick(rng, lines), _pick(rng, lines)
    return [*lines[:j], lines[i], *lines[j:]]


def _swap_lines(rng: Rng, lines: list[bytes]) -> list[bytes]:
    i, j = _pick(rng, lines), _pick(rng, lines)
    swapped = list(lines)
    swapped[i], swapped[j] = swapped[j], swapped[i]
    return swapped


def _blank_line(rng: Rng, lines: list[bytes]) -> list[bytes]:
    i = _pick(rng, lines)
    return [*lines[:i], b"\n", *lines[i:]]


def _in_cells(change: Callable[[Rng, list[bytes]], list[bytes]]) -> Callable[[Rng, bytes], bytes]:
    def damage(rng: Rng, lines: list[bytes]) -> list[bytes]:
        i = _pick(rng, lines)
        mark = max(b"\t", b";", b",", key=lines[i].count)
        cells = lines[i].rstrip(b"\r\n").split(mark)
        return [*lines[:i], mark.join(change(rng, cells)) + b"\n", *lines[i + 1 :]]

    return _lines(damage)


def _delete_cell(rng: Rng, cells: list[bytes]) -> list[bytes]:
    i = _pick(rng, cells)
    return cells[:i] + cells[i + 1 :]


def _replace_cell(rng: Rng, cells: list[bytes]) -> list[bytes]:
    words = [
        b"",
        b"NA",
        b"OVER",
        b"inf",
        b"-inf",
        b"1e999",
        b"1_000",
        b"0x1F",
        b"1,234",
        b"12.5",
        b"A01",
        b"=1+1",
        b"NaN",
    ]
    i = _pick(rng, cells)
    return [*cells[:i], words[_pick(rng, words)], *cells[i + 1 :]]


def _flip(rng: Rng, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        if changed:
            changed[_at(rng, data)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _insert(rng: Rng, data: bytes) -> bytes:
    marks = [
        b",",
        b";",
        b"\t",
        b"\0",
        b"\xef\xbb\xbf",
        b'"',
        b"'",
        b" ",
        b"\n",
        b"\r",
        b"\xff",
        b"-",
        b"\xe2\x80\xa8",
        b"e",
    ]
    at = _at(rng, data)
    return data[:at] + marks[_pick(rng, marks)] + data[at:]


def _quote_two(rng: Rng, data: bytes) -> bytes:
    first, second = sorted((_at(rng, data), _at(rng, data)))
    return data[:first] + b'"' + data[first:second] + b'"' + data[second:]


def _append(rng: Rng, data: bytes) -> bytes:
    tails = [
        b"end of file\n",
        b"Total,384\n",
        data,
        rng.bytes(50),
        b"\x1a",
        b"\n\n\n",
        b"</html>\n",
        data[: len(data) // 3],
    ]
    return data + tails[_pick(rng, tails)]


def _one_mark(rng: Rng, data: bytes) -> bytes:
    places = [match.start() for match in re.finditer(rb"\.", data)]
    at = places[int(rng.integers(len(places)))] if places else 0
    return data[:at] + b"," + data[at + 1 :]


def _zero(rng: Rng, data: bytes) -> bytes:
    first = _at(rng, data)
    length = min(int(rng.integers(1, 200)), len(data) - first)
    return data[:first] + bytes(length) + data[first + length :]


def _cut(rng: Rng, data: bytes) -> bytes:
    return data[: _at(rng, data)]


def _cut_at_line(rng: Rng, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(lines[: _pick(rng, lines) if lines else 0])


STRUCTURAL: list[Callable[[Rng, bytes], bytes]] = [
    _cut,
    _cut_at_line,
    _lines(_delete_lines),
    _lines(_duplicate_line),
    _lines(_swap_lines),
    _lines(_blank_line),
    lambda rng, data: data.replace(b"\n", [b"\r\n", b"\r"][int(rng.integers(2))]),
    lambda rng, data: b"\xef\xbb\xbf" + data,
    lambda rng, data: data.decode("utf-8", "replace").encode(
        ["utf-16", "utf-16-le", "utf-16-be"][int(rng.integers(3))]
    ),
    lambda rng, data: data + b"\n",
]
CONTENT: list[Callable[[Rng, bytes], bytes]] = [
    _in_cells(_delete_cell),
    _in_cells(lambda rng, cells: [*cells, cells[_pick(rng, cells)]]),
    _in_cells(_swap_lines),
    _in_cells(_replace_cell),
    _flip,
    _insert,
    _quote_two,
    _append,
    _one_mark,
    lambda rng, data: data.replace(b".", b","),
    lambda rng, data: data.replace(b",", b";"),
    lambda rng, data: data.replace(b"1", "é".encode("latin-1"), 1),
]
BINARY: list[Callable[[Rng, bytes], bytes]] = [_cut, _flip, _zero, _append, _insert]


def damage(case: Case, rng: Rng) -> tuple[bytes, bool]:
    """Damaged content, and whether every value that is left of it must be a true one."""
    if case.kind in ("parquet", "anndata"):
        return BINARY[int(rng.integers(len(BINARY)))](rng, case.data), False
    data, structural = case.data, True
    for _ in range(1 if rng.random() < 0.75 else 2):
        if rng.random() < 0.45:
            chosen = STRUCTURAL[int(rng.integers(len(STRUCTURAL)))]
            structural &= case.labelled or chosen in (_cut, _cut_at_line, *STRUCTURAL[5:])
        else:
            chosen, structural = CONTENT[int(rng.integers(len(CONTENT)))], False
        data = chosen(rng, data)
    return data, structural


# What a damaged file literally says.


def _number(text: str) -> float:
    cleaned = text.strip()
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", cleaned, re.ASCII):
        return float(cleaned)
    return np.nan


def _well(text: str) -> str:
    match = re.fullmatch(r"([A-Za-z])0*([1-9]\d?)", text.strip(), re.ASCII)
    return f"{match[1].upper()}{int(match[2]):02d}" if match else ""


def literally(case: Case, data: bytes) -> Literal:
    """All values that stand in the file for (barcode, well, column), read as simply as can be."""
    if case.kind == "parquet":
        return _of_table(pd.DataFrame(pq.read_table(io.BytesIO(data)).to_pydict()), case)
    if case.kind == "anndata":
        with h5py.File(io.BytesIO(data), "r") as file:
            names = [name.decode() for name in file["var"][file["var"].attrs["_index"]][()]]
            obs = {name: _of_obs(file["obs"][name]) for name in ("plate", "well")}
            return _of_table(pd.DataFrame(file["X"][()], columns=names).assign(**obs), case)
    lines = re.split(r"\r\n|\n|\r", data.decode("utf-8-sig"))
    rows = [
        [cell.strip() for cell in next(csv.reader([line], delimiter=mark), [])] for mark in "\t;," for line in lines
    ]
    return _of_grid(rows) if case.kind.startswith("grid") else _of_lines(rows, case)


def _of_obs(stored: h5py.Group | h5py.Dataset) -> list[str]:
    if isinstance(stored, h5py.Dataset):
        return [text.decode() for text in stored[()]]
    categories = stored["categories"][()]
    return [categories[code].decode() for code in stored["codes"][()]]


def _of_table(table: pd.DataFrame, case: Case) -> Literal:
    found: Literal = {}
    for name in case.columns:
        for barcode, well, value in zip(table["plate"], table["well"], table[name], strict=True):
            found.setdefault((str(barcode).strip(), _well(str(well)), name), set()).add(float(value))
    return found


def _of_lines(rows: list[list[str]], case: Case) -> Literal:
    found: Literal = {}
    header = ["plate", "well", "value"] if case.kind == "long positional" else []
    for cells in rows:
        if case.kind != "long positional" and {"plate", "well"} <= set(cells):
            header = cells
            continue
        if len(cells) != len(header) and case.kind != "long positional":
            continue
        said = dict(zip(header, cells, strict=False))
        for name in case.columns:
            if {"plate", "well", name} <= said.keys():
                found.setdefault((said["plate"], _well(said["well"]), name), set()).add(_number(said[name]))
    return found


def _of_grid(rows: list[list[str]]) -> Literal:
    found: Literal = {}
    barcode, row = "", 0
    for cells in rows:
        title = re.match(r"plate\s*:\s*(.*)", cells[0], re.IGNORECASE) if cells else None
        if title is not None:
            barcode, row = title[1].strip() or next((cell for cell in cells[1:] if cell), ""), 0
            continue
        if cells[1:3] == ["1", "2"] or len(cells) < 24:
            continue
        letter = re.fullmatch("[A-Pa-p]", cells[0]) is not None
        place = ord(cells[0].upper()) - 65 if letter else row
        row += 1
        for column, cell in enumerate(cells[letter:][:24]):
            if place < 16:
                found.setdefault((barcode, f"{chr(65 + place)}{column + 1:02d}", "value"), set()).add(_number(cell))
    return found
