"""States of campaigns as large as asked for, written as files: nothing is computed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from anndata import AnnData

from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.designs import round_folder, table_text
from tasks.campaigns.reading import dump_config, read_config
from tasks.checkpoints.keys import sha256
from tasks.checkpoints.manifest import Manifest, StoredFile, StoredPayload
from tasks.checkpoints.payloads import Payload, encode, encode_json
from tasks.checkpoints.records import NodeRecord, RoundLock
from tasks.checkpoints.store import checkpoint_folder, describe
from tasks.publishing.formats import CARD, CSV, ZARR

WELLS = 96
FEATURES = 4
NEW_NODES = 40  # checkpoints that a round adds besides those of its plates
PLATES = 2  # plates of a round


class State:
    """One campaign: `rounds` decided rounds, `inbox` uploads, a library of `library`, `stray` unreferenced checkpoints.

    Args:
        folder: Where the campaign's file and, below `bucket`, its files go.
        name: Of the campaign.
    """

    def __init__(self, folder: Path, name: str = "load") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.root, self.path = folder / "bucket" / name, folder / f"{name}.yaml"
        content = {
            "campaign": {"name": name, "seed": 1, "storage": "bucket"},
            "library": {"uri": "library.csv"},
            "readout": {"kind": "continuous", "tolerance": 1.0},
            "plates": {
                "format": WELLS,
                "negcon": {"wells": ["A01:H02"], "nominal": 0.0},
                "poscon": {"wells": ["A11:H12"], "nominal": 6.0},
                "initial": PLATES,
                "per_round": PLATES,
            },
            "alignment": {"method": "two-point"},
        }
        self.path.write_text(yaml.safe_dump(content), encoding="utf-8")
        self.name = name

    @property
    def config(self) -> CampaignConfig:
        """The campaign's configuration."""
        return read_config(self.path)

    def build(self, rounds: int = 1, inbox: int = 2, library: int = 1000, stray: int = 0) -> State:
        """Write everything."""
        self._write("revisions/0001.yaml", dump_config(self.config).encode())
        self._library(library)
        known: dict[str, NodeRecord] = {}
        for number in range(rounds):
            self._design(number)
            self._run(number, known, library)
        self._design(rounds)
        for number in range(inbox):
            self._write(f"inbox/plate{number:05d}.csv", _upload(number))
        for number in range(stray):
            self._checkpoint(self._node(f"stray/{number}", "predict"))
        return self

    def _write(self, path: str, data: bytes) -> None:
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(data)

    def _library(self, count: int) -> None:
        payload = Payload("anndata", _table(count))
        files = encode(payload)
        stored = describe("library/library", payload, files)
        for path, data in zip(stored.paths(), files.values(), strict=True):
            self._write(path, data)
        self._write("library/manifest.json", encode_json(stored.model_dump(mode="json")))

    def _design(self, number: int) -> None:
        rows = [
            {"barcode": f"{self.name}-R{number:02d}-P{plate:02d}", "well": f"B{well:02d}", "role": "sample"}
            for plate in range(PLATES)
            for well in range(1, 13)
        ]
        platemap = pd.DataFrame(rows).assign(perturbation=[f"X{i:08d}" for i in range(len(rows))], replicate=1)
        batch = platemap[["perturbation"]].assign(arm="strategy", slot="", action="measure", score=0.0)
        texts = {"platemap.csv": table_text(platemap), "batch.csv": table_text(batch)}
        folder = f"{round_folder(number)}/design"
        digests = {name: sha256(text.encode()) for name, text in texts.items()}
        for name, text in texts.items():
            self._write(f"{folder}/{name}", text.encode())
        source = "open" if number == 0 else f"{round_folder(number - 1)}/runs/01"
        self._write(f"{folder}/design.json", encode_json({"round": number, "source": source, "files": digests}))

    def _node(self, name: str, stage: str) -> NodeRecord:
        key = sha256(f"{self.name} {name}".encode())
        data = name.encode() * 40
        uri = f"{checkpoint_folder(stage, key)}/value-{sha256(data)[:12]}.txt"
        ref = {"uri": uri, "sha256": sha256(data), "kind": "text"}
        return NodeRecord(
            node=name,
            stage=stage,
            version=1,
            key=key,
            params={"settings": {"a": 1.0, "b": "two"}},
            seed=1,
            inputs={f"input{i}": sha256(f"{name} {i}".encode()) for i in range(3)},
            outputs={"value": ref},
        )

    def _checkpoint(self, record: NodeRecord) -> None:
        ref, data, now = record.outputs["value"], record.node.encode() * 40, datetime.now(UTC).isoformat()
        file = StoredFile(sha256=ref.sha256, size=len(data))
        payload = StoredPayload(uri=ref.uri, kind="text", sha256=ref.sha256, shape=None, files={"": file})
        facts = record.model_dump(include={"key", "node", "stage", "version", "params", "inputs", "seed"})
        manifest = Manifest(
            **facts, payloads={"value": payload}, why="", started=now, ended=now, seconds=0, worker="", flow_run=None,
            versions={},
        )  # fmt: skip
        self._write(ref.uri, data)
        self._write(
            f"{checkpoint_folder(record.stage, record.key)}/manifest.json",
            encode_json(manifest.model_dump(mode="json")),
        )

    def _run(self, number: int, known: dict[str, NodeRecord], library: int) -> None:
        """A decided run: what is kept of all plates so far, and the nodes of its own."""
        plates = [f"{stage}/{number}.{plate}" for plate in range(PLATES) for stage in ("parse", "plate")]
        for name in plates:
            known[name] = self._node(name, name.split("/")[0])
        own = {name: self._node(name, "predict") for name in (f"step/{number}.{i}" for i in range(NEW_NODES))}
        for record in [*(known[name] for name in plates), *own.values()]:
            self._checkpoint(record)
        lock = RoundLock(campaign=self.name, round=number, nodes=dict(sorted({**known, **own}.items())), versions={})
        folder, screen = f"{round_folder(number)}/runs/01", f"screens/{number + 1:04d}"
        summary = {
            "round": number, "run": 1, "status": "decided", "screen": screen, "evidence": str(number), "stop": False,
            "bound": 0.5, "estimate": 0.6, "gamma": 0.9, "look": number + 1, "wells_used": 24, "risk_this_look": 0.001,
        }  # fmt: skip
        decision = {**summary, "reason": "Go on.", "wells_saved": 1, "wells_full_screen": library}
        book = [{"round": number, "barcode": f"{self.name}-R{at:02d}-P{plate:02d}", "attempt": 1, "run": f"R{at}",
                 "state": "passed", "reason": ""} for at in range(number + 1) for plate in range(PLATES)]  # fmt: skip
        self._write(f"{folder}/round.lock.json", encode_json(lock.model_dump(mode="json")))
        self._write(f"{folder}/plates.csv", pd.DataFrame(book).to_csv(index=False).encode())
        self._write(f"{folder}/decision.json", json.dumps(decision).encode())
        self._write(f"{folder}/run.json", encode_json(summary))
        self._screen(screen, number, summary, library)

    def _screen(self, folder: str, number: int, summary: dict[str, object], library: int) -> None:
        table = _table(library)
        table.obs.iloc[::100, 0] += 2.0 * (number % 2)  # one in a hundred differs from screen to screen
        table.var = pd.DataFrame({"kind": "continuous", "tolerance": 1.0}, index=table.var_names)
        table.uns["certificate"] = {"bound": 0.5 + number / 1000, "stop": False}
        files = {f"{ZARR}/{name}": data for name, data in encode(Payload("anndata", table)).items()}
        files |= {CARD: b"# card\n", CSV: b"perturbation\n"}
        for name, data in files.items():
            self._write(f"{folder}/{name}", data)
        claim = {"round": number, "run": 1, "files": {name: sha256(data) for name, data in sorted(files.items())}}
        self._write(f"{folder}/claim.json", encode_json(claim))
        self._write(f"{folder}/manifest.json", encode_json({**claim, "summary": summary}))


def _table(count: int) -> AnnData:
    rng = np.random.default_rng(1)
    obs = pd.DataFrame(
        {
            "value": rng.normal(size=count),
            "standard_error": np.full(count, 0.5),
            "source": pd.Categorical(np.where(np.arange(count) % 10 == 0, "measured", "predicted")),
            "flags": pd.Categorical(np.full(count, "")),
            "n": np.where(np.arange(count) % 10 == 0, 2, 0),
            "plates": pd.Categorical(np.full(count, "P1")),
            "round": np.zeros(count, dtype=np.int64),
        },
        index=[f"X{i:08d}" for i in range(count)],
    )
    return AnnData(rng.normal(size=(count, FEATURES)).astype(np.float32), obs=obs)


def _upload(number: int) -> bytes:
    lines = [f"load-P{number:05d},{row}{column:02d},{number}.{column}" for row in "ABCDEFGH" for column in range(1, 13)]
    return "\n".join(["plate,well,value", *lines, ""]).encode()
