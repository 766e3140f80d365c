"""CSV and XLSX that spreadsheets show as what they say and never run (AO13)."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

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


def plain_cell(text: str) -> str:
    """The text that `safe_cell` made safe: our own files are read again as what they said."""
    is_quoted = text.startswith("'") and safe_cell(text[1:]) == text
    return text[1:] if is_quoted else text


def write_csv(out: TextIO, rows: Iterable[Sequence[Any]]) -> int:
    """Write rows as CSV with every text quoted; returns how many."""
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC)
    count = 0
    for row in rows:
        writer.writerow([safe_cell(cell) for cell in row])
        count += 1
    return count


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """The same as one text, in UTF-8 that Thai spreadsheets recognise."""
    written = io.StringIO()
    write_csv(written, rows)
    return "\ufeff" + written.getvalue()


def xlsx_bytes(rows: Iterable[Sequence[Any]]) -> bytes:
    """The same as a workbook of one sheet whose first line stays in sight."""
    from openpyxl import Workbook  # a slow import that only some requests need
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.freeze_panes = "A2"
    for row in rows:
        cells = [safe_cell(cell) for cell in row]
        sheet.append(
            [ILLEGAL_CHARACTERS_RE.sub("", one) if isinstance(one, str) else one for one in cells]
        )
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()
