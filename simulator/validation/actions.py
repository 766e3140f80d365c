"""Action objects, by the place they stand in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from simulator.validation.problems import Problems

INPUT_OPTIONS = frozenset({"closeRichMenu", "openRichMenu", "openKeyboard", "openVoice"})
MODES = frozenset({"date", "time", "datetime"})
ALIAS = re.compile(r"[a-z0-9_-]{1,32}\Z")
_MODE_FORMS = {
    "date": re.compile(r"(?:19|20)\d\d-\d\d-\d\d\Z"),
    "time": re.compile(r"\d\d:\d\d\Z"),
    "datetime": re.compile(r"(?:19|20)\d\d-\d\d-\d\d[Tt]\d\d:\d\d\Z"),
}
_COMMON = frozenset({"postback", "message", "uri", "datetimepicker", "clipboard"})


@dataclass(frozen=True)
class Place:
    """Where an action stands decides its label and which types LINE allows."""

    label_limit: int
    needs_label: bool
    types: frozenset[str] = _COMMON


TEMPLATE = Place(20, needs_label=True)
IMAGE_CAROUSEL = Place(12, needs_label=False)
FLEX_BUTTON = Place(40, needs_label=True)
FLEX = Place(40, needs_label=False)
MENU = Place(20, needs_label=False, types=_COMMON | {"richmenuswitch"})
QUICK_REPLY = Place(20, needs_label=True, types=_COMMON | {"camera", "cameraRoll", "location"})


def check_action(
    problems: Problems, where: str, action: Any, place: Place, separator: str = "."
) -> None:
    """`separator` is "." in ordinary paths and "/" inside Flex, as LINE writes them."""
    if action is None:
        problems.add(where, "must be specified")
        return
    if not isinstance(action, dict):
        problems.add(where, "must be an object")
        return

    def at(name: str) -> str:
        return f"{where}{separator}{name}"

    if not problems.choice(at("type"), action.get("type"), place.types):
        return
    label = action.get("label")
    if label is not None or place.needs_label:
        problems.text(at("label"), label, place.label_limit, counts_graphemes=True)
    _CHECKS[action["type"]](problems, at, action)


def _postback(problems: Problems, at: Any, action: dict[str, Any]) -> None:
    problems.text(at("data"), action.get("data"), 300)
    for name in ("displayText", "text", "fillInText"):
        if name in action:
            problems.text(at(name), action[name], 300, counts_graphemes=True)
    if "displayText" in action and "text" in action:
        problems.add(at("text"), "displayText and text can't be specified at the same time")
    if "inputOption" in action:
        problems.choice(at("inputOption"), action["inputOption"], INPUT_OPTIONS)
    if "fillInText" in action and action.get("inputOption") != "openKeyboard":
        problems.add(at("fillInText"), "inputOption must be openKeyboard")


def _message(problems: Problems, at: Any, action: dict[str, Any]) -> None:
    problems.text(at("text"), action.get("text"), 300, counts_graphemes=True)


def _uri(problems: Problems, at: Any, action: dict[str, Any]) -> None:
    problems.action_uri(at("uri"), action.get("uri"))
    alternative = action.get("altUri")
    if isinstance(alternative, dict) and "desktop" in alternative:
        problems.action_uri(at("altUri.desktop"), alternative["desktop"])


def _datetimepicker(problems: Problems, at: Any, action: dict[str, Any]) -> None:
    problems.text(at("data"), action.get("data"), 300)
    if not problems.choice(at("mode"), action.get("mode"), MODES):
        return
    form = _MODE_FORMS[action["mode"]]
    for name in ("initial", "max", "min"):
        value = action.get(name)
        if value is not None and (not isinstance(value, str) or form.match(value) is None):
            problems.add(at(name), "invalid date or time format")
    low, high = action.get("min"), action.get("max")
    if isinstance(low, str) and isinstance(high, str) and low >= high:
        problems.add(at("max"), "must be later than min")


def _clipboard(problems: Problems, at: Any, action: dict[str, Any]) -> None:
    problems.text(at("clipboardText"), action.get("clipboardText"), 1000)


def _switch(problems: Problems, at: Any, action: dict[str, Any]) -> None:
    alias = action.get("richMenuAliasId")
    if not isinstance(alias, str) or ALIAS.match(alias) is None:
        problems.add(at("richMenuAliasId"), "invalid rich menu alias id")
    problems.text(at("data"), action.get("data"), 300)


def _nothing_more(problems: Problems, at: Any, action: dict[str, Any]) -> None:
    """Camera, camera roll and location have a label and no more."""


_CHECKS = {
    "postback": _postback,
    "message": _message,
    "uri": _uri,
    "datetimepicker": _datetimepicker,
    "clipboard": _clipboard,
    "richmenuswitch": _switch,
    "camera": _nothing_more,
    "cameraRoll": _nothing_more,
    "location": _nothing_more,
}
