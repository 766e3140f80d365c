"""The look of everything Taem shows in a chat, and the small builders Flex messages are made of.

Colours, sizes and LINE's limits live here once. Every builder is pure: values in, a plain
dictionary out, ready to be serialised. Text is placed as a leaf of the finished object, never
spliced into JSON, so that no name can break or rewrite a message. Labels are counted in grapheme
clusters, everything else in UTF-16 code units, as LINE counts them (Messaging API reference,
"Character counting in a text").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import urlencode, urlsplit

import regex

Component = dict[str, Any]
Action = dict[str, Any]
Message = dict[str, Any]

# --- Brand: a teal-leaved café with cream, coffee and one warm amber accent. -------------
# Text colours reach a contrast of 4.5 : 1 on the grounds they are used on (a test computes it).
LEAF = "#0E6B5C"  # main colour: headers, primary buttons
LEAF_DARK = "#0A4A43"  # second stop of gradients, text on mint
MINT = "#E3F1EC"  # pale ground of pills and quiet buttons
CREAM = "#FBF6EC"  # warm paper
PAPER = "#FFFFFF"
AMBER = "#F2B544"  # the accent: prizes, the next step
AMBER_DARK = "#8A5A00"  # amber as text
SAND = "#FDF1D8"  # pale ground for notices
COFFEE = "#5A3B2A"
INK = "#21302D"  # body text
MUTED = "#5F6F6A"  # second-rank text
LINE_COLOUR = "#E4E0D6"  # hair lines
CORAL = "#B83A26"  # warnings as text
BLUSH = "#FBE9E4"  # pale ground of warnings
NIGHT = "#14211F"  # VIP ground
GOLD = "#E3BE77"  # VIP accent
ON_LEAF = "#FFFFFF"
ON_LEAF_SOFT = "#CFE7E0"  # second-rank text on the main colour

RADIUS = "16px"
PILL = "100px"

# --- LINE's limits -----------------------------------------------------------------------
ALT_TEXT_UNITS = 1_500
TEXT_UNITS = 5_000
BUBBLE_BYTES = 30 * 1_024
CAROUSEL_BYTES = 50 * 1_024
CAROUSEL_BUBBLES = 12
QUICK_REPLIES = 13
QUICK_REPLY_LABEL = 20
FLEX_LABEL = 40
POSTBACK_DATA_UNITS = 300
DISPLAY_TEXT = 300
MESSAGE_ACTION_TEXT = 300
URI_UNITS = 1_000
PICTURE_URL_UNITS = 2_000

# Our own limits for what strangers name: enough to recognise, short enough to keep a card a card.
NAME_GRAPHEMES = 60
SENTENCE_GRAPHEMES = 400
#: What staff write, once names and figures are filled in: longer than they may write it.
WRITTEN_GRAPHEMES = 1_000

_LOOPBACK_HOSTS = {"127.0.0.1", "localhost", "::1"}
_GRAPHEME = regex.compile(r"\X")
# Controls (line feed and tab apart), direction overrides and isolates, and invisible fillers have
# no place on a card: they hide or reorder what surrounds them. The joiners stay, emoji need them.
_UNWANTED = dict.fromkeys(
    (
        *range(0x09),
        *(0x0B, 0x0C, 0x0D),
        *range(0x0E, 0x20),
        *range(0x7F, 0xA0),
        *(0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, 0xFFFE),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        *range(0xD800, 0xE000),
    )
)
_MARKS_PER_GRAPHEME = 10


def plain(value: object) -> str:
    """Drop what a card must not carry: controls, direction overrides, lone surrogates."""
    return str(value).translate(_UNWANTED)


def utf16_units(value: str) -> int:
    """Count as LINE counts most limits."""
    return len(value) + sum(character > "\uffff" for character in value)


def graphemes(value: str) -> list[str]:
    """Split into what a reader calls characters; a pile of marks is cut to a bounded one."""
    return [cluster[: 1 + _MARKS_PER_GRAPHEME] for cluster in _GRAPHEME.findall(value)]


def clip_graphemes(value: object, limit: int) -> str:
    """Shorten to `limit` grapheme clusters, the last an ellipsis, never cutting a cluster."""
    cleaned = plain(value)
    if len(cleaned) <= limit:
        return cleaned
    clusters = graphemes(cleaned)
    if len(clusters) <= limit:
        return "".join(clusters)
    return "".join(clusters[: limit - 1]).rstrip() + "…"


def clip_units(value: object, limit: int) -> str:
    """Shorten to `limit` UTF-16 code units, never cutting inside a grapheme cluster."""
    cleaned = plain(value)
    if utf16_units(cleaned) <= limit:
        return cleaned
    kept: list[str] = []
    room = limit - 1
    for cluster in graphemes(cleaned):
        room -= utf16_units(cluster)
        if room < 0:
            break
        kept.append(cluster)
    return "".join(kept).rstrip() + "…"


def clip_name(value: object) -> str:
    """Shorten a stranger's name; an empty one becomes a dash, for LINE refuses empty text."""
    return clip_graphemes(value, NAME_GRAPHEMES).strip() or "–"


def is_picture_url(url: str | None) -> bool:
    """Tell whether LINE would take this as a picture: https, or http on loopback (simulator)."""
    if (
        not url
        or len(url) > PICTURE_URL_UNITS
        or not url.isascii()
        or any(c.isspace() for c in url)
    ):
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (
        parts.scheme == "https"
        or (parts.scheme == "http" and (host in _LOOPBACK_HOSTS or host.endswith(".localhost")))
    )


# --- Actions -----------------------------------------------------------------------------
def postback_data(noun_verb: str, /, **params: object) -> str:
    """Write `<noun>.<verb>?key=value`, leaving out None; longer than LINE takes is our bug."""
    given = {key: value for key, value in params.items() if value is not None}
    data = f"{noun_verb}?{urlencode(given)}" if given else noun_verb
    if len(data) > POSTBACK_DATA_UNITS:
        raise ValueError(f"postback data of {noun_verb} is longer than {POSTBACK_DATA_UNITS}")
    return data


def postback_action(
    label: str,
    noun_verb: str,
    /,
    *,
    display_text: str | None = None,
    input_option: str | None = None,
    label_limit: int = FLEX_LABEL,
    **params: object,
) -> Action:
    """Make a tap that sends `<noun>.<verb>?…`; `display_text` is what the customer seems to say."""
    action: Action = {
        "type": "postback",
        "label": clip_graphemes(label, label_limit),
        "data": postback_data(noun_verb, **params),
    }
    if display_text:
        action["displayText"] = clip_graphemes(display_text, DISPLAY_TEXT)
    if input_option:
        action["inputOption"] = input_option
    return action


def message_action(
    label: str, words: str | None = None, *, label_limit: int = FLEX_LABEL
) -> Action:
    """Make a tap that says `words` (the label itself when not given)."""
    return {
        "type": "message",
        "label": clip_graphemes(label, label_limit),
        "text": clip_graphemes(words or label, MESSAGE_ACTION_TEXT),
    }


def uri_action(label: str, uri: str, *, label_limit: int = FLEX_LABEL) -> Action:
    """Make a tap that opens a link."""
    if utf16_units(uri) > URI_UNITS:
        raise ValueError(f"a link is longer than {URI_UNITS}")
    return {"type": "uri", "label": clip_graphemes(label, label_limit), "uri": uri}


def datetime_action(
    label: str,
    noun_verb: str,
    /,
    *,
    mode: str = "date",
    initial: date | None = None,
    earliest: date | None = None,
    latest: date | None = None,
    label_limit: int = FLEX_LABEL,
    **params: object,
) -> Action:
    """Make a tap that opens LINE's date picker; the day comes back as `params.date`."""
    action: Action = {
        "type": "datetimepicker",
        "label": clip_graphemes(label, label_limit),
        "data": postback_data(noun_verb, **params),
        "mode": mode,
    }
    for key, day in (("initial", initial), ("min", earliest), ("max", latest)):
        if day is not None:
            action[key] = day.isoformat()
    return action


def clipboard_action(label: str, copied: str, *, label_limit: int = FLEX_LABEL) -> Action:
    """Make a tap that copies a text, such as a referral code."""
    return {
        "type": "clipboard",
        "label": clip_graphemes(label, label_limit),
        "clipboardText": clip_units(copied, 1_000),
    }


# --- Components --------------------------------------------------------------------------
_CAMEL = {
    "background": "backgroundColor",
    "background_image": "background",
    "radius": "cornerRadius",
    "border": "borderColor",
    "border_width": "borderWidth",
    "justify": "justifyContent",
    "align_items": "alignItems",
    "padding": "paddingAll",
    "padding_top": "paddingTop",
    "padding_bottom": "paddingBottom",
    "padding_start": "paddingStart",
    "padding_end": "paddingEnd",
    "offset_top": "offsetTop",
    "offset_bottom": "offsetBottom",
    "offset_start": "offsetStart",
    "offset_end": "offsetEnd",
    "max_width": "maxWidth",
    "max_height": "maxHeight",
    "max_lines": "maxLines",
    "line_spacing": "lineSpacing",
    "adjust": "adjustMode",
    "ratio": "aspectRatio",
    "mode": "aspectMode",
}


def _put(component: Component, properties: Mapping[str, Any]) -> Component:
    for name, value in properties.items():
        if value is not None:
            component[_CAMEL.get(name, name)] = value
    return component


def text(
    value: object,
    *,
    size: str = "md",
    color: str = INK,
    wrap: bool = True,
    limit_units: int = 2_000,
    **properties: Any,
) -> Component:
    """Show a text; an empty one becomes a dash, for LINE refuses empty text."""
    shown = clip_units(value, limit_units)
    component: Component = {
        "type": "text",
        "text": shown if shown.strip() else "–",
        "size": size,
        "color": color,
    }
    if wrap:
        component["wrap"] = True
    return _put(component, properties)


def span(value: object, **properties: Any) -> Component:
    """Style a part of a text; goes into `text_of_spans`."""
    return _put({"type": "span", "text": clip_units(value, 2_000) or "–"}, properties)


def text_of_spans(
    *spans: Component, size: str = "md", color: str = INK, **properties: Any
) -> Component:
    """Show one line made of differently styled parts."""
    component: Component = {
        "type": "text",
        "contents": list(spans),
        "size": size,
        "color": color,
        "wrap": True,
    }
    return _put(component, properties)


def box(layout: str, *contents: Component | None, **properties: Any) -> Component:
    """Arrange components; those that are None are left out."""
    return _put(
        {
            "type": "box",
            "layout": layout,
            "contents": [item for item in contents if item is not None],
        },
        properties,
    )


def column(*contents: Component | None, **properties: Any) -> Component:
    """Stack components."""
    return box("vertical", *contents, **properties)


def row(*contents: Component | None, **properties: Any) -> Component:
    """Put components side by side."""
    return box("horizontal", *contents, **properties)


def gradient(start: str, end: str, angle: str = "135deg") -> dict[str, str]:
    """Describe a box background that runs from one colour into another."""
    return {"type": "linearGradient", "angle": angle, "startColor": start, "endColor": end}


def button(
    action: Action, *, style: str = "primary", color: str | None = None, **properties: Any
) -> Component:
    """Make a button in brand colours: `primary` filled, `secondary` quiet, `link` bare."""
    default = {"primary": LEAF, "secondary": MINT, "link": LEAF}[style]
    component: Component = {
        "type": "button",
        "action": action,
        "style": style,
        "color": color or default,
        "height": "sm",
        "adjustMode": "shrink-to-fit",
    }
    return _put(component, properties)


def image(
    url: str | None,
    *,
    size: str = "full",
    ratio: str = "1:1",
    mode: str = "cover",
    **properties: Any,
) -> Component | None:
    """Show a picture, or nothing when LINE would refuse its address and so the message."""
    if not is_picture_url(url):
        return None
    return _put(
        {"type": "image", "url": url, "size": size, "aspectRatio": ratio, "aspectMode": mode},
        properties,
    )


def separator(margin: str | None = "lg", color: str = LINE_COLOUR) -> Component:
    """Draw a hair line."""
    return _put({"type": "separator", "color": color}, {"margin": margin})


def pill(
    value: object, *, color: str = LEAF_DARK, background: str = MINT, **properties: Any
) -> Component:
    """Show a short word on a rounded ground, as wide as the word."""
    shape: dict[str, Any] = {
        "flex": 0,
        "background": background,
        "radius": PILL,
        "padding_start": "10px",
        "padding_end": "10px",
        "padding_top": "3px",
        "padding_bottom": "3px",
    }
    label = text(
        clip_graphemes(value, 40), size="xs", color=color, weight="bold", wrap=False, flex=0
    )
    return column(label, **(shape | properties))


def fact(label: str, value: object, *, color: str = INK, margin: str | None = None) -> Component:
    """Show a label at the left with its value at the right."""
    return row(
        text(label, size="sm", color=MUTED, flex=4, wrap=True),
        text(value, size="sm", color=color, flex=5, align="end", wrap=True, weight="bold"),
        margin=margin,
        spacing="md",
    )


def bullet(value: object, *, color: str = AMBER, size: str = "sm") -> Component:
    """Show one item of a list behind a coloured dot."""
    dot = column(width="8px", height="8px", radius="4px", background=color)
    return row(
        column(dot, flex=0, padding_top="7px", width="8px"),
        text(value, size=size, color=INK, wrap=True, flex=1),
        spacing="md",
        align_items="flex-start",
    )


def banner(
    title: object,
    *lines: Component | None,
    eyebrow: object | None = None,
    vip: bool = False,
    **properties: Any,
) -> Component:
    """Make the coloured head of a card: a small line above, the title, then whatever follows."""
    start, end, soft, strong = (
        (NIGHT, "#2B3A35", GOLD, "#FFFFFF") if vip else (LEAF, LEAF_DARK, ON_LEAF_SOFT, ON_LEAF)
    )
    shape: dict[str, Any] = {
        "background_image": gradient(start, end),
        "background": start,
        "padding": "20px",
        "spacing": "xs",
    }
    return column(
        text(eyebrow, size="xs", color=soft, wrap=True, max_lines=2) if eyebrow else None,
        text(title, size="xl", color=strong, weight="bold", wrap=True, max_lines=3),
        *lines,
        **(shape | properties),
    )


# --- Messages ----------------------------------------------------------------------------
def bubble(
    body: Component | None = None,
    *,
    header: Component | None = None,
    hero: Component | None = None,
    footer: Component | None = None,
    size: str = "mega",
    action: Action | None = None,
    background: str | None = None,
) -> Component:
    """Make one card. Blocks that are None are left out."""
    made: Component = {"type": "bubble", "size": size}
    for name, block in (("header", header), ("hero", hero), ("body", body), ("footer", footer)):
        if block is not None:
            made[name] = block
    if background:
        blocks = [name for name in ("header", "body", "footer") if name in made]
        made["styles"] = {name: {"backgroundColor": background} for name in blocks}
    if action:
        made["action"] = action
    return made


def footer(*contents: Component | None, **properties: Any) -> Component:
    """Make the block of buttons under a card."""
    return column(*contents, **({"spacing": "sm", "padding": "16px"} | properties))


def carousel(bubbles: Sequence[Component]) -> Component:
    """Put cards beside each other; one card stays a card, and LINE takes twelve at most."""
    if len(bubbles) == 1:
        return bubbles[0]
    return {"type": "carousel", "contents": list(bubbles[:CAROUSEL_BUBBLES])}


def flex(
    alt: str, contents: Component, quick_reply_items: Iterable[Action] | None = None
) -> Message:
    """Make a Flex message; `alt` is what a notification and a screen reader say."""
    message: Message = {
        "type": "flex",
        "altText": clip_units(" ".join(plain(alt).split()), 400) or "–",
        "contents": contents,
    }
    return with_quick_reply(message, quick_reply_items)


def text_message(value: str, quick_reply_items: Iterable[Action] | None = None) -> Message:
    """Make a plain text message."""
    shown = clip_units(value, TEXT_UNITS)
    return with_quick_reply(
        {"type": "text", "text": shown if shown.strip() else "–"}, quick_reply_items
    )


def quick_reply(actions: Iterable[Action]) -> dict[str, Any]:
    """Make the row of answers above the keyboard: at most 13, labels of at most 20 characters."""
    items = []
    for action in list(actions)[:QUICK_REPLIES]:
        short = action | {"label": clip_graphemes(action["label"], QUICK_REPLY_LABEL)}
        items.append({"type": "action", "action": short})
    return {"items": items}


def with_quick_reply(message: Message, actions: Iterable[Action] | None) -> Message:
    """Hang answers under a message; LINE shows only those of the last message sent."""
    offered = list(actions or [])
    return message | {"quickReply": quick_reply(offered)} if offered else message
