"""CSV that spreadsheets show as what it says and never run (AO13)."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

#: What makes a spreadsheet take a cell for a formula, or end one; NUL ends nothing good.
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "\x00", "|", "%")


def safe_cell(value: Any) -> Any:
    """A text that no spreadsheet takes for a formula; our own figures stay figures.

    Full-width forms count as what they look like, also after spaces.
    """
    if not isinstance(value, str):
        return value
    plain = unicodedata.normalize("NFKC", value)
    if plain.startswith(_DANGEROUS) or plain.lstrip().startswith(_DANGEROUS):
        value = f"'{value}"
    return value.replace("\x00", "")


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV with every text quoted, in UTF-8 that Thai spreadsheets recognise."""
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)
    return "\ufeff" + written.getvalue()
