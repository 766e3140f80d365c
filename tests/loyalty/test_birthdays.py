"""Birthdays as people write them (J4)."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.birthdays import age_on, celebrated_on, is_minor, parse_birthday

TODAY = date(2026, 11, 22)
BORN = date(1995, 3, 5)


@pytest.mark.parametrize(
    "text",
    [
        "5 มีนาคม 2538",
        "๕ มีนาคม ๒๕๓๘",
        "5 มี.ค. 2538",
        "5มี.ค.2538",
        "วันที่ 5 มีนาคม พ.ศ. 2538",
        "เกิดวันที่ 5 เดือนมีนาคม ปี 2538",
        "5/3/2538",
        "05-03-2538",
        "5.3.2538",
        "5 3 2538",
        "05032538",
        "1995-03-05",
        "2538-03-05",
        "19950305",
        "5/3/1995",
        "5 March 1995",
        "5th March 1995",
        "March 5, 1995",
        "Mar 5 1995",
        " 5-Mar-1995 ",
        "\u200e5/3/2538\u200e",
        "5\u200b มีนาคม 2538",
        "5–3–2538",
        "5\u20113\u20112538",
    ],
)
def test_reads_a_day_however_it_is_written(text):
    assert parse_birthday(text, TODAY) == BORN


@pytest.mark.parametrize("text", ["29/2/2539", "29 กุมภาพันธ์ 2539", "1996-02-29", "29 ก.พ. ๒๕๓๙"])
def test_converts_the_buddhist_year_before_it_validates_the_day(text):
    assert parse_birthday(text, TODAY) == date(1996, 2, 29)


@pytest.mark.parametrize(
    "text",
    [
        "29/2/2538", "31/4/2538", "32/1/2538", "1/13/2538", "5 มี.ค. 38", "5/3/38", "1/1/1",
        "1/1/2443", "22/11/2569", "2026-11-22", "1/1/2570", "1/1/2399", "1/1/2601", "0/0/0",
        "", "ไม่บอก", "²/3/2538", "２２/１１/２５４０", "5/3/1995; DROP TABLE", "1e3/1/2538",
        "5 " * 500,
    ],
)  # fmt: skip
def test_FS05_refuses_what_is_no_birthday(text):
    assert parse_birthday(text, TODAY) is None


@given(st.dates(date(1905, 1, 1), date(2020, 1, 1)))
def test_reads_back_every_day_in_both_eras(day):
    common = f"{day.day}/{day.month}/{day.year}"
    buddhist = f"{day.day}/{day.month}/{day.year + 543}"
    assert parse_birthday(common, TODAY) == parse_birthday(buddhist, TODAY) == day


@given(st.text(max_size=60))
def test_never_fails_on_any_text(text):
    assert parse_birthday(text, TODAY) is None or parse_birthday(text, TODAY) < TODAY


def test_celebrates_29_february_on_the_28th_in_common_years():
    born = date(1996, 2, 29)
    assert celebrated_on(born, 2027) == date(2027, 2, 28)
    assert celebrated_on(born, 2028) == date(2028, 2, 29)
    assert age_on(born, date(2027, 2, 27)) == 30
    assert age_on(born, date(2027, 2, 28)) == 31


@pytest.mark.parametrize("day, expected", [(date(2026, 3, 4), True), (date(2026, 3, 5), False)])
def test_comes_of_age_on_the_twentieth_birthday(day, expected):
    assert is_minor(date(2006, 3, 5), day) is expected
