"""A small campaign on a made-up library, with a lab that answers through files alone."""

import hashlib
import shutil
from copy import copy as shallow_copy
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from tasks.campaigns.ledger import Ledger
from tasks.campaigns.reading import read_config
from tasks.labs.replay import LabConfig, ReplayLab
from tasks.labs.rounds import answer_round

N = 240


def made_up_screen():
    """Features (N, 5) and values: smooth in three of them, two do not matter."""
    rng = np.random.default_rng(42)
    features = rng.normal(size=(N, 5))
    values = 2 * np.sin(features[:, 0]) + features[:, 1] * features[:, 2] - 0.5 * features[:, 1]
    ids = [f"CPD-{i:04d}" for i in range(N)]
    table = pd.DataFrame(features, columns=[f"f{i}" for i in range(5)])
    table.insert(0, "perturbation", ids)
    return table, pd.DataFrame({"perturbation": ids, "value": values})


def set_value(content, path, value):
    """Set `section__key`, or a key of the top level."""
    *section, key = path.split("__")
    (content.setdefault(section[0], {}) if section else content)[key] = value


class Pilot:
    """The campaign in one folder."""

    def __init__(self, folder: Path, storage: str | None = None, failures=(), **changes):
        folder.mkdir(parents=True, exist_ok=True)
        library, values = made_up_screen()
        library.to_csv(folder / "library.csv", index=False)
        content = {
            "campaign": {"name": "pilot", "seed": 5, "storage": storage or "campaigns"},
            "library": {"uri": "library.csv"},
            "readout": {"kind": "continuous", "tolerance": 1.0, "unit": "log units"},
            "plates": {
                "format": 96,
                "negcon": {"wells": ["A01:H04"], "nominal": 0.0},
                "poscon": {"wells": ["A09:H12"], "nominal": 6.0},
                "initial": 3,
                "per_round": 2,
            },
            "alignment": {"method": "two-point"},
            "ensemble": {"members": 4, "hidden": [16], "epochs": 25, "patience": 25},
            "operators": {"sketch": 8, "features": 4},
            "quality": {"min_passed": 0.5},
            "batch": {"audit": 0.15, "adaptive": {"repeats": 2}},
            "stopping": {"gamma": 0.97, "max_rounds": 4},
            "compute": {"chunk_rows": 100},
        }
        for path, value in changes.items():
            set_value(content, path, value)
        self.folder, self.path, self.values = folder, folder / "campaign.yaml", values
        self.content = content
        self.write()
        self.lab = ReplayLab(
            values, LabConfig(seed=1, well_noise=0.2, poscon_value=6.0, negcon_value=0.0, failures=failures)
        )

    def write(self, **changes):
        """Change the configuration file by dotted path."""
        for path, value in changes.items():
            set_value(self.content, path, value)
        self.path.write_text(yaml.safe_dump(self.content))

    @property
    def config(self):
        return read_config(self.path)

    @property
    def ledger(self):
        return Ledger.of(self.config)

    def open(self):
        from flows.campaign import open_campaign

        return open_campaign(str(self.path))

    def answer(self, number):
        """The lab measures what a round still lacks."""
        return answer_round(self.ledger.storage, self.lab, number)

    def round(self, number=None, plan=False):
        from flows.round import run_round

        return run_round(str(self.path), number, plan)

    def through(self, last):
        """Open, then answer and compute every round up to `last`; the last result."""
        self.open()
        for number in range(last + 1):
            self.answer(number)
            result = self.round()
        return result

    def copy(self, folder: Path):
        """The same campaign in another folder, as it stands."""
        shutil.copytree(self.folder, folder)
        twin = shallow_copy(self)
        twin.folder, twin.path, twin.content = folder, folder / "campaign.yaml", deepcopy(self.content)
        return twin

    def digests(self, number):
        """Digest of every output of the newest run of a round, by (node, output)."""
        lock = self.ledger.runs(number)[-1].lock
        return {(name, output): ref.sha256 for name, node in lock.nodes.items() for output, ref in node.outputs.items()}

    def files(self):
        """Digest of every file of the campaign."""
        storage = self.ledger.storage
        return {path: hashlib.sha256(data).hexdigest() for path, data in storage.read_many(storage.list()).items()}


def computed(result):
    """Names of the nodes that were computed."""
    return {event.node for event in result.computed}
