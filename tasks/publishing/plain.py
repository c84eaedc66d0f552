"""Dictionaries as files can hold them: nested, of plain scalars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def plain_mapping(mapping: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A nested dictionary of str, bool, int and float, as AnnData's uns and JSON both hold it.

    Args:
        mapping: Nested mapping. A key whose value is None is left out; numpy scalars become Python's.
        where: Name of the mapping, for the error.

    Raises:
        TypeError: A value of another type, or a key that is no text or has a slash (HDF5 would nest it).
    """
    plain: dict[str, Any] = {}
    for key, value in mapping.items():
        if not isinstance(key, str) or "/" in key or not key:
            raise TypeError(f"{where}: {key!r} cannot be a key; it must be text without a slash")
        path = f"{where}.{key}"
        scalar = value.item() if isinstance(value, np.generic) else value
        if scalar is None:
            continue
        if isinstance(scalar, Mapping):
            plain[key] = plain_mapping(scalar, path)
        elif isinstance(scalar, str | bool | int | float):
            plain[key] = scalar
        else:
            raise TypeError(
                f"{path} is a {type(value).__name__}; only text, bool, int, float and mappings of them go here"
            )
    return plain
