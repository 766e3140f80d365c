"""A journey's words: variants by stage, placeholders filled leaf by leaf, checked when saved."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import Refused
from core.i18n import LOCALES, fill
from core.text import clean_lines
from models.members import Level

FIELDS = ("title", "body", "button")
LIMITS = {"title": 60, "body": 600, "button": 20}
DEFAULT = "default"
#: Said when there is no offer or gift to name.
PLAIN = "plain"
#: Said to who has no points at the moment, so that nobody reads of 0 points that wait.
NO_POINTS = "no_points"
VARIANTS = (DEFAULT, "consideration", "purchase", "retention", "advocacy", NO_POINTS, PLAIN)
#: What a tier counts: words about money differ from words about points.
BASES = ("spend",)
#: Words of a level come before those of a stage; `tier:<key>` before both.
LEVELS = tuple(Level)
TIER = "tier:"
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

Texts = Mapping[str, Mapping[str, Mapping[str, str]]]


class UnknownPlaceholder(Refused):
    """A text names something the journey cannot fill; facts `field`, `name`, `known`."""

    code = "journeys.unknown_placeholder"
    status = 422


class TextTooLong(Refused):
    """A text is over its limit; facts `field`, `limit`."""

    code = "journeys.text_too_long"
    status = 422


class TextMissing(Refused):
    """Title and body are needed in both languages; fact `field`."""

    code = "journeys.text_missing"
    status = 422


def check(texts: Texts, placeholders: tuple[str, ...]) -> None:
    """Refuse texts that could fail later, at the save and not at the send."""
    for locale in LOCALES:
        variants = texts.get(locale, {})
        if DEFAULT not in variants:
            raise TextMissing(field=locale)
        for variant, words in variants.items():
            if variant not in (*VARIANTS, *LEVELS, *BASES) and not variant.startswith(TIER):
                raise Refused("journeys.unknown_variant", status=422, name=variant)
            for field in FIELDS:
                _check_one(f"{locale}.{variant}.{field}", words.get(field, ""), field, placeholders)


def _check_one(where: str, text: str, field: str, placeholders: tuple[str, ...]) -> None:
    if not clean_lines(text, LIMITS[field] + 1) and field != "button":
        raise TextMissing(field=where)
    if len(text.encode("utf-16-le")) // 2 > LIMITS[field]:
        raise TextTooLong(field=where, limit=LIMITS[field])
    check_placeholders(where, text, placeholders)


def check_placeholders(where: str, text: str, placeholders: tuple[str, ...]) -> None:
    """Refuse a text that names what cannot be filled, or half a placeholder (FX19)."""
    for name in _PLACEHOLDER.findall(text):
        if name not in placeholders:
            known = ", ".join(f"{{{one}}}" for one in placeholders)
            raise UnknownPlaceholder(field=where, name=name, known=known)
    if set("{}") & set(_PLACEHOLDER.sub("", text)):  # half a placeholder would be sent as it is
        known = ", ".join(f"{{{one}}}" for one in placeholders)
        raise UnknownPlaceholder(field=where, name="{ }", known=known)


def words_for(
    texts: Texts, locale: str, variants: str | Sequence[str], facts: Mapping[str, Any]
) -> dict[str, str]:
    """The filled title, body and button in this language, of the first variant there is."""
    book = texts.get(locale) or texts["th"]
    wanted = [variants] if isinstance(variants, str) else variants
    chosen = next((book[name] for name in wanted if name in book), book[DEFAULT])
    return {field: fill(chosen.get(field, ""), facts) for field in FIELDS}
