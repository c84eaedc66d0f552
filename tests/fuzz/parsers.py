"""Every parser of the project that reads what somebody else wrote, each with good examples and a way to call it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import examples
import numpy as np
from mutation import Files

from flows.inspection import campaign_status, list_plates
from flows.results import Result
from flows.verifying import verify_campaign
from tasks.campaigns.answers import read_answers
from tasks.campaigns.config import LibrarySection, ReadoutSection
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.library import read_library
from tasks.campaigns.marks import read_marks
from tasks.campaigns.reading import read_config
from tasks.campaigns.screens import published_screens
from tasks.checkpoints.lazy import open_group
from tasks.checkpoints.payloads import content_digest, encode, file_digests
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.readouts.ingest import match_plates, read_plate_file, resolve_copies
from tasks.readouts.layouts import folder_source, read_exclusions, read_layout
from tasks.readouts.screens import read_screen_config

Read = Callable[[Files, Path], object]


@dataclass(frozen=True)
class Parser:
    """What is fuzzed.

    Attributes:
        cases: Good files, each with the call that reads files like them.
        share: How many of the cases are its own, relative to the others.
        hostile_names: Whether names of files may be hostile too.
    """

    cases: Sequence[tuple[Files, Read]]
    share: float = 1.0


def _plates(given: dict[str, tuple[Files, ReadoutSection]]) -> list[tuple[Files, Read]]:
    plan = examples.platemap()

    def reader(section: ReadoutSection) -> Read:
        def read(files: Files, folder: Path) -> object:
            plates = [plate for name, data in files.items() for plate in read_plate_file(data, name, section, 96)]
            kept, _ = resolve_copies(plates)
            heads = [(plate.head, plate.key) for plate in (plate.head for plate in kept)]
            return heads, match_plates(kept, plan, section)

        return read

    return [(files, reader(section)) for files, section in given.values()]


def _layout(files: Files, style: str, **options: Any) -> tuple[Files, Read]:
    def read(given: Files, folder: Path) -> object:
        write(folder, given)
        return read_layout(style, folder_source(folder), 96, **options)

    return files, read


def _exclusions(files: Files, folder: Path) -> object:
    return [read_exclusions(files.__getitem__, name, ["P1", "P2"], 96) for name in files]


_THERE: dict[Path, Files] = {}  # what `write` left in a folder: only differences are written


def write(folder: Path, files: Files) -> None:
    """Files into a folder; nothing else is in it then."""
    there = _THERE.get(folder)
    if there is None:
        shutil.rmtree(folder, ignore_errors=True)
        there = {}
    for name in there.keys() - files.keys():
        (folder / name).unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        if there.get(name) != data:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    _THERE[folder] = dict(files)


def _in_folder(call: Callable[[Path], object]) -> Read:
    def read(files: Files, folder: Path) -> object:
        write(folder, files)
        return call(folder)

    return read


def _library(name: str, **section: Any) -> Read:
    return _in_folder(lambda folder: read_library(LibrarySection(uri=str(folder / name), **section)))


def _zarr(content: Any) -> Files:
    return {f"l.zarr/{name}": data for name, data in encode(examples.Payload("anndata", content)).items()}


def _of_campaign(part: str, call: Callable[[Ledger], object], folder: Path) -> tuple[Files, Read]:
    """Files of a campaign below a prefix are mutated; the rest of it is as it should be."""
    whole = examples.campaign(folder / "good")

    def read(files: Files, place: Path) -> object:
        others = {path: data for path, data in whole.items() if not path.startswith(part)}
        write(place, others | files)
        return call(Ledger(Storage(str(place))))

    return {path: data for path, data in whole.items() if path.startswith(part)}, read


def _everything(ledger: Ledger) -> Sequence[object]:
    """All that the commands `status`, `plates list` and `verify` ask of the books."""
    config = examples.config()
    parent, _, name = ledger.storage.url.rpartition("/")
    campaign = config.campaign.model_copy(update={"storage": parent, "name": name})
    config = config.model_copy(update={"campaign": campaign})
    calls: list[Callable[[Any], Result]] = [campaign_status, list_plates, verify_campaign]
    return [call(config) for call in calls]


def _manifests(ledger: Ledger) -> object:
    store = CheckpointStore(ledger.storage)
    found = store.find("fit", "ab" * 32)
    loaded = [] if found.manifest is None else [store.load(ref) for ref in found.manifest.refs().values()]
    return found, loaded, [store.damage(manifest) for _, manifest in store.manifests() if manifest is not None]


def _payload(kind: Any) -> tuple[Files, Read]:
    """A payload whose digest is that of the hostile content: what decoding alone must withstand."""
    suffix = {"array": "npy", "tensors": "safetensors", "table": "parquet", "json": "json", "text": "txt"}
    name = f"v/value.{suffix.get(kind, 'zarr')}"
    good = {f"{name}/{file}" if file else name: data for file, data in encode(examples.payloads()[kind]).items()}

    def read(files: Files, folder: Path) -> object:
        write(folder, files)
        inner = {path[len(name) + 1 :]: data for path, data in files.items()}
        if not inner:
            return None
        ref = Ref(uri=name, sha256=content_digest(file_digests(inner)), kind=kind)
        store = CheckpointStore(Storage(str(folder)))
        value = store.load(ref)
        if kind == "anndata":
            group = open_group(store, ref)
            return np.asarray(group["X"][:2]) if "X" in group else None
        return value

    return good, read


def parsers(folder: Path) -> dict[str, Callable[[], Parser]]:
    """Parsers by name; calling one makes its examples in `folder`."""
    library = examples.library_table
    tables = {
        "csv": library().to_csv(index=False).encode(),
        "tsv": library().to_csv(index=False, sep="\t").encode(),
    }
    layouts = {
        "cellhts2": lambda: _layout(examples.CELLHTS2, "cellhts2", annotation="ids.txt", id="Gene"),
        "jump": lambda: _layout(
            examples.JUMP,
            "jump",
            metadata=["meta.tsv"],
            id="InChIKey",
            dose=None,
            run="Batch_Number",
            blank="other",
            exclusions="exclusions.csv",
        ),
        "table": lambda: _layout(examples.TABLE, "table", exclusions="exclusions.csv"),
    }
    config, screen = {"campaign.yaml": examples.CONFIG.encode()}, {"screen.yaml": examples.SCREEN.encode()}
    logs = {"exclusions.csv": examples.TABLE["exclusions.csv"]}
    found: dict[str, Callable[[], Parser]] = {
        "plates: text": lambda: Parser(_plates(examples.text_plates()), 4),
        "plates: parquet": lambda: Parser(_plates(examples.binary_plates("parquet")), 2),
        "plates: anndata": lambda: Parser(_plates(examples.binary_plates("h5ad")), 0.15),
        "exclusion log": lambda: Parser([(logs, _exclusions)]),
        "campaign yaml": lambda: Parser([(config, _in_folder(lambda f: read_config(f / "campaign.yaml")))], 2),
        "screen yaml": lambda: Parser([(screen, _in_folder(lambda f: read_screen_config(f / "screen.yaml")))], 2),
        "library: text": lambda: Parser(
            [({f"l.{form}": data}, _library(f"l.{form}")) for form, data in tables.items()]
        ),
        "library: parquet": lambda: Parser([({"l.parquet": _parquet()}, _library("l.parquet"))]),
        "library: h5ad": lambda: Parser([({"l.h5ad": _h5ad_library()}, _library("l.h5ad"))], 0.15),
        "library: zarr": lambda: Parser([(_zarr(examples.library_anndata()), _library("l.zarr"))], 0.15),
    }
    found |= {f"layout: {name}": lambda make=make: Parser([make()]) for name, make in layouts.items()}
    books: dict[str, tuple[str, Callable[[Ledger], object]]] = {
        "manifests": ("checkpoints/", _manifests),
        "locks": ("rounds/0000/runs/", lambda ledger: [ledger.runs(0), ledger.looks(), _everything(ledger)]),
        "designs": ("rounds/0000/design/", lambda ledger: [ledger.designs(), _everything(ledger)]),
        "answers": ("rounds/0000/answers/", lambda ledger: read_answers(ledger.storage, [0])),
        "marks": ("rounds/0000/marks/", lambda ledger: [read_marks(ledger.storage, [0]), _everything(ledger)]),
        "screens": ("screens/", lambda ledger: [published_screens(ledger.storage), _everything(ledger)]),
        "revisions": ("revisions/", lambda ledger: [ledger.config(number) for number in ledger.revisions()]),
        "library manifest": ("library/manifest.json", lambda ledger: [ledger.library(), _everything(ledger)]),
    }
    found |= {
        f"books: {name}": lambda part=part, call=call: Parser([_of_campaign(part, call, folder)], 0.5)
        for name, (part, call) in books.items()
    }
    kinds = ["anndata", "table", "array", "tensors", "json", "text"]
    found |= {f"payload: {kind}": lambda kind=kind: Parser([_payload(kind)], 0.5) for kind in kinds}
    return found


def _parquet() -> bytes:
    return examples.library_table().to_parquet(index=False)


def _h5ad_library() -> bytes:
    import io

    import anndata
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        anndata.io.write_elem(file, "/", examples.library_anndata())
    return buffer.getvalue()
