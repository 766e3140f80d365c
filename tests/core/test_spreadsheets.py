"""No cell of an export runs on the reader's machine (AO13)."""

from __future__ import annotations

import csv
import io

import pytest

from core.spreadsheets import csv_text, plain_cell, safe_cell

HOSTILE = [
    "=1+1", "+66812345678", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\x00=1", "  =1", "＝1+1",
    "＋1", "－1", "＠x", " ＝1", "=cmd|' /C calc'!A0", "%0A=1", "|calc",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_ao13_hostile_text_stays_text(text):
    cell = safe_cell(text)
    assert cell.startswith("'")
    assert "\x00" not in cell


def test_ao13_a_spreadsheet_library_reads_only_texts():
    from openpyxl import Workbook

    rows = list(csv.reader(io.StringIO(csv_text([HOSTILE]).removeprefix("\ufeff"))))
    sheet = Workbook().active
    sheet.append(rows[0])
    assert {cell.data_type for cell in sheet[1]} == {"s"}


@pytest.mark.parametrize("text", [*HOSTILE, "สมชาย", "'quoted'", "'", ""])
def test_what_was_made_safe_is_read_as_what_it_said(text):
    assert plain_cell(safe_cell(text)) == text.replace("\x00", "")


def test_plain_text_and_figures_stay_what_they_are():
    assert csv_text([["สมชาย", -5, 1.5]]) == '\ufeff"สมชาย",-5,1.5\r\n'
