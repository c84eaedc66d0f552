"""HDF5 from outside: what of it may be read. Knows h5py alone, because processes of few seconds import it."""

from __future__ import annotations

import h5py

#: Bytes of values that any file may hold, and more for each byte of the file.
MOST_BYTES, BYTES_PER_BYTE = 64_000_000, 200


class Budget:
    """How much may still be read of a file.

    Args:
        size: Bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = MOST_BYTES + BYTES_PER_BYTE * size

    def spend(self, dataset: h5py.Dataset) -> None:
        """Before a dataset is read.

        Raises:
            ValueError: Its values lie in other files of this machine, or there are more than a file of this size can
                hold.
        """
        if dataset.external is not None or dataset.is_virtual:
            raise ValueError(f"{dataset.name} takes its values from other files")
        self._left -= dataset.size * dataset.dtype.itemsize if dataset.size else 0
        if self._left < 0:
            raise ValueError(f"{self._size:,} bytes claim to hold more than {MOST_BYTES:,} in {dataset.name}")


def check_links(file: h5py.Group) -> None:
    """Refuse a file that leads into other files.

    Raises:
        ValueError: It has a link to another file.
    """
    names: list[str] = []
    file.visit_links(lambda name: names.append(name))
    outside = [name for name in names if isinstance(file.get(name, getlink=True), h5py.ExternalLink)]
    if outside:
        raise ValueError(f"{outside[0]} is a link to another file")
