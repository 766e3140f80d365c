"""Birthdays as people write them: Thai, English and ISO, Buddhist and common years (J4).

Buddhist years are converted before the day is validated, so that 29 กุมภาพันธ์ 2539 is a day.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from core.i18n import BUDDHIST_YEARS_AHEAD
from core.text import plain_number, western_digits

BUDDHIST_YEARS = range(2400, 2601)
#: Nobody that old has been documented, and nobody that young types.
OLDEST_YEARS = 123
YOUNGEST_YEARS = 3
GROWN_UP_YEARS = 20  # Civil and Commercial Code s. 19

_THAI_MONTHS = (
    ("มกราคม", "มกรา", "มค"),
    ("กุมภาพันธ์", "กุมภา", "กพ"),
    ("มีนาคม", "มีนา", "มีค"),
    ("เมษายน", "เมษา", "เมย"),
    ("พฤษภาคม", "พฤษภา", "พค"),
    ("มิถุนายน", "มิถุนา", "มิย"),
    ("กรกฎาคม", "กรกฎา", "กค"),
    ("สิงหาคม", "สิงหา", "สค"),
    ("กันยายน", "กันยา", "กย"),
    ("ตุลาคม", "ตุลา", "ตค"),
    ("พฤศจิกายน", "พฤศจิกา", "พย"),
    ("ธันวาคม", "ธันวา", "ธค"),
)
_ENGLISH_MONTHS = (
    "january february march april may june july august september october november december".split()
)
_MONTHS = {
    **{name: number for number, names in enumerate(_THAI_MONTHS, 1) for name in names},
    **{name: number for number, name in enumerate(_ENGLISH_MONTHS, 1)},
    **{name[:3]: number for number, name in enumerate(_ENGLISH_MONTHS, 1)},
    "sept": 9,
}
# Words people put around a date, and the two eras.
_AROUND = re.compile(r"วันที่|วันเกิด|เกิด|เดือน|ปี|พ\.?\s*ศ\.?|ค\.?\s*ศ\.?|\bb\.?e\.?\b|\ba\.?d\.?\b")
# Only 0-9 below: `\d` would read the digits of every script.
_ORDINAL = re.compile(r"(?<=[0-9])(?:st|nd|rd|th)\b")
_NUMBERS = re.compile(r"([0-9]{1,4})\s*[-/. ]\s*([0-9]{1,2})\s*[-/. ]\s*([0-9]{1,4})")
_TOGETHER = re.compile(r"[0-9]{8}")
_WORDS = re.compile(r"([0-9]{1,2})\s*[-/,]?\s*([^\W\d_]\D*?)\s*[-/,]?\s*([0-9]{4})")
_MONTH_FIRST = re.compile(r"([^\W\d_]+)\.?\s*([0-9]{1,2})\s*,?\s+([0-9]{4})")


def parse_birthday(text: str, today: date) -> date | None:
    """The day meant by `text`; None when it is no day, lies ahead, or nobody could be that old."""
    return next((day for day in _days(text) if is_plausible(day, today)), None)


def parse_day(text: str) -> date | None:
    """Any day as people write one, Buddhist years and Thai digits included."""
    return next(iter(_days(text)), None)


def _days(text: str) -> list[date]:
    plain = western_digits(unicodedata.normalize("NFC", plain_number(text[:100])).lower())
    plain = " ".join(_ORDINAL.sub("", _AROUND.sub(" ", plain)).split())
    return [day for day in _readings(plain) if day]


def _readings(text: str) -> list[date | None]:
    if match := _NUMBERS.fullmatch(text):
        first, month, last = (int(part) for part in match.groups())
        if len(match[1]) == 4:
            return [_day(first, month, last)]
        return [_day(last, month, first)] if len(match[3]) == 4 else []
    if _TOGETHER.fullmatch(text):
        return [
            _day(int(text[4:]), int(text[2:4]), int(text[:2])),
            _day(int(text[:4]), int(text[4:6]), int(text[6:])),
        ]
    if match := _WORDS.fullmatch(text):
        return [_named(match[2], match[1], match[3])]
    if match := _MONTH_FIRST.fullmatch(text):
        return [_named(match[1], match[2], match[3])]
    return []


def _named(month: str, day: str, year: str) -> date | None:
    number = _MONTHS.get("".join(month.replace(".", "").split()))
    return _day(int(year), number, int(day)) if number else None


def _day(year: int, month: int, day: int) -> date | None:
    if year in BUDDHIST_YEARS:
        year -= BUDDHIST_YEARS_AHEAD
    try:
        return date(year, month, day)
    except ValueError:
        return None


def is_plausible(birthday: date, today: date) -> bool:
    """Whether somebody born that day could be typing today."""
    return YOUNGEST_YEARS <= age_on(birthday, today) <= OLDEST_YEARS


def age_on(birthday: date, today: date) -> int:
    """Full years of age; born on 29 February, one ages on the 28th in common years."""
    return today.year - birthday.year - (celebrated_on(birthday, today.year) > today)


def celebrated_on(birthday: date, year: int) -> date:
    """The day on which this birthday is celebrated in `year` (J4)."""
    try:
        return birthday.replace(year=year)
    except ValueError:
        return date(year, 2, 28)


def is_minor(birthday: date, today: date, grown_up_years: int = GROWN_UP_YEARS) -> bool:
    """Under 20: no marketing without the guardian's consent (J2)."""
    return age_on(birthday, today) < grown_up_years
