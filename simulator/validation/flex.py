"""Flex containers: which components may stand where, and what their properties may hold.

Paths are written as LINE writes them for Flex: from the container, with slashes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from simulator.validation.actions import FLEX, FLEX_BUTTON, check_action
from simulator.validation.problems import Problems

BUBBLE_BYTES = 30 * 1024
CAROUSEL_BYTES = 50 * 1024
CAROUSEL_BUBBLES = 12
ANIMATED_IMAGES = 10
# LINE names no depth; deeper than this is a mistake, and recursion stays bounded.
DEPTH_LIMIT = 30

_STEPS = frozenset({"none", "xs", "sm", "md", "lg", "xl", "xxl"})
_SIZES = frozenset({"xxs", "xs", "sm", "md", "lg", "xl", "xxl", "3xl", "4xl", "5xl"})
_PIXELS = re.compile(r"\d+(?:\.\d+)?px\Z")
_SIGNED_PIXELS = re.compile(r"-?\d+(?:\.\d+)?px\Z")
_PERCENT = re.compile(r"\d+(?:\.\d+)?%\Z")
_SIGNED_PERCENT = re.compile(r"-?\d+(?:\.\d+)?%\Z")
_DEGREES = re.compile(r"-?\d+(?:\.\d+)?deg\Z")
_RATIO = re.compile(r"(\d{1,6}(?:\.\d+)?):(\d{1,6}(?:\.\d+)?)\Z")

Check = Callable[[Problems, str, Any], None]


def _one_of(*words: str) -> Check:
    allowed = frozenset(words)

    def check(problems: Problems, where: str, value: Any) -> None:
        if not isinstance(value, str) or value not in allowed:
            problems.add(where, "invalid property")

    return check


def _measure(words: frozenset[str], *forms: re.Pattern[str]) -> Check:
    """A keyword or a measure in one of these forms."""

    def check(problems: Problems, where: str, value: Any) -> None:
        if isinstance(value, str) and (value in words or any(form.match(value) for form in forms)):
            return
        problems.add(where, "invalid property")

    return check


def _whole(problems: Problems, where: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        problems.add(where, "invalid property")


def _boolean(problems: Problems, where: str, value: Any) -> None:
    if not isinstance(value, bool):
        problems.add(where, "invalid property")


def _color(problems: Problems, where: str, value: Any) -> None:
    problems.color(where, value)


def _url(problems: Problems, where: str, value: Any) -> None:
    problems.content_url(where, value)


def _ratio(problems: Problems, where: str, value: Any) -> None:
    found = _RATIO.match(value) if isinstance(value, str) else None
    if found is None:
        problems.add(where, "invalid property")
        return
    width, height = float(found[1]), float(found[2])
    if not (1 <= width <= 100_000 and 1 <= height <= 100_000 and height <= width * 3):
        problems.add(where, "invalid property")


def _tap(problems: Problems, where: str, value: Any) -> None:
    check_action(problems, where, value, FLEX, "/")


def _press(problems: Problems, where: str, value: Any) -> None:
    check_action(problems, where, value, FLEX_BUTTON, "/")


def _string(problems: Problems, where: str, value: Any) -> None:
    """Texts have no limit of their own inside Flex; the container's size bounds them."""
    if not isinstance(value, str):
        problems.add(where, "must be a string")
    elif not value:
        problems.add(where, "must be non-empty text")


def _background(problems: Problems, where: str, value: Any) -> None:
    if not isinstance(value, dict) or value.get("type") != "linearGradient":
        problems.add(f"{where}/type", "invalid property")
        return
    _apply(problems, where, value, _GRADIENT, required=("angle", "startColor", "endColor"))


def _ignored(problems: Problems, where: str, value: Any) -> None:
    """Checked where the component is walked, not by the table."""


_STEP = _measure(_STEPS, _PIXELS)
_PADDING = _measure(_STEPS, _PIXELS, _PERCENT)
_OFFSET = _measure(_STEPS, _SIGNED_PIXELS, _SIGNED_PERCENT)
_LENGTH = _measure(frozenset(), _PIXELS, _PERCENT)
_TEXT_SIZE = _measure(_SIZES, _PIXELS)
_PLACED: dict[str, Check] = {
    "type": _ignored,
    "margin": _STEP,
    "position": _one_of("relative", "absolute"),
    "offsetTop": _OFFSET,
    "offsetBottom": _OFFSET,
    "offsetStart": _OFFSET,
    "offsetEnd": _OFFSET,
}
_ALIGN = _one_of("start", "end", "center")
_GRAVITY = _one_of("top", "bottom", "center")
_FONT: dict[str, Check] = {
    "size": _TEXT_SIZE,
    "color": _color,
    "weight": _one_of("regular", "bold"),
    "style": _one_of("normal", "italic"),
    "decoration": _one_of("none", "underline", "line-through"),
}
_GRADIENT: dict[str, Check] = {
    "type": _ignored,
    "angle": _measure(frozenset(), _DEGREES),
    "startColor": _color,
    "endColor": _color,
    "centerColor": _color,
    "centerPosition": _measure(frozenset(), _PERCENT),
}

# Component type -> property -> what it may hold.
_COMPONENTS: dict[str, dict[str, Check]] = {
    "box": {
        **_PLACED,
        "layout": _one_of("horizontal", "vertical", "baseline"),
        "contents": _ignored,
        "flex": _whole,
        "spacing": _STEP,
        "backgroundColor": _color,
        "borderColor": _color,
        "borderWidth": _measure(
            frozenset({"none", "light", "normal", "medium", "semi-bold", "bold"}), _PIXELS
        ),
        "cornerRadius": _STEP,
        "width": _LENGTH,
        "maxWidth": _LENGTH,
        "height": _LENGTH,
        "maxHeight": _LENGTH,
        "paddingAll": _PADDING,
        "paddingTop": _PADDING,
        "paddingBottom": _PADDING,
        "paddingStart": _PADDING,
        "paddingEnd": _PADDING,
        "action": _tap,
        "justifyContent": _one_of(
            "center", "flex-start", "flex-end", "space-between", "space-around", "space-evenly"
        ),
        "alignItems": _one_of("center", "flex-start", "flex-end"),
        "background": _background,
    },
    "button": {
        **_PLACED,
        "action": _press,
        "flex": _whole,
        "color": _color,
        "style": _one_of("primary", "secondary", "link"),
        "gravity": _GRAVITY,
        "height": _one_of("sm", "md"),
        "adjustMode": _one_of("shrink-to-fit"),
        "scaling": _boolean,
    },
    "image": {
        **_PLACED,
        "url": _url,
        "flex": _whole,
        "align": _ALIGN,
        "gravity": _GRAVITY,
        "size": _measure(_SIZES | {"full"}, _PIXELS, _PERCENT),
        "aspectRatio": _ratio,
        "aspectMode": _one_of("fit", "cover"),
        "backgroundColor": _color,
        "action": _tap,
        "animated": _boolean,
    },
    "video": {
        "type": _ignored,
        "url": _url,
        "previewUrl": _url,
        "altContent": _ignored,
        "aspectRatio": _ratio,
        "action": _tap,
    },
    "icon": {
        **_PLACED,
        "url": _url,
        "size": _TEXT_SIZE,
        "aspectRatio": _ratio,
        "scaling": _boolean,
    },
    "text": {
        **_PLACED,
        **_FONT,
        "text": _string,
        "contents": _ignored,
        "flex": _whole,
        "align": _ALIGN,
        "gravity": _GRAVITY,
        "wrap": _boolean,
        "lineSpacing": _measure(frozenset(), _PIXELS),
        "maxLines": _whole,
        "action": _tap,
        "adjustMode": _one_of("shrink-to-fit"),
        "scaling": _boolean,
    },
    "span": {"type": _ignored, **_FONT, "text": _string},
    "separator": {"type": _ignored, "margin": _STEP, "color": _color},
    "filler": {"type": _ignored, "flex": _whole},
}
_REQUIRED: dict[str, tuple[str, ...]] = {
    "box": ("layout", "contents"),
    "button": ("action",),
    "image": ("url",),
    "video": ("url", "previewUrl", "altContent"),
    "icon": ("url",),
}
_IN_BOX = frozenset({"box", "button", "image", "text", "separator", "filler"})
_IN_BASELINE = frozenset({"icon", "text", "filler"})
_IN_HERO = frozenset({"box", "image", "video"})
_BLOCK_STYLE: dict[str, Check] = {
    "backgroundColor": _color,
    "separator": _boolean,
    "separatorColor": _color,
}
_BUBBLE: dict[str, Check] = {
    "type": _ignored,
    "size": _one_of("nano", "micro", "deca", "hecto", "kilo", "mega", "giga"),
    "direction": _one_of("ltr", "rtl"),
    "header": _ignored,
    "hero": _ignored,
    "body": _ignored,
    "footer": _ignored,
    "styles": _ignored,
    "action": _tap,
}


def check_flex(problems: Problems, container: Any) -> None:
    """Everything LINE would refuse about the `contents` of one Flex message."""
    if not isinstance(container, dict):
        problems.add("/", "must be specified" if container is None else "must be an object")
        return
    kind = container.get("type")
    if kind == "bubble":
        _check_bubble(problems, "", container)
    elif kind == "carousel":
        _check_carousel(problems, container)
    else:
        problems.add("/type", "Must be one of the following values: [bubble, carousel]")
    if _animated_count(container) > ANIMATED_IMAGES:
        problems.add("/", f"animated images must be {ANIMATED_IMAGES} or fewer")


def _check_carousel(problems: Problems, carousel: dict[str, Any]) -> None:
    for name in carousel.keys() - {"type", "contents"}:
        problems.add(f"/{name}", "unknown field")
    bubbles = carousel.get("contents")
    if not isinstance(bubbles, list) or not bubbles:
        problems.add("/contents", "must be specified")
        return
    if len(bubbles) > CAROUSEL_BUBBLES:
        problems.add("/contents", f"Size must be between 1 and {CAROUSEL_BUBBLES}")
    for number, bubble in enumerate(bubbles):
        where = f"/contents/{number}"
        if not isinstance(bubble, dict) or bubble.get("type") != "bubble":
            problems.add(f"{where}/type", "Must be one of the following values: [bubble]")
            continue
        _check_bubble(problems, where, bubble)
    if len({one.get("size", "mega") for one in bubbles if isinstance(one, dict)}) > 1:
        problems.add("/contents", "bubbles in a carousel must have the same size")
    if _byte_count(carousel) > CAROUSEL_BYTES:
        problems.add("/", "carousel is too large, at most 50 KB")


def _check_bubble(problems: Problems, where: str, bubble: dict[str, Any]) -> None:
    _apply(problems, where, bubble, _BUBBLE)
    blocks = [name for name in ("header", "hero", "body", "footer") if name in bubble]
    if not blocks:
        problems.add(where or "/", "At least one block must be specified")
    for name in blocks:
        allowed = _IN_HERO if name == "hero" else frozenset({"box"})
        _check_component(problems, f"{where}/{name}", bubble[name], allowed, 1)
    hero = bubble.get("hero")
    is_video = isinstance(hero, dict) and hero.get("type") == "video"
    if is_video and bubble.get("size", "mega") not in {"kilo", "mega", "giga"}:
        problems.add(f"{where}/size", "video requires size kilo, mega or giga")
    _check_styles(problems, f"{where}/styles", bubble.get("styles"))
    if _byte_count(bubble) > BUBBLE_BYTES:
        problems.add(where or "/", "bubble is too large, at most 30 KB")


def _check_styles(problems: Problems, where: str, styles: Any) -> None:
    if styles is None:
        return
    if not isinstance(styles, dict):
        problems.add(where, "must be an object")
        return
    for name, style in styles.items():
        if name not in {"header", "hero", "body", "footer"} or not isinstance(style, dict):
            problems.add(f"{where}/{name}", "unknown field")
            continue
        _apply(problems, f"{where}/{name}", style, _BLOCK_STYLE)


def _check_component(
    problems: Problems, where: str, component: Any, allowed: frozenset[str], depth: int
) -> None:
    if not isinstance(component, dict):
        problems.add(where, "must be an object")
        return
    kind = component.get("type")
    if not problems.choice(f"{where}/type", kind, allowed) or not isinstance(kind, str):
        return
    if depth > DEPTH_LIMIT:
        problems.add(where, "nested too deeply")
        return
    _apply(problems, where, component, _COMPONENTS[kind], _REQUIRED.get(kind, ()))
    if kind == "box":
        inner = _IN_BASELINE if component.get("layout") == "baseline" else _IN_BOX
        _check_children(problems, f"{where}/contents", component.get("contents"), inner, depth)
    elif kind == "text":
        spans = component.get("contents")
        if spans is not None:
            _check_children(problems, f"{where}/contents", spans, frozenset({"span"}), depth)
        if "text" not in component and not spans:
            problems.add(f"{where}/text", "must be specified")
    elif kind == "video":
        inner = frozenset({"image", "box"})
        _check_component(
            problems, f"{where}/altContent", component.get("altContent"), inner, depth + 1
        )


def _check_children(
    problems: Problems, where: str, children: Any, allowed: frozenset[str], depth: int
) -> None:
    if children is None:
        return
    if not isinstance(children, list):
        problems.add(where, "must be an array")
        return
    for number, child in enumerate(children):
        _check_component(problems, f"{where}/{number}", child, allowed, depth + 1)


def _apply(
    problems: Problems,
    where: str,
    component: dict[str, Any],
    table: dict[str, Check],
    required: tuple[str, ...] = (),
) -> None:
    for name in required:
        if component.get(name) is None:
            problems.add(f"{where}/{name}", "must be specified")
    for name, value in component.items():
        check = table.get(name)
        if check is None:
            problems.add(f"{where}/{name}", "unknown field")
        elif value is not None:
            check(problems, f"{where}/{name}", value)


def _animated_count(node: Any) -> int:
    if isinstance(node, dict):
        own = 1 if node.get("animated") is True else 0
        return own + sum(_animated_count(value) for value in node.values())
    if isinstance(node, list):
        return sum(_animated_count(value) for value in node)
    return 0


def _byte_count(container: dict[str, Any]) -> int:
    text = json.dumps(container, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate cannot be encoded strictly; LINE would see its replacement.
    return len(text.encode(errors="replace"))
