"""Message objects: everything LINE refuses before it sends anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from simulator.validation.actions import IMAGE_CAROUSEL, QUICK_REPLY, TEMPLATE, check_action
from simulator.validation.flex import check_flex
from simulator.validation.problems import Problems, utf16_count

MESSAGES_A_CALL = 5
TEXT_LIMIT = 5000
ALT_TEXT_LIMIT = 1500
QUICK_REPLIES = 13
EMOJI_LIMIT = 20
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_DIGITS = re.compile(r"\d{1,20}\Z")


def check_messages(messages: Any) -> dict[str, Any] | None:
    """The body of LINE's 400 for these messages, or None where they may be sent."""
    problems = Problems()
    if messages is None:
        problems.add("messages", "must be specified")
    elif not isinstance(messages, list):
        problems.add("messages", "must be an array")
    elif not 1 <= len(messages) <= MESSAGES_A_CALL:
        problems.add("messages", f"Size must be between 1 and {MESSAGES_A_CALL}")
    if problems:
        return problems.answer()
    for number, message in enumerate(messages):
        _check_message(problems, f"messages[{number}]", message)
    if problems:
        return problems.answer()
    for number, message in enumerate(messages):
        if message["type"] == "flex":
            inside = Problems()
            check_flex(inside, message.get("contents"))
            if inside:
                text = f"A message (messages[{number}]) in the request body is invalid"
                return {**inside.answer(), "message": text}
    return None


def check_messages_cheaply(messages: Any) -> dict[str, Any] | None:
    """Only what costs nothing: a list of one to five objects with a known type."""
    if isinstance(messages, list) and 1 <= len(messages) <= MESSAGES_A_CALL:
        for message in messages:
            if not isinstance(message, dict) or message.get("type") not in _CHECKS:
                break
        else:
            return None
    return check_messages(messages)


def _check_message(problems: Problems, where: str, message: Any) -> None:
    if not isinstance(message, dict):
        problems.add(where, "must be an object")
        return
    if not problems.choice(f"{where}.type", message.get("type"), _TYPES):
        return
    _CHECKS[message["type"]](problems, where, message)
    if message.get("quickReply") is not None:
        _check_quick_reply(problems, f"{where}.quickReply", message["quickReply"])
    sender = message.get("sender")
    if isinstance(sender, dict):
        if sender.get("name") is not None:
            problems.text(f"{where}.sender.name", sender["name"], 20)
        if sender.get("iconUrl") is not None:
            problems.content_url(f"{where}.sender.iconUrl", sender["iconUrl"])


def _check_quick_reply(problems: Problems, where: str, quick_reply: Any) -> None:
    items = quick_reply.get("items") if isinstance(quick_reply, dict) else None
    if not isinstance(items, list) or not 1 <= len(items) <= QUICK_REPLIES:
        problems.add(f"{where}.items", f"Size must be between 1 and {QUICK_REPLIES}")
        return
    for number, item in enumerate(items):
        place = f"{where}.items[{number}]"
        if not isinstance(item, dict):
            problems.add(place, "must be an object")
            continue
        if item.get("type", "action") != "action":
            problems.add(f"{place}.type", "Must be one of the following values: [action]")
        if item.get("imageUrl") is not None:
            problems.content_url(f"{place}.imageUrl", item["imageUrl"])
        check_action(problems, f"{place}.action", item.get("action"), QUICK_REPLY)


def _text(problems: Problems, where: str, message: dict[str, Any]) -> None:
    text = message.get("text")
    if not problems.text(f"{where}.text", text, TEXT_LIMIT):
        return
    emojis = message.get("emojis") or []
    if len(emojis) > EMOJI_LIMIT:
        problems.add(f"{where}.emojis", f"Size must be between 0 and {EMOJI_LIMIT}")
    if not emojis or not isinstance(text, str):
        return
    units = text.encode("utf-16-le", "surrogatepass")
    for number, emoji in enumerate(emojis):
        index = emoji.get("index") if isinstance(emoji, dict) else None
        if not isinstance(index, int) or units[index * 2 : index * 2 + 2] != b"$\x00":
            problems.add(f"{where}.emojis[{number}].index", "must point at a $ of the text")


def _text_v2(problems: Problems, where: str, message: dict[str, Any]) -> None:
    text = message.get("text")
    if not problems.text(f"{where}.text", text, TEXT_LIMIT) or not isinstance(text, str):
        return
    substitutions = message.get("substitution") or {}
    if not isinstance(substitutions, dict) or len(substitutions) > 100:
        problems.add(f"{where}.substitution", "Size must be between 0 and 100")
        return
    for name in substitutions:
        if utf16_count(name) > 20:
            problems.add(f"{where}.substitution.{name}", "Length must be between 1 and 20")
    for found in _PLACEHOLDER.finditer(text):
        if found[0] in {"{", "}"}:
            problems.add(f"{where}.text", "braces must be doubled or closed")
            return
        if found[1] is not None and found[1] not in substitutions:
            problems.add(f"{where}.text", f"no substitution for {{{found[1]}}}")
            return


def _sticker(problems: Problems, where: str, message: dict[str, Any]) -> None:
    for name in ("packageId", "stickerId"):
        value = message.get(name)
        if not isinstance(value, str) or _DIGITS.match(value) is None:
            problems.add(f"{where}.{name}", "must be specified")


def _image(problems: Problems, where: str, message: dict[str, Any]) -> None:
    for name in ("originalContentUrl", "previewImageUrl"):
        problems.content_url(f"{where}.{name}", message.get(name))


def _video(problems: Problems, where: str, message: dict[str, Any]) -> None:
    _image(problems, where, message)
    if message.get("trackingId") is not None:
        problems.text(f"{where}.trackingId", message["trackingId"], 100)


def _audio(problems: Problems, where: str, message: dict[str, Any]) -> None:
    problems.content_url(f"{where}.originalContentUrl", message.get("originalContentUrl"))
    problems.whole(f"{where}.duration", message.get("duration"), 1, 2**31 - 1)


def _location(problems: Problems, where: str, message: dict[str, Any]) -> None:
    for name in ("title", "address"):
        problems.text(f"{where}.{name}", message.get(name), 100)
    for name, bound in (("latitude", 90), ("longitude", 180)):
        value = message.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > bound:
            problems.add(f"{where}.{name}", f"must be between -{bound} and {bound}")


def _imagemap(problems: Problems, where: str, message: dict[str, Any]) -> None:
    problems.content_url(f"{where}.baseUrl", message.get("baseUrl"))
    problems.text(f"{where}.altText", message.get("altText"), ALT_TEXT_LIMIT)
    size = message.get("baseSize")
    if not isinstance(size, dict) or size.get("width") != 1040:
        problems.add(f"{where}.baseSize.width", "must be 1040")
    elif not isinstance(size.get("height"), int) or size["height"] < 1:
        problems.add(f"{where}.baseSize.height", "must be specified")
    actions = message.get("actions")
    if not isinstance(actions, list) or len(actions) > 50:
        problems.add(f"{where}.actions", "Size must be between 0 and 50")
        return
    for number, action in enumerate(actions):
        _check_imagemap_action(problems, f"{where}.actions[{number}]", action)


def _check_imagemap_action(problems: Problems, where: str, action: Any) -> None:
    kinds = frozenset({"message", "uri", "clipboard"})
    if not isinstance(action, dict):
        problems.add(where, "must be an object")
        return
    if not problems.choice(f"{where}.type", action.get("type"), kinds):
        return
    if action["type"] == "message":
        problems.text(f"{where}.text", action.get("text"), 400, counts_graphemes=True)
    elif action["type"] == "uri":
        problems.action_uri(f"{where}.linkUri", action.get("linkUri"))
    else:
        problems.text(f"{where}.clipboardText", action.get("clipboardText"), 1000)
    area = action.get("area")
    for name in ("x", "y", "width", "height"):
        if not isinstance(area, dict) or not isinstance(area.get(name), int):
            problems.add(f"{where}.area.{name}", "must be specified")


def _flex(problems: Problems, where: str, message: dict[str, Any]) -> None:
    """The contents are checked apart: LINE reports them with paths of their own."""
    problems.text(f"{where}.altText", message.get("altText"), ALT_TEXT_LIMIT)


def _coupon(problems: Problems, where: str, message: dict[str, Any]) -> None:
    problems.text(f"{where}.couponId", message.get("couponId"), 200)
    if message.get("deliveryTag") is not None:
        problems.text(f"{where}.deliveryTag", message["deliveryTag"], 30)


def _template(problems: Problems, where: str, message: dict[str, Any]) -> None:
    problems.text(f"{where}.altText", message.get("altText"), ALT_TEXT_LIMIT)
    template = message.get("template")
    place = f"{where}.template"
    if not isinstance(template, dict):
        problems.add(place, "must be specified")
    elif problems.choice(f"{place}.type", template.get("type"), frozenset(_TEMPLATES)):
        _TEMPLATES[template["type"]](problems, place, template)


def _actions(problems: Problems, where: str, actions: Any, low: int, high: int) -> None:
    if not isinstance(actions, list) or not low <= len(actions) <= high:
        problems.add(where, f"Size must be between {low} and {high}")
        return
    for number, action in enumerate(actions):
        check_action(problems, f"{where}[{number}]", action, TEMPLATE)


def _headed_text(problems: Problems, where: str, part: dict[str, Any], plain: int) -> None:
    """Title, picture and text of buttons and columns; either of the first shortens the text."""
    if part.get("title") is not None:
        problems.text(f"{where}.title", part["title"], 40, counts_graphemes=True)
    if part.get("thumbnailImageUrl") is not None:
        problems.content_url(f"{where}.thumbnailImageUrl", part["thumbnailImageUrl"])
    is_headed = part.get("title") is not None or part.get("thumbnailImageUrl") is not None
    limit = 60 if is_headed else plain
    problems.text(f"{where}.text", part.get("text"), limit, counts_graphemes=True)
    if part.get("defaultAction") is not None:
        check_action(problems, f"{where}.defaultAction", part["defaultAction"], IMAGE_CAROUSEL)


def _buttons(problems: Problems, where: str, template: dict[str, Any]) -> None:
    _headed_text(problems, where, template, 160)
    _actions(problems, f"{where}.actions", template.get("actions"), 1, 4)


def _confirm(problems: Problems, where: str, template: dict[str, Any]) -> None:
    problems.text(f"{where}.text", template.get("text"), 240, counts_graphemes=True)
    _actions(problems, f"{where}.actions", template.get("actions"), 2, 2)


def _carousel(problems: Problems, where: str, template: dict[str, Any]) -> None:
    columns = template.get("columns")
    if not isinstance(columns, list) or not 1 <= len(columns) <= 10:
        problems.add(f"{where}.columns", "Size must be between 1 and 10")
        return
    counts = set()
    for number, column in enumerate(columns):
        place = f"{where}.columns[{number}]"
        if not isinstance(column, dict):
            problems.add(place, "must be an object")
            continue
        _headed_text(problems, place, column, 120)
        actions = column.get("actions")
        _actions(problems, f"{place}.actions", actions, 1, 3)
        counts.add(len(actions) if isinstance(actions, list) else 0)
    if len(counts) > 1:
        problems.add(f"{where}.columns", "columns must have the same number of actions")


def _image_carousel(problems: Problems, where: str, template: dict[str, Any]) -> None:
    columns = template.get("columns")
    if not isinstance(columns, list) or not 1 <= len(columns) <= 10:
        problems.add(f"{where}.columns", "Size must be between 1 and 10")
        return
    for number, column in enumerate(columns):
        place = f"{where}.columns[{number}]"
        if not isinstance(column, dict):
            problems.add(place, "must be an object")
            continue
        problems.content_url(f"{place}.imageUrl", column.get("imageUrl"))
        check_action(problems, f"{place}.action", column.get("action"), IMAGE_CAROUSEL)


_Check = Callable[[Problems, str, dict[str, Any]], None]
_TEMPLATES: dict[str, _Check] = {
    "buttons": _buttons,
    "confirm": _confirm,
    "carousel": _carousel,
    "image_carousel": _image_carousel,
}
_CHECKS: dict[str, _Check] = {
    "text": _text,
    "textV2": _text_v2,
    "sticker": _sticker,
    "image": _image,
    "video": _video,
    "audio": _audio,
    "location": _location,
    "imagemap": _imagemap,
    "template": _template,
    "flex": _flex,
    "coupon": _coupon,
}
_TYPES = frozenset(_CHECKS)
