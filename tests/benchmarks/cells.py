"""A table of results that is played cell by cell, and taken up again where it was left."""

from __future__ import annotations

import csv


def read(path):
    """Rows played so far; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append(path, columns, row):
    """Add a row, with the header before the first one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerow(row)


def rewrite(path, columns, rows):
    """All rows anew, in this order."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
