"""Text from strangers: cleaned, folded, and strictly read as numbers."""

from __future__ import annotations

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from core import text


@pytest.mark.parametrize(
    "given_text, shown",
    [
        ("  สมชาย   ใจดี ", "สมชาย ใจดี"),
        ("\u202eevil\u202c", "evil"),
        ("a\u200bb\ufeffc", "abc"),
        ("a\x00b\x1bc", "a b c"),
        ("\ud800x", "x"),
        ("e\u0301", "é"),
        ("👨‍👩‍👧", "👨‍👩‍👧"),
        ("\u200d", ""),
        ("\u200b\u202e ", ""),
        ("\u3164", ""),
        ("\u2800 \u2800", ""),
        ("\ufe0f", ""),
        ("\u2063a\u180eb", "ab"),
        ("☕\ufe0f", "☕\ufe0f"),
    ],
)
def test_cleans_what_cannot_be_seen(given_text, shown):
    assert text.clean(given_text) == shown


def test_fx02_caps_stacked_marks_and_length():
    assert len(text.clean("ก" + "่" * 500)) == 1 + text.MARKS_PER_BASE
    assert len(regex.findall(r"\X", text.clean("ก" * 500))) == text.NAME_GRAPHEMES


def test_fits_a_column_without_cutting_a_letter_from_its_marks():
    assert text.fit("ก้" * 60, 100) == "ก้" * 50
    assert text.fit("xก้" + "ก้" * 60, 100) == "xก้" + "ก้" * 48
    assert text.fit("\ufb2c" * 60, 100) == "\ufb2c".join([""] * 34).replace(
        "\ufb2c", "ש\u05bc\u05c1"
    )
    assert text.fit(" ก้ข ", 3) == "ก้ข"
    assert text.fit("ก้" * 60, 400, 30) == "ก้" * 30


def test_falls_back_when_nothing_is_left():
    assert text.clean_name("\u202e", "สมาชิก") == "สมาชิก"
    assert text.clean_name(None, "สมาชิก") == "สมาชิก"


@given(st.text(max_size=300))
def test_cleaning_twice_changes_nothing(given_text):
    once = text.clean(given_text)
    assert text.clean(once) == once
    once.encode("utf-8")


@pytest.mark.parametrize(
    "one, other",
    [
        ("แต้ม", " แต้ม\u200b "),
        ("แต้ม", "\u2063แต้ม\u3164"),
        ("POINTS", "points"),
        ("น้ำ", "น้\u0e4dา"),
        ("ｊｏｉｎ", "join"),
    ],
)
def test_matches_what_people_mean(one, other):
    assert text.match_key(one) == text.match_key(other)


@pytest.mark.parametrize(
    "typed, satang",
    [
        ("250", 25_000),
        ("250.5", 25_050),
        ("1,250.50", 125_050),
        ("๒๕๐", 25_000),
        ("0.01", 1),
        (" 12 ", 1_200),
        ("1_000", None),
        ("+5", None),
        ("-5", None),
        ("12.345", None),
        ("1e3", None),
        ("１２", None),
        ("²", None),
        ("12,34", None),
        ("", None),
        ("9999999999", None),
        ("NaN", None),
    ],
)
def test_reads_baht_strictly(typed, satang):
    assert text.parse_satang(typed) == satang


@pytest.mark.parametrize(
    "typed, number", [("๑๒", 12), ("007", 7), ("1_0", None), ("²", None), ("9" * 16, None)]
)
def test_reads_whole_numbers_strictly(typed, number):
    assert text.parse_whole(typed) == number


@pytest.mark.parametrize("same", ["a-0012", "A-0012", " ａ-0012 ", "00A-0012", "A\x00-0012"])
def test_fq13_bill_numbers_are_compared_normalised(same):
    assert text.receipt_key(same) == "A-0012"


@pytest.mark.parametrize("typed, key", [("000", "0"), (" 0", "0"), (" ", ""), ("\u200b", "")])
def test_K5_a_bill_number_of_nothing_is_not_number_zero(typed, key):
    assert text.receipt_key(typed) == key


@pytest.mark.parametrize(
    "typed, spans",
    [
        ("7-10, 15-18", [[7, 10], [15, 18]]),
        ("9.00-17.00", [[9, 17]]),
        ("09:00 – 17:00,", [[9, 17]]),
        ("๑๔–๑๗", [[14, 17]]),
        ("22-2", [[22, 2]]),
        ("0-24", [[0, 24]]),
        (" ", []),
        ("9", None),
        ("9.30-17", None),
        ("9-17, evening", None),
        ("10-10", None),
        ("24-2", None),
        ("9-25", None),
    ],
)
def test_reads_hours_as_they_are_written_or_not_at_all(typed, spans):
    assert text.parse_hours(typed) == spans
