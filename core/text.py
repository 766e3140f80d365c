"""Text from strangers: cleaned for showing, folded for matching, strictly read as numbers.

Names and messages are hostile until proven otherwise: controls, bidirectional overrides and
zero-width letters are stripped, combining marks capped, and numbers follow one strict pattern
because `int()` reads far more than a till should accept.
"""

from __future__ import annotations

import re
import unicodedata

import regex

NAME_GRAPHEMES = 100
MARKS_PER_BASE = 8
_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_ZERO_WIDTH = (
    "\u00ad\u034f\u115f\u1160\u180e\u200b\u200c\u2060\u2061\u2062\u2063\u2064\u3164\ufeff\uffa0"
)
_JOINER = "\u200d"
_STRIP = str.maketrans("", "", _BIDI + _ZERO_WIDTH)
_STRIP_ALL = str.maketrans("", "", _BIDI + _ZERO_WIDTH + _JOINER)
#: What alone shows nothing: half an emoji's spelling, the Braille sign without dots.
_BLANK = _JOINER + "\ufe0e\ufe0f\u2800 \n"
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), " ")
#: Dashes and spaces that telephones put into a number that is copied.
_DASHES = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
    | dict.fromkeys("\u00a0\u2007\u202f", " ")
)
_THAI_DIGITS = str.maketrans("๐๑๒๓๔๕๖๗๘๙", "0123456789")
_WHOLE = re.compile(r"\d{1,15}", re.ASCII)
_BAHT = re.compile(r"(\d{1,9})(?:\.(\d{1,2}))?", re.ASCII)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d{1,2})?", re.ASCII)
_HOUR = r"(\d{1,2})(?:[:.]00)?"
_HOURS = re.compile(rf"{_HOUR}\s*-\s*{_HOUR}", re.ASCII)


def clean(text: str, limit: int = NAME_GRAPHEMES) -> str:
    """Text for showing on one line: NFC, nothing invisible, at most `limit` graphemes."""
    return _clean(text, limit, keep_lines=False)


def fit(text: str, letters: int, limit: int = NAME_GRAPHEMES) -> str:
    """Like `clean`, for a column that counts letters, of which a grapheme may have many."""
    text = clean(text, limit)
    if len(text) <= letters:
        return text
    kept = ""
    for grapheme in regex.findall(r"\X", text):
        if len(kept) + len(grapheme) > letters:
            break
        kept += grapheme
    return kept.strip()


def clean_lines(text: str, limit: int) -> str:
    """Like `clean`, for longer texts that may have several lines."""
    return _clean(text, limit, keep_lines=True)


def _clean(text: str, limit: int, *, keep_lines: bool) -> str:
    text = text.encode("utf-8", "ignore").decode("utf-8")  # drops lone surrogates
    text = unicodedata.normalize("NFC", text.translate(_STRIP))
    kept: list[str] = []
    marks = 0
    for letter in text:
        kind = unicodedata.category(letter)
        if keep_lines and letter == "\n":
            kept.append(letter)
            continue
        if kind in ("Cc", "Cs", "Co", "Cn") or (kind in {"Zl", "Zp"}):
            kept.append(" ")
            continue
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if marks <= MARKS_PER_BASE:
            kept.append(letter)
    text = "".join(kept)
    text = re.sub(r"[^\S\n]+", " ", text).strip() if keep_lines else " ".join(text.split())
    graphemes: list[str] = regex.findall(r"\X", text[: limit * 40])
    text = "".join(graphemes[:limit]).strip()
    return text if text.strip(_BLANK) else ""


def clean_name(name: str | None, fallback: str) -> str:
    """A name fit to show; `fallback` when nothing readable is left of it."""
    return clean(name or "") or fallback


def match_key(text: str) -> str:
    """The form in which chat words and codes are compared: NFKC, case-folded, no zero-width."""
    text = text.encode("utf-8", "ignore").decode("utf-8").translate(_CONTROLS)
    return " ".join(unicodedata.normalize("NFKC", text.translate(_STRIP_ALL)).casefold().split())


def plain_number(text: str) -> str:
    """A number as copied from elsewhere, without what cannot be seen, its dashes and spaces plain."""
    return text.translate(_STRIP_ALL).translate(_DASHES).strip()


def western_digits(text: str) -> str:
    """Thai digits as 0-9; other scripts' digits stay what they are."""
    return text.translate(_THAI_DIGITS)


def parse_whole(text: str) -> int | None:
    """A whole number of up to 15 digits, Thai or western; None for anything else."""
    text = western_digits(text.strip())
    return int(text) if _WHOLE.fullmatch(text) else None


def parse_satang(text: str) -> int | None:
    """Baht as typed (`250`, `1,250.50`, Thai digits) in satang; None for anything else."""
    text = western_digits(text.strip())
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    match = _BAHT.fullmatch(text)
    if not match:
        return None
    return int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))


def parse_hours(text: str) -> list[list[int]] | None:
    """Spans of whole hours as typed (`7-10, 15.00–18.00`, Thai digits); None for anything else.

    A span over midnight ends before it starts; nothing typed is no span.
    """
    spans = []
    parts = (one.strip() for one in plain_number(western_digits(text)).split(","))
    for part in filter(None, parts):
        match = _HOURS.fullmatch(part)
        start, end = (int(match[1]), int(match[2])) if match else (0, 0)
        if start == end or start > 23 or end > 24:
            return None
        spans.append([start, end])
    return spans


def receipt_key(text: str) -> str:
    """A bill number as compared: NFKC, upper case, no spaces, no leading zeros.

    Empty when nothing in it can be seen: that is no number, and not the same as another such.
    """
    key = "".join(unicodedata.normalize("NFKC", clean(text)).upper().split())
    return key.lstrip("0") or key[:1]
