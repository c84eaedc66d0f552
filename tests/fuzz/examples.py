"""Good files, from which hostile ones are made: what labs upload, what users write, what the project stores itself."""

from __future__ import annotations

import io
import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse
import yaml
from mutation import Files

from tasks.campaigns.answers import Answer, write_answer
from tasks.campaigns.config import CampaignConfig, ReadoutColumns, ReadoutSection
from tasks.campaigns.designs import release, table_text
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.lifecycle import PlateState
from tasks.campaigns.marks import Mark, write_mark
from tasks.campaigns.reading import parse_config
from tasks.campaigns.screens import claim_screen
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.records import NodeRecord, RoundLock
from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import CheckpointStore
from tasks.readouts.layouts.model import Well, build_platemap
from tasks.readouts.wells import plate_wells

SINGLE = ReadoutSection(tolerance=1.0)
SEVERAL = ReadoutSection(tolerance=1.0, features=("Cells_*",), output="Cells_1")
POSITIONAL = ReadoutSection(tolerance=1.0, columns=ReadoutColumns(plate=1, well=2, value=3))

CONFIG = """\
campaign: {name: pilot, storage: campaigns, seed: 3}
library: {uri: library.csv, id: perturbation, features: X}
readout:
  kind: continuous
  tolerance: 0.5
  columns: {plate: plate, well: well, value: value}
plates:
  format: 96
  negcon: {wells: ["A01:D01"], nominal: 0, reagent: DMSO}
  poscon: {wells: ["A12"], nominal: 5}
  initial: 2
quality: {min_zprime: 0.2, poscon_reads: lower}
alignment: {method: two-point}
ensemble: {model: mlp, members: 4, hidden: [16]}
batch:
  audit: 0.1
  slots:
    - {strategy: expected-improvement, share: 0.7}
    - {strategy: random, share: 0.3}
stopping: {gamma: 0.9, risk: 0.05, rule: audit or budget}
compute: {dask: local, workers: 2}
approval: required
"""
SCREEN = """\
screen:
  name: pilot
  folder: raw
  files: "*.csv"
  layout: {style: cellhts2, platelist: Platelist.txt, annotation: ids.txt, id: Gene, controls: {GFP: negcon}}
readout: {columns: {plate: 1, well: 2, value: 3}, transform: log2}
plates: {format: 96}
quality: {min_gap_share: 0.5}
alignment: {method: plate-median, min_controls: 1}
"""
CELLHTS2: Files = {
    "Platelist.txt": b"Filename\tPlate\tReplicate\tBatch\na.txt\t1\t1\tmon\nb.txt\t1\t2\tmon\nc.txt\t2\t1\ttue\n",
    "Plateconf.txt": b"Wells: 96\nPlates: 2\nPlate\tWell\tContent\n*\t*\tsample\n*\tA0[1-2]\tother\n1\tB01\tneg\n"
    b"*\tB02\tpos\n",
    "Screenlog.txt": b"Plate\tSample\tWell\tFlag\tComment\n2\t1\tC3\tNA\tContamination\n1\t2\tC03\tNA\t\n",
    "ids.txt": b"Plate\tWell\tGene\tSymbol\n1\tA03\tCG1\tNA\n1\tA04\tNA\tx\n2\tA03\tCG2\tyellow\n",
}
JUMP: Files = {
    "barcode_platemap.csv": b"Assay_Plate_Barcode,Plate_Map_Name,Batch_Number\nBR2,MAP-1,2\nBR1,MAP-1,1\nBR3,MAP-2,1\n",
    "platemap/MAP-1.txt": b"well_position\tbroad_sample\tmmoles_per_liter\nA01\tBRD-A\t5.0\nA02\t\t\na3\tBRD-P\t5.0\n",
    "platemap/MAP-2.txt": b"well_position\tbroad_sample\tmmoles_per_liter\nA01\tBRD-B\t1.e-001\nA02\tBRD-A\t5\n",
    "meta.tsv": b"broad_sample\tInChIKey\tpert_type\tcontrol_type\nBRD-A\tTZDU\ttrt\tNA\nBRD-B\t\ttrt\tNA\n"
    b"BRD-P\tMTJH\tcontrol\tposcon_cp\nNA\tIAZD\tcontrol\tnegcon\n",
    "exclusions.csv": b"barcode,well,reason\nBR1,A1,leaked\n",
}
TABLE: Files = {
    "platemap.csv": b"barcode,well,role,perturbation,reagent,replicate,row,column,gene\nP1,A1,negcon,,,0,0,0,\n"
    b"P1,B01,sample,X,g1,1,1,0,tp53\nP2,B01,sample,X,g2,2,1,0,tp53\n",
    "exclusions.csv": b"barcode,well,attempt,reason\nP1,B1,,leaked\nP2,B01,2,leaked too\n",
}


def platemap() -> pd.DataFrame:
    """Plate maps of the plates P1 and P2: column 1 negcon, all else samples."""
    samples = [well for well in plate_wells(96) if not well.endswith("01")]
    wells = {well: Well("sample", f"X{i}") for i, well in enumerate(samples)}
    wells |= {well: Well("negcon") for well in plate_wells(96) if well.endswith("01")}
    return build_platemap({name: (number, wells) for number, name in enumerate(["P1", "P2"], start=1)}, 96)


def plate_values(features: int = 1) -> pd.DataFrame:
    """Wells of two plates, real ones of the KcViab screen where HYBRIDSCREEN_DATA says where it is."""
    folder = os.environ.get("HYBRIDSCREEN_DATA")
    names = ["value"] if features == 1 else [f"Cells_{i}" for i in range(features)]
    table = pd.DataFrame([(name, well) for name in ("P1", "P2") for well in plate_wells(96)], columns=["plate", "well"])
    if folder:
        real = pd.read_parquet(Path(folder) / "kcviab/kcviab.parquet")["value"].dropna().to_numpy()
        numbers = real[: len(table) * features].reshape(len(table), features)
    else:
        numbers = np.random.default_rng(features).normal(1e4, 1e3, (len(table), features)).round(3)
    return pd.concat([table, pd.DataFrame(numbers, columns=names)], axis=1)


def text_plates() -> dict[str, tuple[Files, ReadoutSection]]:
    """Plate files as text: named columns, several features, positions, grids, a real one."""
    one, many = plate_values(), plate_values(3)
    single = one.assign(run="R00", attempt=1, perturbation="", role="").to_csv(index=False).encode()
    bare = one[one["plate"] == "P1"].to_csv(index=False, header=False, sep="\t").encode()
    found = {
        "named": ({"week 1.csv": single}, SINGLE),
        "features": ({"profiles.csv": many.to_csv(index=False, sep=";").encode()}, SEVERAL),
        "positional": ({"P1.txt": bare}, POSITIONAL),
        "grid": ({"reader.csv": _grids(one)}, SINGLE),
        "grid of features": ({"reader.txt": _grids(many)}, SEVERAL),
    }
    folder = os.environ.get("HYBRIDSCREEN_DATA")
    real = sorted((Path(folder) / "kcviab/raw").glob("*G01*")) if folder else []
    return found | {path.name: ({path.name: path.read_bytes()}, POSITIONAL) for path in real[:2]}


def _grids(table: pd.DataFrame) -> bytes:
    blocks = []
    names = [name for name in table.columns if name not in ("plate", "well")]
    for barcode, plate in table.groupby("plate"):
        for name in names:
            title = f"Plate: {barcode}" + (f",Feature: {name}" if len(names) > 1 else "")
            rows = plate[name].to_numpy().reshape(8, 12)
            lines = [f"{'ABCDEFGH'[at]}," + ",".join(f"{value:g}" for value in row) for at, row in enumerate(rows)]
            blocks.append("\n".join([title, "," + ",".join(map(str, range(1, 13))), *lines]) + "\n")
    return "\n".join(blocks).encode()


def binary_plates(form: str) -> dict[str, tuple[Files, ReadoutSection]]:
    """The same plates as Parquet or AnnData."""
    found = {}
    for name, table, section in (("one", plate_values(), SINGLE), ("several", plate_values(3), SEVERAL)):
        if form == "parquet":
            buffer = io.BytesIO()
            table.assign(run="R00", attempt=1).to_parquet(buffer, index=False)
            found[name] = ({f"{name}.parquet": buffer.getvalue()}, section)
        else:
            found[name] = (
                {f"{name}.h5ad": _h5ad(table[["plate", "well"]], table.drop(columns=["plate", "well"]))},
                section,
            )
    return found


def _h5ad(obs: pd.DataFrame, numbers: pd.DataFrame) -> bytes:
    import h5py

    rows = obs.set_index(pd.Index([str(i) for i in range(len(obs))]))
    content = anndata.AnnData(numbers.to_numpy(), obs=rows, var=pd.DataFrame(index=numbers.columns))
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        anndata.io.write_elem(file, "/", content)
    return buffer.getvalue()


def library_table(rows: int = 12) -> pd.DataFrame:
    """A library as a table."""
    rng = np.random.default_rng(rows)
    table = pd.DataFrame(rng.normal(size=(rows, 3)).round(3), columns=["weight", "logp", "tpsa"])
    table.insert(0, "perturbation", [f"CPD-{i:04d}" for i in range(rows)])
    return table.assign(name=[f"drug {i}" for i in range(rows)], veto=[i % 2 == 0 for i in range(rows)])


def library_anndata() -> anndata.AnnData:
    """A library as AnnData, with sparse features, categories and a second set of features."""
    table = library_table().set_index("perturbation")
    features = table[["weight", "logp", "tpsa"]].to_numpy(dtype=np.float32)
    obs = table[["name"]].assign(kind=pd.Categorical(["a", "b"] * 6), n=range(12))
    content = anndata.AnnData(X=scipy.sparse.csr_matrix(features), obs=obs)
    content.obsm["doubled"] = 2 * features
    content.uns["note"] = {"by": "lab", "n": 3}
    return content


def payloads() -> dict[str, Payload]:
    """A value of every kind that a checkpoint can hold."""
    rng = np.random.default_rng(0)
    small = anndata.AnnData(X=rng.normal(size=(6, 2)).astype(np.float32), obs=pd.DataFrame(index=list("abcdef")))
    return {
        "anndata": Payload("anndata", small),
        "table": Payload("table", library_table()),
        "array": Payload("array", rng.normal(size=(5, 3))),
        "tensors": Payload("tensors", {"weight": rng.normal(size=(4, 2)), "bias": np.zeros(3, dtype=np.float32)}),
        "json": Payload("json", {"a": [1, 2.5, None], "b": {"c": "d"}}),
        "text": Payload("text", "barcode,well\nP1,A01\n"),
    }


def config() -> CampaignConfig:
    """The configuration of the campaign that `campaign` writes."""
    return parse_config(CONFIG, "campaign.yaml")


def campaign(folder: Path) -> Files:
    """Everything that a campaign stores, written by the functions that write it: a round, run, mark, answer, screen."""
    storage = Storage(str(folder))
    ledger = Ledger(storage)
    ledger.revise(config())
    content = anndata.AnnData(X=np.ones((2, 2), dtype=np.float32), obs=pd.DataFrame(index=["X0", "X1"]))
    ledger.register_library(content)
    batch = pd.DataFrame({"perturbation": ["X0", "X1"], "action": "measure", "arm": ["audit", "initial"]})
    batch = batch.assign(slot="initial", rank=0, score=[np.nan, 0.25], mode=-1, reason="drawn")
    release(storage, 0, {"platemap.csv": table_text(platemap()), "batch.csv": table_text(batch)}, "open")
    facts = {"why": "new", "started": "", "ended": "", "seconds": 0.1, "worker": "", "flow_run": None, "versions": {}}
    facts |= {"node": "fit", "version": 1, "params": {"n": 1}, "inputs": {}, "seed": 3}
    saved = CheckpointStore(storage).save("fit", "ab" * 32, payloads(), facts)
    node = NodeRecord(
        node="fit", stage="fit", version=1, key="ab" * 32, params={"n": 1}, seed=3, inputs={}, outputs=saved.refs()
    )
    run = ledger.claim_run(RoundLock(campaign="pilot", round=0, nodes={"fit": node}, versions={"numpy": "2"}))
    screen = {"screen.csv": b"perturbation,value\nX0,1\n", "card.md": b"# card\n"}
    where = claim_screen(storage, 0, run.number, screen)
    summary = {
        "status": "decided",
        "screen": where,
        "round": 0,
        "run": 1,
        "bound": 0.9,
        "estimate": 0.95,
        "wells_used": 9,
    }
    plates = "round,barcode,attempt,run,state,reason\n0,P1,1,R00,passed,\n0,P2,1,R00,failed,zprime\n"
    files = {"decision.json": '{"stop": false, "reason": "go on", "bound": 0.9}\n', "plates.csv": plates}
    ledger.publish_run(run, where, screen, files, summary)
    write_mark(storage, Mark(0, "P2", 1, PlateState.WAIVED, "harmless", "2026-01-01T00:00:00+00:00"))
    write_answer(storage, Answer(0, 1, "veto", ("X1",), "toxic", "2026-01-01T00:00:00+00:00"))
    return storage.read_many(storage.list())


def as_yaml(content: object) -> bytes:
    """YAML of a structure."""
    return yaml.safe_dump(content).encode()
