"""The editor's form and the definition it stands for, each way."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from flask import request

from core.i18n import LOCALES
from core.text import clean, parse_whole
from rich_menus import layouts
from rich_menus.definitions import (
    AREAS,
    COMMANDS,
    FULL_HEIGHT,
    HALF_HEIGHT,
    PICKER_BOUNDS,
    MenuColours,
    MenuDefinition,
)
from web.ground import is_keepable

#: What a date picker tells the shop with: staff find the answer in the conversation.
PICKED = "conversations.picked"
COLOURS = tuple(MenuColours.__dataclass_fields__)
HEIGHTS = (FULL_HEIGHT, HALF_HEIGHT)
MOST_TABS = 5
LABEL_LETTERS = 80
SAID_LETTERS = 400
VALUE_LETTERS = 1100
SIDES = ("x", "y", "width", "height")
_AREA_KEY = re.compile(r"area[0-9]{1,3}")


def read(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The definition with the form's words, actions, icons and colours in it.

    Edits of tabs that are not open travel in the form's own `draft`; anything there that is no
    definition of this menu is left out.
    """
    draft = _carried(saved) or deepcopy(dict(saved))
    form = request.form
    for name in COLOURS:
        if form.get(f"colour.{name}"):
            draft["colours"][name] = form[f"colour.{name}"][:7].upper()
    for tab in draft["tabs"]:
        _words(tab["chat_bar_text"], f"{tab['key']}.chat_bar")
        _words(tab["label"], f"{tab['key']}.tab_label")
        if tab["key"] == form.get("tab") and form.getlist("areas"):
            _keep(tab, form.getlist("areas")[:AREAS])
        for area in tab["areas"]:
            _area(area, f"{tab['key']}.{area['key']}")
    return draft


def _carried(saved: Mapping[str, Any]) -> dict[str, Any] | None:
    text = request.form.get("draft", "")
    if not text:
        return None
    try:
        given = json.loads(text)
        definition = MenuDefinition.from_dict(given)
    # Whatever was made of the field by hand: it then counts as not sent.
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None
    if not is_keepable(given):
        return None
    keys = [tab.key for tab in definition.tabs]
    is_bounded = 0 < len(keys) == len(set(keys)) <= MOST_TABS
    if not is_bounded or any(len(tab.areas) > AREAS for tab in definition.tabs):
        return None
    own = {name: saved[name] for name in ("key", "name", "audience", "priority", "is_default")}
    return {**definition.to_dict(), **own}


def _area(area: dict[str, Any], name: str) -> None:
    form = request.form
    if f"{name}.x" not in form:  # an area of a tab that is not open
        return
    _words(area["label"], f"{name}.label")
    area["hint"] = _maybe_words(f"{name}.hint", LABEL_LETTERS, area.get("hint"))
    area["icon"] = form.get(f"{name}.icon", area["icon"])[:40]
    area["is_hero"] = form.get(f"{name}.hero") == "1"  # a box that is not ticked is not sent
    area["shows"] = form.get(f"{name}.shows", area.get("shows") or "")[:100] or None
    for side in SIDES:
        given = parse_whole(form.get(f"{name}.{side}", ""))
        area[side] = area[side] if given is None else given
    area["action"] = _action(area["action"], name)


def _action(before: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The action of the kind chosen, with nothing in it that belongs to another kind."""
    form = request.form
    kind = form.get(f"{name}.type", str(before["type"]))
    is_same = kind == before["type"]
    value = form.get(f"{name}.value", str(before["value"]))[:VALUE_LETTERS].strip()
    if not is_same and value == before["value"]:
        value = ""  # an address is no command
    said = before.get("say") if is_same else None
    made: dict[str, Any] = {"type": kind, "value": value}
    if kind == "postback":
        command = form.get(f"{name}.command", "")
        if command in COMMANDS:
            made["value"] = command
        made["say"] = _maybe_words(f"{name}.say", SAID_LETTERS, said)
        if command in COMMANDS and (command != before["value"] or not is_same):
            word = COMMANDS[command][1]
            made["say"] = {"th": word.th, "en": word.en}
        made["input_option"] = form.get(f"{name}.input_option", before.get("input_option")) or None
        if made["input_option"] == "openKeyboard":
            kept = before.get("fill_in") if is_same else None
            made["fill_in"] = _maybe_words(f"{name}.fill_in", SAID_LETTERS, kept)
    elif kind == "message":
        made["say"] = _maybe_words(f"{name}.say", SAID_LETTERS, said)
        made["value"] = (made["say"] or {}).get("th", value)
    elif kind == "datetimepicker":
        made["value"] = PICKED
        made["mode"] = form.get(f"{name}.mode", before.get("mode") or "date")[:16]
        for bound in PICKER_BOUNDS:
            made[bound] = form.get(f"{name}.{bound}", before.get(bound) or "")[:16].strip() or None
    elif kind == "richmenuswitch":
        made["value"] = form.get(f"{name}.target", value)[:40] or value
    return made


def _keep(tab: dict[str, Any], keys: list[str]) -> None:
    """The areas that the form knows, in its order; ones it has added begin as new ones."""
    known = {area["key"]: area for area in tab["areas"]}
    kept: list[dict[str, Any]] = []
    for key in dict.fromkeys(keys):
        if key in known:
            kept.append(known[key])
        elif _AREA_KEY.fullmatch(key):
            made = layouts.new_area(kept, (0, 0, layouts.NEW_WIDTH, layouts.NEW_HEIGHT))
            kept.append({**made, "key": key})
    tab["areas"] = kept or tab["areas"]


def lay_out(draft: dict[str, Any]) -> bool:
    """Rearrange, add or drop areas and tabs as asked; True when the form is shown again."""
    form, has_strip = request.form, len(draft["tabs"]) > 1
    tab = next((one for one in draft["tabs"] if one["key"] == form.get("tab")), None)
    if tab is None:
        return False
    if form.get("open") or form.get("add_tab") or form.get("drop_tab"):
        return _tabs(draft, tab)
    height = parse_whole(form.get("height", ""))
    if form.get("arrange") and height in HEIGHTS:
        layouts.resize(tab, height, has_strip=has_strip)
    dropped = form.get("drop", "")
    if dropped in {area["key"] for area in tab["areas"]} and len(tab["areas"]) > 1:
        tab["areas"] = [area for area in tab["areas"] if area["key"] != dropped]
        return True
    if form.get("arrange"):
        if form.get("layout") in layouts.LAYOUTS:
            layouts.arrange(tab, form["layout"], has_strip=has_strip)
        return True
    for language in LOCALES:
        if form.get("drop_picture") == language:
            tab["pictures"].pop(language, None)
            return True
    return bool(form.get("add")) and layouts.add(tab, has_strip=has_strip)


def _tabs(draft: dict[str, Any], tab: dict[str, Any]) -> bool:
    if request.form.get("add_tab") and len(draft["tabs"]) < MOST_TABS:
        layouts.add_tab(draft)
    elif request.form.get("drop_tab") and len(draft["tabs"]) > 1:
        layouts.drop_tab(draft, tab["key"])
    return True


def _words(words: dict[str, str], name: str) -> None:
    for language in LOCALES:
        given = request.form.get(f"{name}.{language}")
        if given is not None:
            words[language] = " ".join(given[:LABEL_LETTERS].split())


def _maybe_words(name: str, limit: int, before: Mapping[str, str] | None) -> dict[str, str] | None:
    """Words in both languages, or none where both fields are empty."""
    if f"{name}.th" not in request.form:
        return dict(before) if before else None
    given = {one: clean(request.form.get(f"{name}.{one}", ""), limit) for one in LOCALES}
    return given if any(given.values()) else None
