"""Words in Thai and English: flat keys from `locales/`, and formats for days and money."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

LOCALES = ("th", "en")
_FOLDER = Path(__file__).resolve().parent.parent / "locales"
_PLACEHOLDER = re.compile(r"\{([a-z_0-9]+)\}")
_MONTHS = {
    "th": "ม.ค. ก.พ. มี.ค. เม.ย. พ.ค. มิ.ย. ก.ค. ส.ค. ก.ย. ต.ค. พ.ย. ธ.ค.".split(),
    "en": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(),
}
BUDDHIST_YEARS_AHEAD = 543


@dataclass(frozen=True)
class Said:
    """A fact that reads differently in each language; `t` puts in the right one."""

    th: str
    en: str

    def __str__(self) -> str:
        return self.th

    def in_(self, locale: str) -> str:
        """The fact in one language."""
        return self.en if locale == "en" else self.th


@cache
def texts(locale: str) -> Mapping[str, str]:
    """Every text of one language."""
    loaded: dict[str, str] = json.loads((_FOLDER / f"{locale}.json").read_text("utf-8"))
    return loaded


def t(locale: str, key: str, /, **facts: Any) -> str:
    """The sentence for `key` in `locale` (Thai for any unknown one), its placeholders filled.

    `count=` chooses between `key.one` and `key.other` where those exist. Facts are put in as
    they are, never as a format, so a name such as `{0.__class__}` stays a name.
    """
    book = texts(locale if locale in LOCALES else "th")
    if not facts:
        return book[key]
    if "count" in facts and f"{key}.other" in book:
        key += ".one" if facts["count"] == 1 and locale == "en" else ".other"
    spoken = {k: v.in_(locale) if isinstance(v, Said) else v for k, v in facts.items()}
    return fill(book[key], spoken)


def both(key: str, /, **facts: Any) -> Said:
    """The sentence for `key` in both languages, for whoever reads it later."""
    return Said(t("th", key, **facts), t("en", key, **facts))


def listed(locale: str, words: Sequence[str]) -> str:
    """Words one after the other: `สยาม อารีย์ และเอกมัย`, `Siam, Ari and Ekkamai`."""
    *before, last = words
    if not before:
        return last
    first = before[0]
    for word in before[1:]:
        first = t(locale, "lists.more", first=first, next=word)
    return t(locale, "lists.last", first=first, last=last)


def fill(template: str, facts: Mapping[str, Any]) -> str:
    """Replace `{name}` by its fact; numbers get thousands separators; unknown names stay."""

    def replace(match: re.Match[str]) -> str:
        value = facts.get(match[1], match[0])
        return f"{value:,}" if type(value) is int else str(value)

    return _PLACEHOLDER.sub(replace, template)


def money(locale: str, satang: int) -> str:
    """Baht for reading: whole amounts without satang, e.g. `1,250` or `1,250.50`."""
    sign = "-" if satang < 0 else ""
    baht, rest = divmod(abs(satang), 100)
    del locale  # both languages write numbers alike; the word for baht is part of the sentence
    return f"{sign}{baht:,}" + (f".{rest:02d}" if rest else "")


def day(locale: str, value: date) -> str:
    """A day for reading: `22 พ.ย. 2569` or `22 Nov 2026`."""
    language = locale if locale in LOCALES else "th"
    year = value.year + (BUDDHIST_YEARS_AHEAD if language == "th" else 0)
    return f"{value.day} {_MONTHS[language][value.month - 1]} {year}"


def moment(locale: str, value: datetime, tz: ZoneInfo) -> str:
    """A moment for reading, on the shop's wall clock: `22 พ.ย. 2569 14:05`."""
    local = value.astimezone(tz)
    return f"{day(locale, local.date())} {local:%H:%M}"
