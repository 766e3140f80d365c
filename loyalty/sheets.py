"""Lists that people upload: CSV and XLSX as rows of text, with a cap on everything.

A workbook is a zip that strangers made: its parts are counted and added up before anything is
unpacked, formulas are never looked at, and nothing is fetched from anywhere.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

from core.errors import Refused
from core.spreadsheets import plain_cell

MAX_BYTES = 8 * 1024 * 1024
MAX_LINES = 100_000
MAX_COLUMNS = 30
MAX_CELL = 500
#: What a workbook may hold unpacked, and in how many parts; a real one is far below.
MAX_UNPACKED = 128 * 1024 * 1024
MAX_PARTS = 200
_SEPARATORS = ",;\t|"

Row = tuple[int, Sequence[str]]


class UnreadableList(Refused):
    """Neither CSV nor XLSX, or one that cannot be read."""

    code = "imports.unreadable"
    status = 422


def rows_of(content: bytes) -> Iterator[Row]:
    """Line numbers as people count them, and the cells of each line that has any.

    Raises Refused: `imports.unreadable`, `imports.too_large`.
    """
    if len(content) > MAX_BYTES:
        raise Refused("imports.too_large", status=413, megabytes=MAX_BYTES // 2**20)
    rows = _workbook(content) if content[:4] == b"PK\x03\x04" else _text(content)
    for number, cells in enumerate(rows, 1):
        if number > MAX_LINES + 1:
            raise Refused("imports.too_many", status=422, most=MAX_LINES)
        if any(cells):
            yield number, cells


def _text(content: bytes) -> Iterator[Sequence[str]]:
    text = _decoded(content)
    head = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for cells in reader:
            yield [plain_cell(cell.strip()[:MAX_CELL]) for cell in cells[:MAX_COLUMNS]]
    except csv.Error as error:
        raise UnreadableList from error


def _decoded(content: bytes) -> str:
    """UTF-8, or what a Thai Excel writes without being told otherwise."""
    if b"\x00" in content:
        raise UnreadableList
    for encoding in ("utf-8-sig", "cp874"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UnreadableList


def _workbook(content: bytes) -> Iterator[Sequence[str]]:
    from openpyxl import load_workbook  # 20 MB that only uploads need

    try:
        _refuse_bomb(content)
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=False, keep_links=False)
        try:
            sheet = book.worksheets[0]
            for cells in sheet.iter_rows(max_col=MAX_COLUMNS, max_row=MAX_LINES + 2):
                yield [_cell(cell) for cell in cells]
        finally:
            book.close()
    except Refused:
        raise
    except Exception as error:  # openpyxl raises whatever its parts raise
        raise UnreadableList from error


def _refuse_bomb(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        found = parts.infolist()
    # Unpacking stops at the size a part declares, so what is declared is what is used.
    if len(found) > MAX_PARTS or sum(part.file_size for part in found) > MAX_UNPACKED:
        raise Refused("imports.too_large", status=413, megabytes=MAX_BYTES // 2**20)


def _cell(cell: Any) -> str:
    value = cell.value
    if value is None or cell.data_type in ("f", "e"):  # formulas, errors: as if left out
        return ""
    if isinstance(value, bool):  # Excel's own TRUE and FALSE
        return str(value).lower()
    if isinstance(value, datetime | date):
        return value.isoformat()[:10]
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return plain_cell(str(value).strip()[:MAX_CELL])
