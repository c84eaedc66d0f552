"""What may be an id: of perturbations, barcodes and runs. People read them off pages, tables and labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from tasks.campaigns.spreadsheets import FORMULA

MAX_ID = 200
USABLE = f"1 to {MAX_ID} printable characters without blanks at the ends"

# Letters of the Greek and Cyrillic alphabets that look like Latin ones in most fonts.
_LATIN = str.maketrans(
    "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοιν" + "АВЕЅІЈКМНОРСТУХаеѕіјорсухһԁԛԝ",
    "ABEZHIKMNOPTYXoiv" + "ABESIJKMHOPCTYXaesijopcyxhdqw",
)


def usable(text: str) -> bool:
    """Whether a text may be an id: short, and without what cannot be seen (controls, marks of direction)."""
    hidden = text[:1] == "'" and FORMULA.match(text, 1) is not None  # how a formula is written into a CSV file
    return 0 < len(text) <= MAX_ID and text == text.strip() and text.isprintable() and not hidden


def looks(text: str) -> str:
    """What an id looks like: ids of one look cannot be told apart by reading them.

    Compatible characters (full width, ligatures, combined accents) become one, Greek and Cyrillic letters that look
    Latin become Latin.
    """
    return text if text.isascii() else unicodedata.normalize("NFKC", text).translate(_LATIN)


def look_alike(ids: Iterable[str]) -> tuple[str, str] | None:
    """The first two different ids that look the same; None where there are none."""
    seen: dict[str, str] = {}
    for text in ids:
        known = seen.setdefault(looks(text), text)
        if known != text:
            return known, text
    return None


def spelled(text: str) -> str:
    """An id with every character beyond ASCII written as its code, to tell it from what it looks like."""
    return ascii(text)
