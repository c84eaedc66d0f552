"""Attacks by name, each with the line that refuses it."""

from __future__ import annotations

import io
import json

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import CELLHTS2, CONFIG, JUMP, SINGLE, binary_plates, config, library_anndata
from numcodecs.zstd import Zstd

from tasks.campaigns.config import LibrarySection
from tasks.campaigns.designs import stored_table
from tasks.campaigns.library import read_library
from tasks.campaigns.reading import parse_config
from tasks.campaigns.summaries import read_summary
from tasks.checkpoints.keys import sha256
from tasks.checkpoints.payloads import Payload, UnreadablePayload, content_digest, decode, encode, file_digests
from tasks.checkpoints.record_files import read_record, stored_record
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore, DamagedCheckpoint
from tasks.errors import HybridScreenError, UserError, one_line
from tasks.readouts.ingest import RejectedInput, read_plate_file
from tasks.readouts.layouts import folder_source, read_exclusions, read_layout


def refused(call, *given, **options) -> str:
    with pytest.raises(HybridScreenError) as caught:
        call(*given, **options)
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 4000
    return line


# YAML


def bomb(levels=12, width=9):
    lines = ["a0: &a0 x"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (bomb(), "c: not valid YAML; got aliases make it more than 100,000 values (line 7)"),
        (CONFIG.replace("name: pilot", f"name: {'[' * 3000}"), "c: not valid YAML; got nested too deeply"),
        ("a: &a [*a]\n", "c: not valid YAML; got an anchor holds itself (line 1)"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "c: not valid YAML; got could not determine a constructor for the ",
        ),
        ("a: 2001-99-99\n", "c: not valid YAML; got not a value: month must be in 1..12 (line 1)"),
        (
            "a: !!int abc\n",
            "c: not valid YAML; got not a value: invalid literal for int() with base 10: 'abc' (line 1)",
        ),
        ("a: " + "9" * 5000 + "\n", "c: not valid YAML; got not a value: Exceeds the limit (4300 digits) for integer "),
        ("? [a]\n: 1\n", "c: not valid YAML; got a key is no single value (line 1)"),
        ("a: 1\na: 2\n", "c: not valid YAML; got key 'a' stands twice (line 1)"),
        ("a: " + "x" * 1_000_001, "c: too long for a campaign; got 1,000,004 characters"),
        (CONFIG.replace("0.5", ".nan"), "c: readout.tolerance: Input should be a finite number; got nan"),
        (CONFIG.replace("0.5", ".inf"), "c: readout.tolerance: Input should be a finite number; got inf"),
        (CONFIG.replace("pilot", "../../etc"), "c: campaign.name: String should match pattern "),
        (CONFIG.replace("pilot", "рilot"), "c: campaign.name: String should match pattern "),
        (
            CONFIG.replace("{model: mlp", "[model, mlp"[:0] + "{model: [mlp]"),
            "c: ensemble.model: unknown name; got ['mlp']",
        ),
        (
            CONFIG.replace("model: mlp", "model: mlp, preset: [a]"),
            "c: ensemble.preset: Input should be a valid string",
        ),
    ],
    ids=lambda value: value[:30] if value.startswith("c: ") else "yaml",
)
def test_yaml(text, line):
    assert refused(parse_config, text, "c").startswith(line)


def test_a_wrong_value_is_not_written_out_at_length():
    assert len(refused(parse_config, CONFIG.replace("pilot", "x" * 500_000), "c")) < 500


def test_many_keys_take_no_quadratic_time(monkeypatch):
    text = "\n".join(f"k{n}: 1" for n in range(20_000))
    assert refused(parse_config, text, "c").startswith("c: ")


# JSON that the project stores


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": 1, "a": 2}', "not JSON (key 'a' stands twice)"),
        (b'{"a": NaN}', "not JSON (NaN is no JSON)"),
        (b'{"a": -Infinity}', "not JSON (-Infinity is no JSON)"),
        (b"[" * 100_000, "not JSON (nested too deeply)"),
        (b"\xff\xfe{\0}\0", "not JSON ("),
        (b"[1]", "content: Input should be a valid dictionary"),
    ],
    ids=["doubled", "nan", "infinity", "deep", "utf-16", "form"],
)
def test_stored_json(data, reason, tmp_path):
    line = refused(read_record, Storage(str(tmp_path)), "a.json", data, dict[str, int])
    assert line.startswith(f"{tmp_path}/a.json is damaged: {reason}")


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a\\b", "a\0b", "a/../../b"])
def test_no_stored_path_leads_out(path, tmp_path):
    from tasks.checkpoints.manifest import StoredPayload

    content = {"uri": path, "kind": "text", "sha256": "0" * 64, "shape": None, "files": {}}
    with pytest.raises(DamagedCheckpoint, match=r"uri: Value error, leads out of the campaign's folder"):
        read_record(Storage(str(tmp_path)), "m.json", json.dumps(content).encode(), StoredPayload)
    with pytest.raises(UserError, match="path leaves the campaign's folder"):
        Storage(str(tmp_path)).read(path)


def test_stored_tables_and_records_that_are_gone_or_lack_a_column(tmp_path):
    storage = Storage(str(tmp_path))
    storage.write("design/platemap.csv", b"plate,well,role,perturbation\nP1,A01,sample,X\n")
    storage.write("run.json", b'{"status": "decided", "run": [0]}')
    line = refused(stored_table, storage, "design/platemap.csv")
    assert line.endswith("/design/platemap.csv is damaged: no column 'barcode'")
    assert refused(stored_table, storage, "plates.csv").endswith("/plates.csv is missing")
    assert refused(stored_record, storage, "decision.json", dict[str, int]).endswith("/decision.json is missing")
    line = refused(read_summary, storage, "run.json", storage.read("run.json"))
    assert line.endswith("/run.json is damaged: run: Input should be a valid integer")


# Layouts


def test_no_layout_reads_outside_its_folder(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "secret.txt").write_text("x")
    source = folder_source(tmp_path / "raw")
    for name in ("../secret.txt", "/etc/passwd", "a/../../secret.txt"):
        assert "the name leads out of the folder; got" in refused(source, name)
    assert refused(source, "a\0b").endswith("the file cannot be read; got 'a\\x00b': embedded null byte")
    assert "the file cannot be read; got 'aaa" in refused(source, "a" * 5000)
    files = {**JUMP, "barcode_platemap.csv": b"Assay_Plate_Barcode,Plate_Map_Name\nBR1,../../secret\n"}
    for name, data in files.items():
        (tmp_path / "raw" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "raw" / name).write_bytes(data)
    assert "leads out of the folder; got 'platemap/../../secret.txt'" in refused(read_layout, "jump", source, 96)


def test_a_pattern_of_file_names_is_no_format_string():
    line = refused(read_layout, "jump", JUMP.__getitem__, 96, platemaps="{}{0.__class__}")
    assert line == "MAP-1{0.__class__}: the layout's file is missing"


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (
            "1\ta{99999999999}\tneg",
            "Plateconf.txt, line 4: not a pattern; got Well 'a{99999999999}': the repetition number",
        ),
        ("1\t" + "(.*)" * 40 + "Z\tneg", "Plateconf.txt, line 4: pattern too long; got Well of 161 characters"),
        ("9" * 5000 + "\tA01\tneg", "Plateconf.txt, line 4: pattern too long; got Plate of 5000 characters"),
    ],
    ids=["repetition", "backtracking", "digits"],
)
def test_rules_of_a_plate_configuration(rule, line):
    conf = f"Wells: 96\nPlates: 2\nPlate\tWell\tContent\n{rule}\n".encode()
    assert refused(read_layout, "cellhts2", {**CELLHTS2, "Plateconf.txt": conf}.__getitem__, 96).startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"barcode,well,reason\nP1,A1,x\0y\n", "e: control character in the text; got U+0000. Is the file damaged"),
        ("barcode,well,reason\nP1,A1,x\n".encode("utf-16"), "e: not UTF-8 text; got byte 0. Save the file as UTF-8."),
        (
            b"barcode,well,reason,attempt\nP1,A1,x,99999999999999999999\n",
            "e, line 2: attempt is not a whole number from 1",
        ),
        (
            "barcode,well,reason\nР1,A1,x\n".encode(),
            "e, line 2: unknown plate; got 'Р1', expected a plate of the layout",
        ),
        (b"barcode,well,reason\nP1,A1," + b"x" * 200_000 + b"\n", "e, line 2: the line cannot be split into cells"),
    ],
    ids=["nul", "utf-16", "attempt", "look-alike", "long line"],
)
def test_exclusion_logs(text, line):
    found = refused(read_exclusions, {"e": text}.__getitem__, "e", ["P1"], 96)
    assert found.replace("e, line 2: control", "e: control").startswith(line)


def test_ids_of_a_layout_can_be_seen():
    table = "barcode,well,role,perturbation\nP1,A1,sample,CPD\u202e1\n".encode()
    line = refused(read_layout, "table", {"platemap.csv": table}.__getitem__, 96)
    expected = "1 to 200 printable characters without blanks at the ends"
    assert line == f"plate 'P1': unusable id, well A01; got 'CPD\\u202e1', expected {expected}"


# Plate files


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"plate,well,value\nP\0,A1,1\n", "NUL byte in the text"),
        ("plate,well,value\nP1,A1,1\n".encode("utf-16"), "looks like UTF-16, expected UTF-8"),
        (b"plate,well,value\nP1,A1,\xff\n", "not UTF-8 at byte 23"),
        ("plate,well,value\nP\u202e1,A1,1\n".encode(), "barcode 'P\\u202e1', expected 1 to 200 printable characters"),
        (
            b"plate,well,value\nP1,A1," + b"1" * 200_000 + b"\n",
            "cannot be split into cells: field larger than field limit",
        ),
        (b"PK\3\4" + b"x" * 50, "this is a zip file or an Excel workbook, expected text"),
        (b"\x1f\x8b" + b"x" * 50, "this is a gzip file, expected text"),
    ],
    ids=["nul", "utf-16", "latin", "bidi", "long", "zip", "gzip"],
)
def test_plate_files_of_text(data, reason):
    assert reason in refused(read_plate_file, data, "w.csv", SINGLE, 96)


@pytest.mark.parametrize("cell", ["nan?", "inf", "-Infinity", "1e999", "=1+1", "0x1F", "1_000"])
def test_what_is_no_number_is_none(cell):
    plate = read_plate_file(f"plate,well,value\nP1,A1,{cell}\n".encode(), "w.csv", SINGLE, 96)[0]
    assert plate.problems[0].reason.startswith(f"not a finite number; got {cell!r}, expected a number")


def parquet(columns) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue()


def test_parquet_that_expands():
    rows = 20_000_000
    well = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["A1"]))
    many = parquet({"plate": well, "well": well, "value": pa.array(np.zeros(rows, np.float32))})
    assert len(many) < 250_000
    assert "bytes claim to hold 60,000,000 values" in refused(read_plate_file, many, "w.parquet", SINGLE, 96)
    rows = 10_000
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["A" * 1_000_000]))
    wide = parquet({"plate": long, "well": long, "value": pa.array(np.zeros(rows))})
    assert "a text of 1,000,000 bytes in column 'plate', expected" in refused(
        read_plate_file, wide, "w.parquet", SINGLE, 96
    )


def changed_h5ad(change) -> bytes:
    (files, _) = binary_plates("h5ad")["one"]
    buffer = io.BytesIO(next(iter(files.values())))
    with h5py.File(buffer, "r+") as file:
        change(file)
    return buffer.getvalue()


def huge(file):
    del file["X"]
    file.create_dataset("X", shape=(10**7, 10**6), dtype="f8", chunks=(1000, 1000), compression="gzip")


def other_file(file):
    del file["X"]
    file["X"] = h5py.ExternalLink("/etc/passwd", "/X")


def other_bytes(file):
    del file["X"]
    file.create_dataset("X", shape=(192, 1), dtype="u1", external=[("/etc/passwd", 0, 192)])


def endless_text(file):
    del file["obs/well"]
    file.create_dataset("obs/well", shape=(10**9,), dtype=h5py.string_dtype(), chunks=(10**5,))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (huge, "10,000,000 rows × 1,000,000 columns, expected at most"),
        (other_file, "X is a link to another file"),
        (other_bytes, "/X takes its values from other files"),
        (endless_text, "bytes claim to hold more than 64,000,000 in /obs/well"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_plates_as_hdf5(change, reason):
    assert reason in refused(read_plate_file, changed_h5ad(change), "w.h5ad", SINGLE, 96)


# Libraries


def library(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return refused(read_library, LibrarySection(uri=str(tmp_path / name)))


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["A,1", "\u202eB,2"], "unusable perturbation id; got '\\u202eB', expected 1 to 200 printable characters"),
        (["CPD-1,1", "СPD-1,2"], "two perturbation ids look the same; got 'CPD-1' and '\\u0421PD-1'. Write ids that"),
        (["é,1", "e\u0301,2"], "two perturbation ids look the same; got '\\xe9' and 'e\\u0301'"),
        (["A1,1", "Ａ１,2"], "two perturbation ids look the same; got 'A1' and '\\uff21\\uff11'"),
        (["A,1", "B,inf"], "a feature is not a finite number; got inf for 'B' in 'f'"),
        (["A,1", "A,2"], "perturbation ids are not unique; got 'A' more than once"),
    ],
    ids=["bidi", "cyrillic", "accent", "width", "infinity", "double"],
)
def test_libraries_of_text(tmp_path, rows, reason):
    assert reason in library(tmp_path, "l.csv", "\n".join(["perturbation,f", *rows, ""]).encode())


def test_a_column_that_stands_twice(tmp_path):
    assert "column 'f' stands there more than once" in library(tmp_path, "l.csv", b"perturbation,f,f\nA,1,2\nB,3,4\n")


def test_ids_that_are_bytes(tmp_path):
    sink = io.BytesIO()
    pq.write_table(pa.table({"perturbation": pa.array([b"\xe8\x01", b"b"], pa.binary()), "f": [1.0, 2.0]}), sink)
    assert "column 'perturbation' is not text; got 'utf-8' codec" in library(tmp_path, "l.parquet", sink.getvalue())


def test_a_zarr_library_that_claims_to_be_huge(tmp_path):
    files = encode(Payload("anndata", library_anndata()))
    head = json.loads(files["obsm/doubled/zarr.json"])
    head["shape"] = [10**7, 10**6]
    files["obsm/doubled/zarr.json"] = json.dumps(head).encode()
    for name, data in files.items():
        (tmp_path / "l.zarr" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "l.zarr" / name).write_bytes(data)
    line = refused(read_library, LibrarySection(uri=str(tmp_path / "l.zarr")))
    assert "the library is not AnnData; got" in line
    assert "bytes claim to hold 40,000,000,0" in line


# Messages


def test_a_message_is_one_line_whatever_it_quotes():
    hostile = "a\x1b[2Jb\n\u202ec\u2028d\0"
    assert one_line(hostile) == "a\\x1b[2Jb \\u202ec d\\x00"
    assert len(one_line("x" * 10**6)) < 2100
    assert str(UserError("what", where=hostile)) == "a\\x1b[2Jb \\u202ec d\\x00: what"


def test_no_payload_of_another_kind_is_taken():
    for kind in ("array", "tensors", "table", "json", "anndata"):
        with pytest.raises(UnreadablePayload):
            decode(kind, {"": b"\x80\x04K\x01."})


@pytest.mark.parametrize("part", ["obs/perturbation", "obs/n"])
def test_a_payload_that_claims_to_be_huge(tmp_path, part):
    files = encode(Payload("anndata", library_anndata()))
    head = json.loads(files[f"{part}/zarr.json"])
    head["shape"] = [2**31, *head["shape"][1:]]
    files[f"{part}/zarr.json"] = json.dumps(head).encode()
    storage = Storage(str(tmp_path))
    for name, data in files.items():
        storage.write(f"v/value.zarr/{name}", data)
    ref = Ref(uri="v/value.zarr", sha256=content_digest(file_digests(files)), kind="anndata")
    line = refused(CheckpointStore(storage).load, ref)
    assert line.startswith(f"{tmp_path}/v/value.zarr is damaged: not anndata: {part}: ")
    assert "bytes claim to hold 2147483648" in line


def test_texts_of_a_payload_that_claim_to_be_many():
    files = encode(Payload("anndata", library_anndata()))
    (name,) = [name for name in files if name.startswith("obs/perturbation/c")]
    texts = bytes(Zstd().decode(files[name]))
    files[name] = bytes(Zstd().encode((2**32 - 1).to_bytes(4, "little") + texts[4:]))
    line = refused(decode, "anndata", files)
    assert line.startswith("not anndata: obs/perturbation: ")
    assert line.endswith("bytes claim to hold 4294967295 texts")


def test_a_payload_without_room_says_so_and_is_not_called_damaged(tmp_path, monkeypatch):
    storage = Storage(str(tmp_path))
    storage.write("v.npy", encode(Payload("array", np.zeros(3)))[""])
    ref = Ref(uri="v.npy", sha256=sha256(storage.read("v.npy")), kind="array")
    monkeypatch.setattr(np.lib.format, "read_array", lambda *given, **options: np.empty(2**60, dtype="u1"))
    assert refused(CheckpointStore(storage).load, ref).startswith(
        f"{tmp_path}/v.npy: not enough memory to read array: "
    )


def test_a_good_example_is_read():
    assert config().campaign.name == "pilot"
    assert pd.notna(1)
    assert RejectedInput
