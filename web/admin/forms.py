"""What people type into the console's forms: read strictly, refused with the field's own words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from flask import g, request

from core.clock import start_of_day
from core.errors import Invalid, Refused
from core.i18n import LOCALES, t
from core.text import fit, parse_satang, parse_whole
from engagement import texts
from web.ground import locale, runtime

#: A calendar that a shop could mean; further out, moments cannot be kept in every zone.
FIRST_YEAR, LAST_YEAR = 2000, 2200


class ChangedMeanwhile(Refused):
    """The row is another than the form had shown: its page is shown anew, not as it was filled."""

    code = "console.changed_meanwhile"


def mark_of(values: Mapping[str, Any]) -> str:
    """A mark of what a form shows, which it carries in its hidden field `seen`."""
    told = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def refuse_if_changed(values: Mapping[str, Any]) -> None:
    """Refuse a form that had shown something else than `values`, read under the row's lock.

    Otherwise an old tab undoes what somebody has decided since. Without a mark nothing is known.
    """
    if request.form.get("seen") not in (None, mark_of(values)):
        g.is_outdated = True
        raise ChangedMeanwhile


def bad(words: str, field: str = "") -> Invalid:
    """A field that cannot be read, named in the reader's language; the page shows it beside the
    input of that name."""
    g.wrong_field = field
    return Invalid("errors.invalid_field", field=t(locale(), words))


def words(field: str, label: str, limit: int = 100, *, needed: bool = True) -> str:
    """A cleaned line of at most `limit` letters, as columns count them."""
    text = fit(request.form.get(field, ""), limit, limit)
    if needed and not text:
        raise bad(label, field)
    return text


def choice(field: str, label: str, values: Iterable[str]) -> str:
    """One of these."""
    chosen = request.form.get(field, "")
    if chosen not in set(values):
        raise bad(label, field)
    return chosen


def choices(field: str, label: str, values: Iterable[str]) -> list[str]:
    """Any of these, in the order in which they were ticked; none is fine."""
    chosen = list(dict.fromkeys(request.form.getlist(field)))
    if not set(chosen) <= set(values):
        raise bad(label, field)
    return chosen


def whole(field: str, label: str, least: int, most: int) -> int:
    """A whole number that must be there."""
    value = maybe_whole(field, label, least, most)
    if value is None:
        raise bad(label, field)
    return value


def maybe_whole(field: str, label: str, least: int, most: int) -> int | None:
    """A whole number, or nothing."""
    text = request.form.get(field, "").strip()
    if not text:
        return None
    value = parse_whole(text)
    if value is None or not least <= value <= most:
        raise bad(label, field)
    return value


def maybe_money(field: str, label: str) -> int | None:
    """Baht in satang, or nothing."""
    text = request.form.get(field, "").strip()
    if not text:
        return None
    value = parse_satang(text)
    if value is None:
        raise bad(label, field)
    return value


def money(field: str, label: str) -> int:
    """Baht in satang, more than nothing."""
    value = maybe_money(field, label)
    if not value:
        raise bad(label, field)
    return value


def maybe_day(field: str, label: str) -> date | None:
    """A day, or nothing."""
    text = request.form.get(field, "").strip()
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise bad(label, field) from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise bad(label, field)
    return day


def maybe_moment(field: str, label: str, *, is_end: bool = False) -> datetime | None:
    """A local day as a moment, or nothing; an end is exclusive: midnight after its day."""
    day = maybe_day(field, label)
    if day is None:
        return None
    return start_of_day(day + timedelta(days=1 if is_end else 0), runtime().clock.tz)


def placed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a refusal, a text's place (`th.default.body`) in the form's own words."""
    language, _, rest = str(facts.get("field", "")).partition(".")
    if language not in LOCALES:
        return dict(facts)
    tongue = t(locale(), f"menus.language_{language}")
    field = rest.rpartition(".")[2]
    if field not in texts.FIELDS:
        return {**facts, "field": tongue}
    return {**facts, "field": f"{t(locale(), f'console.text_{field}')} ({tongue})"}
