"""Finished screens: read once into storage, and parted anew for every seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import anndata
import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.campaigns.library import read_library
from tasks.checkpoints.keys import derive_seed
from tasks.errors import UserError
from tasks.replays.settings import ProtocolSection, ReadoutSettings, ScreenSection

Array = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]

FEWEST = 50


@dataclass(frozen=True, eq=False)
class Screen:
    """A finished screen of N perturbations.

    Attributes:
        ids: (N,) perturbations.
        features: (N, d).
        measured: (N, k) readout of each replicate, in sds of the screen's mean readout from its mean.
        truth: (N,) what predictions are judged by, in the same unit.
    """

    ids: list[str]
    features: Features
    measured: Array
    truth: Array

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, rows: npt.NDArray[np.int64]) -> Screen:
        """Some of its perturbations."""
        ids = [self.ids[row] for row in rows.tolist()]
        return replace(
            self, ids=ids, features=self.features[rows], measured=self.measured[rows], truth=self.truth[rows]
        )


def read_screen(section: ScreenSection) -> anndata.AnnData:
    """A finished screen as it is stored: X (N, d) features, obs `measured.0` … and `truth`, in sds from the mean.

    Perturbations without a value are left out.

    Raises:
        UserError: The library cannot be read, a column is missing or no number, or too few perturbations have values.
    """
    library = read_library(section, without=[*section.value, *section.truth])
    measured = np.stack([_numbers(library.obs, name, section) for name in section.value], axis=1)
    truth = (
        measured if not section.truth else np.stack([_numbers(library.obs, n, section) for n in section.truth], axis=1)
    )
    whole = np.isfinite(measured).all(axis=1) & np.isfinite(truth).all(axis=1)
    if whole.sum() < FEWEST:
        raise UserError(
            "too few perturbations with values", where=section.uri, got=int(whole.sum()), expected=f"at least {FEWEST}"
        )
    label = measured[whole].mean(axis=1)
    if not label.std() > 0:
        raise UserError("all values are the same", where=section.uri, got=", ".join(section.value))
    kept = library[whole]
    obs = pd.DataFrame(index=kept.obs.index)
    for number in range(measured.shape[1]):
        obs[f"measured.{number}"] = (measured[whole, number] - label.mean()) / label.std()
    obs["truth"] = (truth[whole].mean(axis=1) - label.mean()) / label.std()
    return anndata.AnnData(X=np.asarray(kept.X, dtype=np.float32), obs=obs, var=pd.DataFrame(index=kept.var_names))


def as_screen(stored: anndata.AnnData) -> Screen:
    """What `read_screen` made, as arrays."""
    names = [name for name in stored.obs if str(name).startswith("measured.")]
    measured = stored.obs[names].to_numpy(dtype=np.float64)
    features = np.asarray(stored.X, dtype=np.float32)
    return Screen(stored.obs_names.tolist(), features, measured, stored.obs["truth"].to_numpy(dtype=np.float64))


def classes(screen: Screen, readout: ReadoutSettings) -> Screen:
    """The screen with classes for values, where the readout is one."""
    if readout.kind == "continuous":
        return screen
    threshold = float(np.median(screen.truth)) if readout.threshold == "median" else readout.threshold
    label = (screen.measured.mean(axis=1, keepdims=True) > threshold).astype(np.float64)
    return replace(screen, measured=label, truth=(screen.truth > threshold).astype(np.float64))


def split(screen: Screen, protocol: ProtocolSection, seed: int) -> tuple[Screen, Screen]:
    """Pool and test of a seed: the same for every strategy. The pool keeps the screen's order.

    Raises:
        UserError: The pool is too small for the protocol.
    """
    order = np.random.default_rng(derive_seed(seed, "split")).permutation(len(screen))
    test = round(protocol.test * len(screen))
    rows = order[test:][: protocol.pool]
    wanted = protocol.initial + protocol.rounds * protocol.batch
    if len(rows) < protocol.initial + protocol.batch:
        raise UserError(
            "the pool is too small", where="protocol", got=f"{len(rows)} perturbations",
            expected=f"{wanted} for all rounds", todo="Lower protocol.initial, batch or test.",
        )  # fmt: skip
    return screen.part(np.sort(rows)), screen.part(np.sort(order[:test]))


def _numbers(obs: pd.DataFrame, name: str, section: ScreenSection) -> Array:
    if name not in obs:
        raise UserError(
            f"no column {name!r}",
            where=section.uri,
            got=", ".join(map(str, obs.columns[:8])),
            todo="Correct value or truth.",
        )
    try:
        return obs[name].to_numpy(dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise UserError(f"column {name!r} is not numeric", where=section.uri, got=error) from error
