"""Content keys: what makes one computation the same as another.

Prefect's own input hashing is not used: it differs for a table and its copy, for C and Fortran order, and for sets
across processes. Here a value is hashed by content with a tag for its type, and an unknown type is an error.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel

from tasks.checkpoints.refs import Ref


@dataclass(frozen=True)
class Stage:
    """A kind of computation.

    Attributes:
        name: Folder below `checkpoints/`.
        version: Raised by hand whenever the stage would give another result for the same inputs.
        cheap: A plan computes it in memory instead of stopping there.
    """

    name: str
    version: int
    cheap: bool = False


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def canonical(value: Any) -> Any:
    """Turn a value into tagged JSON that is equal exactly when the content is.

    Raises:
        TypeError: For a type whose content has no agreed form (sets, tables, objects).
        ValueError: For NaN and infinity.
    """
    if value is None or type(value) in (bool, str, int, float):
        return _scalar(value)
    if isinstance(value, Ref):
        return ["ref", value.sha256]
    if isinstance(value, BaseModel):
        return canonical(value.model_dump(mode="python"))
    if isinstance(value, bytes):
        return ["bytes", sha256(value)]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        data = np.ascontiguousarray(value)
        return ["array", data.dtype.str, list(data.shape), sha256(data.tobytes())]
    if isinstance(value, Mapping):
        if not all(type(key) is str for key in value):
            raise TypeError("only text can name the entries of a mapping in a key")
        return ["mapping", [[key, canonical(value[key])] for key in sorted(value)]]
    if isinstance(value, list | tuple):
        return ["sequence", [canonical(item) for item in value]]
    raise TypeError(f"a key cannot hold a {type(value).__name__}")


def _scalar(value: Any) -> Any:
    if type(value) is float and not math.isfinite(value):
        raise ValueError(f"a key cannot hold {value}")
    return value


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return sha256(json.dumps(canonical(value), separators=(",", ":"), allow_nan=False).encode())


def stage_key(stage: Stage, params: Mapping[str, Any], inputs: Mapping[str, Ref], seed: int | None) -> str:
    """Key of a checkpoint: stage, its version, the parameters it reads, the digests of its inputs, and the seed."""
    return digest(
        {"stage": stage.name, "version": stage.version, "params": dict(params), "inputs": dict(inputs), "seed": seed}
    )


def derive_seed(seed: int, *path: str | int) -> int:
    """Independent 32-bit seed for one purpose, from the campaign's seed and a path of names."""
    return int(digest({"seed": seed, "path": list(path)})[:8], 16)
