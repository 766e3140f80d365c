"""Rich menus in sentences: who sees one, what a tap does, what changed between two versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from core.i18n import t
from models.stamps import StampProgram
from models.tiers import Tier
from rich_menus import layouts
from rich_menus.audiences import NO_TIER, Rule
from rich_menus.definitions import ACTION_TYPES, COMMANDS, SHOWS_STAMPS, SHOWS_TIER
from web.ground import db

MOST_SAID = 120


def audience(rule: Rule, language: str, *, is_default: bool = False) -> str:
    """Who sees a menu, in a sentence."""
    if is_default:
        return t(language, "menus.seen_by_others")
    state = rule.get("state")
    if state is None:
        by_hand = "menus.seen_by_hand" if rule.get("override") else "menus.seen_by_nobody"
        return t(language, by_hand)
    parts = [t(language, f"menus.seen_by_{state}")]
    for name in ("tiers", "stages", "levels", "locales", "tags"):
        if rule.get(name):
            said = [value_words(name, one, language) for one in rule[name]]
            parts.append(t(language, f"menus.seen_{name}", values=_either(said, language)))
    return " · ".join(parts)


def value_words(name: str, value: str, language: str) -> str:
    """One value of a rule's list."""
    if name == "tiers":
        return tier_name(value, language)
    if name == "tags":
        return value
    return t(language, f"menus.language_{value}" if name == "locales" else f"{name}.{value}")


def tier_name(key: str, language: str) -> str:
    """A tier by its key; one that is gone by the key itself."""
    if key == NO_TIER:
        return t(language, "tiers.none")
    tier = db().scalar(select(Tier).where(Tier.key == key))
    if tier is None:
        return key
    return tier.name_th if language == "th" else tier.name_en


def _either(words: Sequence[str], language: str) -> str:
    return f" {t(language, 'menus.or')} ".join(words)


def command(data: str, language: str) -> str:
    """A chat command by its name, or the data itself."""
    known = COMMANDS.get(data)
    return known[0].of(language) if known else data


def action(given: Mapping[str, Any], language: str, tabs: Mapping[str, str]) -> str:
    """What a tap does, in a sentence. `tabs` names tabs by alias."""
    kind, value = str(given["type"]), str(given["value"])
    said = (given.get("say") or {}).get(language)
    if kind == "postback":
        return t(language, "menus.does_postback", what=command(value, language))
    if kind == "message":
        return t(language, "menus.does_message", words=said or value)
    if kind == "richmenuswitch":
        return t(language, "menus.does_richmenuswitch", tab=tabs.get(value, value))
    if kind not in ACTION_TYPES:
        return kind  # a form made by hand; it is refused beside its field
    return t(language, f"menus.does_{kind}", value=value[:MOST_SAID])


def tab_names(definition: Mapping[str, Any], language: str) -> dict[str, str]:
    """Alias -> what its tab is called."""
    return {str(tab["alias"]): str(tab["label"][language]) for tab in definition["tabs"]}


def shows(value: str | None, language: str) -> str:
    """What a living area shows."""
    if not value:
        return t(language, "menus.shows_nothing")
    if value == SHOWS_TIER:
        return t(language, "menus.shows_tier")
    key = value.removeprefix(SHOWS_STAMPS)
    program = db().scalar(
        select(StampProgram).where(StampProgram.key == key, StampProgram.is_current)
    )
    if program is None:
        return key
    return program.name_th if language == "th" else program.name_en


def differences(before: Mapping[str, Any], after: Mapping[str, Any], language: str) -> list[str]:
    """What the later version does otherwise, a sentence for each part."""
    old, new = layouts.parts_of(before), layouts.parts_of(after)
    said = []
    for place, part in layouts.changes(before, after):
        if part == "colours":
            colour = t(language, f"menus.colour_{place}")
            values = {"old": before["colours"].get(place, ""), "new": after["colours"][place]}
            said.append(t(language, "menus.diff_colour", colour=colour, **values))
            continue
        where = _place(after if place in new else before, place, language)
        if part in ("added", "removed"):
            said.append(t(language, f"menus.diff_{part}", where=where))
            continue
        values = {
            "old": _value(before, part, old[place].get(part), language),
            "new": _value(after, part, new[place][part], language),
        }
        key = "menus.diff_changed" if values["old"] != values["new"] else "menus.diff_part"
        said.append(t(language, key, where=where, part=t(language, f"menus.part_{part}"), **values))
    return said


def _place(definition: Mapping[str, Any], place: str, language: str) -> str:
    """A tab or a button by what people see on it."""
    tab_key, _, area_key = place.partition("/")
    tab = next(one for one in definition["tabs"] if one["key"] == tab_key)
    if not area_key:
        return t(language, "menus.place_tab", tab=tab["label"][language])
    area = next(one for one in tab["areas"] if one["key"] == area_key)
    label, name = area["label"][language], tab["label"][language]
    if len(definition["tabs"]) == 1:
        return t(language, "menus.place_button", button=label)
    return t(language, "menus.place_button_of", button=label, tab=name)


def _value(definition: Mapping[str, Any], part: str, value: Any, language: str) -> str:
    if part == "action" and value:
        return action(value, language, tab_names(definition, language))
    if part == "shows":
        return shows(value, language)
    if isinstance(value, Mapping):
        return str(value.get(language, ""))
    if part == "place" and value:
        x, y, width, height = value
        return f"{x}, {y} · {width} × {height}"
    if part == "size" and value:
        return f"{value[0]} × {value[1]}"
    if isinstance(value, bool):
        return t(language, "console.yes" if value else "console.no")
    return "" if value is None else str(value)
