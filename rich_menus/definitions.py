"""What the rich menus are: tabs, areas, words, actions, colours. Data only, no drawing, no LINE calls.

The default pack at the end seeds the tables; from then on versions live as JSON (`to_dict`,
`from_dict`) and are edited in the console. A *menu* is what one audience sees; its *tabs* are rich
menus at LINE, tied together by aliases, one set per language.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

import regex

from bot.palette import palette_of

LOCALES = ("th", "en")
WIDTH = 2500
FULL_HEIGHT = 1686
HALF_HEIGHT = 843
TAB_STRIP_HEIGHT = 230

# LINE's limits (Messaging API reference, "Rich menu object"; labels count grapheme clusters).
CHAT_BAR_TEXT = 14
AREAS = 20
NAME = 300
LABEL = 20
DATA = 300
URI = 1_000
SMALLEST_RATIO = 1.45
ALIAS = re.compile(r"^[a-z0-9_-]{1,32}$")
CLIPBOARD = 1_000
URI_SCHEMES = ("http", "https", "line", "tel")
#: Every type that LINE takes in a rich menu; camera, camera roll and location are for quick replies.
ACTION_TYPES = ("postback", "message", "uri", "richmenuswitch", "datetimepicker", "clipboard")
INPUT_OPTIONS = ("closeRichMenu", "openRichMenu", "openKeyboard", "openVoice")
#: What a date picker gives, and how LINE writes its bounds.
PICKER_MODES = {"date": "%Y-%m-%d", "time": "%H:%M", "datetime": "%Y-%m-%dT%H:%M"}
PICKER_YEARS = (1900, 2100)
PICKER_BOUNDS = ("initial", "min", "max")
#: What a living area shows of a member: their tier, or the stamps on a card.
SHOWS_TIER, SHOWS_STAMPS = "tier", "stamps:"
COLOUR = re.compile(r"^#[0-9A-Fa-f]{6}$")


@dataclass(frozen=True)
class Words:
    """The same words in both languages."""

    th: str
    en: str

    def of(self, locale: str) -> str:
        """Give the words of one language, Thai for any unknown one."""
        return self.en if locale == "en" else self.th

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Words:
        return cls(th=str(given["th"]), en=str(given["en"]))


def _text(given: Mapping[str, Any], name: str) -> str | None:
    """A text that may be missing, whatever stands there instead."""
    return None if given.get(name) is None else str(given[name])


@dataclass(frozen=True)
class AreaAction:
    """What a tap does.

    `value` is, by type: the data of a postback or date picker, the words a message says (Thai;
    `say` holds both languages), an address, the alias of the tab to switch to, or what is copied.
    """

    type: str
    value: str
    #: What the customer seems to say (postback) or says (message).
    say: Words | None = None
    #: Postback only: `openKeyboard` and the words it starts with.
    input_option: str | None = None
    fill_in: Words | None = None
    #: Date picker only: `date`, `time` or `datetime`, and the bounds as LINE writes them.
    mode: str | None = None
    initial: str | None = None
    min: str | None = None
    max: str | None = None

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> AreaAction:
        return cls(
            type=str(given["type"]),
            value=str(given["value"]),
            say=Words.from_dict(given["say"]) if given.get("say") else None,
            input_option=_text(given, "input_option"),
            fill_in=Words.from_dict(given["fill_in"]) if given.get("fill_in") else None,
            mode=_text(given, "mode"),
            **{name: _text(given, name) for name in PICKER_BOUNDS},
        )


@dataclass(frozen=True)
class Area:
    """One tile: where it is (picture pixels), what it shows, what it does."""

    key: str
    x: int
    y: int
    width: int
    height: int
    icon: str
    label: Words
    action: AreaAction
    #: A second, smaller line.
    hint: Words | None = None
    #: Drawn on the main colour, to catch the eye.
    is_hero: bool = False
    #: A living area: `tier`, or `stamps:<programme>`; its second line says how the member stands.
    shows: str | None = None

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Area:
        return cls(
            key=str(given["key"]),
            x=int(given["x"]),
            y=int(given["y"]),
            width=int(given["width"]),
            height=int(given["height"]),
            icon=str(given["icon"]),
            label=Words.from_dict(given["label"]),
            action=AreaAction.from_dict(given["action"]),
            hint=Words.from_dict(given["hint"]) if given.get("hint") else None,
            is_hero=bool(given.get("is_hero", False)),
            shows=_text(given, "shows") or None,
        )


@dataclass(frozen=True)
class Tab:
    """One rich menu at LINE. `alias` names it for switching; English pictures add `-en`."""

    key: str
    alias: str
    label: Words
    icon: str
    chat_bar_text: Words
    areas: tuple[Area, ...]
    width: int = WIDTH
    height: int = FULL_HEIGHT
    #: Language -> hash of an uploaded picture; a language without one is drawn.
    pictures: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Tab:
        return cls(
            key=str(given["key"]),
            alias=str(given["alias"]),
            label=Words.from_dict(given["label"]),
            icon=str(given["icon"]),
            chat_bar_text=Words.from_dict(given["chat_bar_text"]),
            areas=tuple(Area.from_dict(area) for area in given["areas"]),
            width=int(given.get("width", WIDTH)),
            height=int(given.get("height", FULL_HEIGHT)),
            pictures={one: str(kept) for one, kept in (given.get("pictures") or {}).items()},
        )


@dataclass(frozen=True)
class MenuColours:
    """The colours a menu is drawn in, as `#RRGGBB`."""

    ground: str = "#F3EEE2"
    tile: str = "#FFFFFF"
    ink: str = "#21302D"
    muted: str = "#5F6F6A"
    primary: str = "#0E6B5C"
    on_primary: str = "#FFFFFF"
    soft: str = "#E3F1EC"
    accent: str = "#F2B544"

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> MenuColours:
        return cls(**{name: str(given[name]) for name in cls.__dataclass_fields__ if name in given})


@dataclass(frozen=True)
class Variant:
    """One picture of a living menu: its key, and what its living area says."""

    #: `s6` for six stamps, `t3` for the tier with id 3; empty for the plain picture.
    key: str = ""
    words: Words | None = None
    #: Stamps on the card and places for them.
    filled: int = 0
    size: int = 0


PLAIN = Variant()


@dataclass(frozen=True)
class MenuDefinition:
    """Everything about one menu. `audience` and `priority` are those it began with."""

    key: str
    name: Words
    audience: Mapping[str, Any]
    tabs: tuple[Tab, ...]
    colours: MenuColours = MenuColours()
    priority: int = 100
    is_default: bool = False

    def tab(self, key: str) -> Tab:
        """Find a tab by its key."""
        return next(tab for tab in self.tabs if tab.key == key)

    @property
    def has_strip(self) -> bool:
        """Whether the pictures carry a strip of tabs."""
        return len(self.tabs) > 1

    @property
    def living(self) -> str | None:
        """What the pictures show of a member; None for a menu that looks the same to everybody."""
        return next((area.shows for tab in self.tabs for area in tab.areas if area.shows), None)

    @cached_property
    def written(self) -> Mapping[str, Any]:
        """What `to_dict` writes, made once; not to be changed."""
        return self.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """Write as JSON for a version row."""
        written = asdict(self)
        written["audience"] = dict(self.audience)
        written["tabs"] = [{**tab, "areas": list(tab["areas"])} for tab in written["tabs"]]
        return written

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> MenuDefinition:
        """Read what `to_dict` wrote; a missing key is a KeyError, an unknown one is ignored."""
        return cls(
            key=str(given["key"]),
            name=Words.from_dict(given["name"]),
            audience=dict(given["audience"]),
            tabs=tuple(Tab.from_dict(tab) for tab in given["tabs"]),
            colours=MenuColours.from_dict(given.get("colours", {})),
            priority=int(given.get("priority", 100)),
            is_default=bool(given.get("is_default", False)),
        )


def in_colour(definition: MenuDefinition, colour: str, worn: str = "") -> MenuDefinition:
    """The menu in the shop's colour, if it wears `worn` (the built-in one where that is empty)."""
    before, after, colours = palette_of(worn), palette_of(colour), definition.colours
    if (colours.primary.upper(), colours.soft.upper()) != (before.main, before.pale):
        return definition
    dressed = replace(colours, primary=after.main, soft=after.pale)
    return replace(definition, colours=dressed)


# --- What LINE is given ------------------------------------------------------------------------
def localized_alias(alias: str, locale: str, variant: str = "") -> str:
    """Name a tab's alias in one language: Thai has the bare name."""
    name = alias if locale == "th" else f"{alias}-{locale}"
    return f"{name}-{variant}" if variant else name


def strip_bounds(definition: MenuDefinition, tab: Tab) -> list[tuple[Tab, int, int]]:
    """Say where each tab of the strip lies: (tab, x, width), together exactly the picture's width."""
    count = len(definition.tabs)
    edges = [tab.width * number // count for number in range(count + 1)]
    return [
        (each, edges[number], edges[number + 1] - edges[number])
        for number, each in enumerate(definition.tabs)
    ]


def line_object(
    definition: MenuDefinition, tab: Tab, locale: str, variant: str = ""
) -> dict[str, Any]:
    """Make the body of LINE's create-rich-menu call for one tab in one language."""
    areas = [
        {
            "bounds": {"x": area.x, "y": area.y, "width": area.width, "height": area.height},
            "action": line_action(area, locale, variant),
        }
        for area in tab.areas
    ]
    if definition.has_strip:
        areas = [*_switches(definition, tab, locale, variant), *areas]
    return {
        "size": {"width": tab.width, "height": tab.height},
        "selected": True,
        "name": "/".join(filter(None, (definition.key, tab.key, locale, variant))),
        "chatBarText": tab.chat_bar_text.of(locale),
        "areas": areas,
    }


def _switches(
    definition: MenuDefinition, tab: Tab, locale: str, variant: str
) -> list[dict[str, Any]]:
    """Make the tab strip's areas; the tab that is open has none."""
    return [
        {
            "bounds": {"x": x, "y": 0, "width": width, "height": TAB_STRIP_HEIGHT},
            "action": {
                "type": "richmenuswitch",
                "label": _clip(other.label.of(locale)),
                "richMenuAliasId": localized_alias(other.alias, locale, variant),
                "data": f"menus.switched?tab={other.key}",
            },
        }
        for other, x, width in strip_bounds(definition, tab)
        if other.key != tab.key
    ]


def line_action(area: Area, locale: str, variant: str = "") -> dict[str, Any]:
    """Make LINE's action object of one area."""
    action = area.action
    made: dict[str, Any] = {"type": action.type, "label": _clip(area.label.of(locale))}
    if action.type == "message":
        made["text"] = action.say.of(locale) if action.say else action.value
    elif action.type == "uri":
        made["uri"] = action.value
    elif action.type == "richmenuswitch":
        made["richMenuAliasId"] = localized_alias(action.value, locale, variant)
        made["data"] = "menus.switched"
    elif action.type == "clipboard":
        made["clipboardText"] = action.value
    elif action.type == "datetimepicker":
        made |= {"data": action.value, "mode": action.mode}
        made |= {name: bound for name in PICKER_BOUNDS if (bound := getattr(action, name))}
    else:
        made["data"] = action.value
        if action.say:
            made["displayText"] = action.say.of(locale)
        if action.input_option:
            made["inputOption"] = action.input_option
        if action.fill_in and action.input_option == "openKeyboard":
            made["fillInText"] = action.fill_in.of(locale)
    return made


def _clip(label: str) -> str:
    clusters: list[str] = regex.findall(r"\X", label)
    return "".join(clusters[:LABEL])


# --- Checks before saving ----------------------------------------------------------------------
@dataclass(frozen=True)
class Fault:
    """What LINE would refuse or nobody could use: a locale key, and the field it is about.

    `place` is `<tab>`, `<tab>.<area>`, or one of its fields; empty for the menu as a whole.
    """

    key: str
    place: str = ""


def problems(definition: MenuDefinition, icons: Sequence[str] = ()) -> list[str]:
    """List the locale keys of all faults, each once; empty means fit to publish."""
    return list(dict.fromkeys(fault.key for fault in faults(definition, icons)))


def faults(definition: MenuDefinition, icons: Sequence[str] = ()) -> list[Fault]:
    """Find everything that is wrong with a definition, and where."""
    found: list[Fault] = []
    aliases = {tab.alias for tab in definition.tabs}
    if not definition.tabs:
        found.append(Fault("menus.problem_no_tabs"))
    if len(aliases) != len(definition.tabs):
        found.append(Fault("menus.problem_alias_twice"))
    if any(not COLOUR.match(colour) for colour in asdict(definition.colours).values()):
        found.append(Fault("menus.problem_colour", "colour"))
    shown = {area.shows for tab in definition.tabs for area in tab.areas if area.shows}
    if len(shown) > 1 or (shown and definition.is_default):
        found.append(Fault("menus.problem_living"))
    for tab in definition.tabs:
        found += _tab_faults(definition, tab)
        for area in tab.areas:
            found += _area_faults(tab, area, aliases, icons)
    return found


def _tab_faults(definition: MenuDefinition, tab: Tab) -> list[Fault]:
    switches = len(definition.tabs) - 1 if definition.has_strip else 0
    longest = "t" + "9" * 6 if definition.living else ""
    checks = {
        "menus.problem_alias": not all(
            ALIAS.match(localized_alias(tab.alias, locale, longest)) for locale in LOCALES
        ),
        "menus.problem_size": not (
            800 <= tab.width <= WIDTH
            and tab.height >= 250
            and tab.width / tab.height >= SMALLEST_RATIO
        ),
        "menus.problem_too_many_areas": len(tab.areas) + switches > AREAS,
        "menus.problem_no_areas": not tab.areas,
        "menus.problem_overlap": _is_any_overlap(definition, tab),
    }
    found = [Fault(key, tab.key) for key, is_wrong in checks.items() if is_wrong]
    if not _fit(tab.chat_bar_text, CHAT_BAR_TEXT):
        found.append(Fault("menus.problem_chat_bar", f"{tab.key}.chat_bar"))
    if definition.has_strip and not _fit(tab.label, LABEL):
        found.append(Fault("menus.problem_tab_label", f"{tab.key}.tab_label"))
    return found


def _is_any_overlap(definition: MenuDefinition, tab: Tab) -> bool:
    """Whether two areas share a pixel, or one lies on the strip of tabs: a tap would be lost."""
    top = TAB_STRIP_HEIGHT if definition.has_strip else 0
    return any(area.y < top for area in tab.areas) or any(
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
        for one, other in combinations(tab.areas, 2)
    )


def _area_faults(tab: Tab, area: Area, aliases: set[str], icons: Sequence[str]) -> list[Fault]:
    place = f"{tab.key}.{area.key}"
    is_inside = (
        area.width > 0
        and area.height > 0
        and area.x >= 0
        and area.y >= 0
        and area.x + area.width <= tab.width
        and area.y + area.height <= tab.height
    )
    found = []
    if not is_inside:
        found.append(Fault("menus.problem_bounds", f"{place}.x"))
    if not _fit(area.label, LABEL):
        found.append(Fault("menus.problem_label", f"{place}.label"))
    if icons and area.icon not in icons:
        found.append(Fault("menus.problem_icon", f"{place}.icon"))
    return found + [
        Fault(key, f"{place}.{name}") for key, name in _action_faults(area.action, aliases)
    ]


def _fit(words: Words, limit: int) -> bool:
    return all(
        words.of(locale).strip() and graphemes(words.of(locale)) <= limit for locale in LOCALES
    )


def graphemes(text: str) -> int:
    """Count letters as LINE does for what people read."""
    return len(regex.findall(r"\X", text))


def units(text: str) -> int:
    """Count as LINE does for what machines read: UTF-16 code units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _action_faults(action: AreaAction, aliases: set[str]) -> list[tuple[str, str]]:
    """List what LINE would refuse about an action, as (locale key, field)."""
    rules: dict[str, Callable[[AreaAction, set[str]], list[tuple[str, str]]]] = {
        "postback": _postback_faults,
        "message": _message_faults,
        "uri": lambda one, _: [] if is_address(one.value) else [("menus.problem_uri", "value")],
        "richmenuswitch": lambda one, known: (
            [] if one.value in known else [("menus.problem_switch", "value")]
        ),
        "datetimepicker": _picker_faults,
        "clipboard": lambda one, _: (
            []
            if one.value.strip() and units(one.value) <= CLIPBOARD
            else [("menus.problem_clipboard", "value")]
        ),
    }
    rule = rules.get(action.type)
    return rule(action, aliases) if rule else [("menus.problem_action", "type")]


def _postback_faults(action: AreaAction, aliases: set[str]) -> list[tuple[str, str]]:
    del aliases
    found = []
    if not action.value or units(action.value) > DATA:
        found.append(("menus.problem_postback", "value"))
    if action.say is not None and not _fit(action.say, DATA):
        found.append(("menus.problem_say", "say"))
    if action.input_option is not None and action.input_option not in INPUT_OPTIONS:
        found.append(("menus.problem_action", "input_option"))
    if action.fill_in is not None and (
        action.input_option != "openKeyboard" or not _fit(action.fill_in, DATA)
    ):
        found.append(("menus.problem_fill_in", "fill_in"))
    return found


def _message_faults(action: AreaAction, aliases: set[str]) -> list[tuple[str, str]]:
    del aliases
    said = action.say or Words(action.value, action.value)
    return [] if _fit(said, DATA) else [("menus.problem_message", "say")]


def is_address(text: str) -> bool:
    """Whether LINE takes it: percent-encoded, so neither Thai letters nor signs of no address."""
    try:
        parts = urlsplit(text)
        is_web = parts.scheme in ("http", "https")
        is_whole = bool(parts.hostname if is_web else parts.netloc or parts.path)
        is_whole = is_whole and parts.port != 0
    except ValueError:  # an address that cannot be parsed
        return False
    return (
        is_whole
        and len(text) <= URI
        and parts.scheme in URI_SCHEMES
        and text.isascii()
        and text.isprintable()
        and not set(text) & set(' <>"{}|\\^`')
    )


def _picker_faults(action: AreaAction, aliases: set[str]) -> list[tuple[str, str]]:
    """LINE wants bounds in the form of the mode, from 1900 to 2100, the first before the last."""
    del aliases
    found = []
    if not action.value or units(action.value) > DATA:
        found.append(("menus.problem_postback", "value"))
    form = PICKER_MODES.get(action.mode or "")
    if form is None:
        return [*found, ("menus.problem_picker_mode", "mode")]
    bounds: dict[str, datetime] = {}
    for name in PICKER_BOUNDS:
        text = getattr(action, name)
        if not text:
            continue
        try:
            bounds[name] = datetime.strptime(text, form)  # noqa: DTZ007  (a wall clock's words)
        except ValueError:
            found.append(("menus.problem_picker_form", name))
            continue
        is_dated = action.mode != "time"
        if is_dated and not PICKER_YEARS[0] <= bounds[name].year <= PICKER_YEARS[1]:
            found.append(("menus.problem_picker_form", name))
    order = [bounds[name] for name in ("min", "initial", "max") if name in bounds]
    if order != sorted(order) or ("min" in bounds and bounds["min"] == bounds.get("max")):
        found.append(("menus.problem_picker_order", "max"))
    return found


# --- The default pack --------------------------------------------------------------------------
# Each entry: icon, label, postback, the chat word that does the same (contract of the chat).
_TILES: dict[str, tuple[str, Words, str, Words]] = {
    "card": ("card", Words("บัตรสมาชิก", "My card"), "members.card", Words("บัตรสมาชิก", "card")),
    "points": ("points", Words("แต้ม", "Points"), "points.show", Words("แต้ม", "points")),
    "stamps": ("stamp", Words("แสตมป์", "Stamps"), "stamps.show", Words("แสตมป์", "stamps")),
    "history": ("history", Words("ประวัติ", "History"), "points.history", Words("ประวัติ", "history")),
    "coupons": ("coupon", Words("คูปอง", "Coupons"), "coupons.show", Words("คูปอง", "coupons")),
    "rewards": ("gift", Words("ของรางวัล", "Rewards"), "rewards.show", Words("ของรางวัล", "rewards")),
    "invite": ("invite", Words("ชวนเพื่อน", "Invite"), "referrals.show", Words("ชวนเพื่อน", "invite")),
    "my_data": (
        "user",
        Words("ข้อมูลของฉัน", "My data"),
        "members.my_data",
        Words("ข้อมูลของฉัน", "my data"),
    ),
    "language": ("globe", Words("ภาษา", "Language"), "members.language", Words("ภาษา", "language")),
    "help": ("help", Words("ช่วยเหลือ", "Help"), "members.help", Words("ช่วยเหลือ", "help")),
    "staff": (
        "chat",
        Words("คุยกับพนักงาน", "Talk to us"),
        "conversations.open",
        Words("ติดต่อพนักงาน", "staff"),
    ),
    "join": (
        "join",
        Words("สมัครสมาชิกฟรี", "Join for free"),
        "members.join",
        Words("สมัครสมาชิก", "join"),
    ),
}


def _tile(key: str, x: int, y: int, width: int, height: int, **changes: Any) -> Area:
    icon, label, postback, word = _TILES[key]
    area = Area(key, x, y, width, height, icon, label, AreaAction("postback", postback, say=word))
    return replace(area, **changes)


def _grid(
    keys: Sequence[str], columns: int, *, left: int, top: int, width: int, height: int
) -> list[Area]:
    """Lay tiles on a grid; the edges are exact, so that no pixel belongs to nobody."""
    rows = -(-len(keys) // columns)
    across = [left + width * number // columns for number in range(columns + 1)]
    down = [top + height * number // rows for number in range(rows + 1)]
    tiles = []
    for number, key in enumerate(keys):
        row, column = divmod(number, columns)
        tiles.append(
            _tile(
                key,
                across[column],
                down[row],
                across[column + 1] - across[column],
                down[row + 1] - down[row],
            )
        )
    return tiles


def _member_tabs(prefix: str, chat_bar_text: Words, card: Mapping[str, Any]) -> tuple[Tab, ...]:
    top, height = TAB_STRIP_HEIGHT, FULL_HEIGHT - TAB_STRIP_HEIGHT
    left = 1000
    code = AreaAction(
        "postback",
        "coupons.enter_code",
        input_option="openKeyboard",
        fill_in=Words("โค้ด ", "code "),
    )
    rewards = _grid(
        ["coupons", "rewards", "stamps", "invite", "history", "points"],
        3,
        left=0,
        top=top,
        width=WIDTH,
        height=height,
    )
    rewards[5] = replace(
        rewards[5], key="code", icon="code", label=Words("ใส่โค้ด", "Enter code"), action=code
    )
    return (
        Tab(
            "card",
            f"{prefix}-card",
            Words("บัตร", "Card"),
            "card",
            chat_bar_text,
            (
                _tile("card", 0, top, left, height, is_hero=True, **card),
                *_grid(
                    ["points", "stamps", "coupons", "history"],
                    2,
                    left=left,
                    top=top,
                    width=WIDTH - left,
                    height=height,
                ),
            ),
        ),
        Tab(
            "rewards",
            f"{prefix}-rewards",
            Words("สิทธิ์", "Rewards"),
            "gift",
            chat_bar_text,
            tuple(rewards),
        ),
        Tab(
            "shop",
            f"{prefix}-shop",
            Words("ร้าน", "Shop"),
            "shop",
            chat_bar_text,
            tuple(
                _grid(
                    ["staff", "help", "my_data", "language"],
                    2,
                    left=0,
                    top=top,
                    width=WIDTH,
                    height=height,
                )
            ),
        ),
    )


def _guest_tab() -> Tab:
    above = 880
    return Tab(
        "main",
        "guest",
        Words("เมนู", "Menu"),
        "join",
        Words("เมนูร้าน", "Menu"),
        (
            _tile(
                "join",
                0,
                0,
                WIDTH,
                above,
                is_hero=True,
                hint=Words("สะสมแต้ม รับคูปอง ในแชทนี้เลย", "Points and coupons, right in this chat"),
            ),
            *_grid(
                ["coupons", "help", "staff"],
                3,
                left=0,
                top=above,
                width=WIDTH,
                height=FULL_HEIGHT - above,
            ),
        ),
    )


GUEST = MenuDefinition(
    key="guest",
    name=Words("ผู้ติดตามที่ยังไม่สมัคร", "Friends who have not joined"),
    audience={"state": "friend"},
    tabs=(_guest_tab(),),
    priority=300,
    is_default=True,
)

MEMBER = MenuDefinition(
    key="member",
    name=Words("สมาชิก", "Members"),
    audience={"state": "member"},
    tabs=_member_tabs(
        "member",
        Words("เมนูสมาชิก", "Member menu"),
        {"hint": Words("ให้พนักงานสแกน", "Let staff scan it")},
    ),
    priority=200,
)

VIP = MenuDefinition(
    key="vip",
    name=Words("สมาชิก VIP", "VIP members"),
    audience={"override": "vip"},
    tabs=_member_tabs(
        "vip",
        Words("เมนู VIP", "VIP menu"),
        {
            "icon": "crown",
            "label": Words("บัตร VIP", "VIP card"),
            "hint": Words("ให้พนักงานสแกน", "Let staff scan it"),
        },
    ),
    colours=MenuColours(
        ground="#0D1715",
        tile="#182724",
        ink="#F7EEDC",
        muted="#B9B09C",
        primary="#E3BE77",
        on_primary="#1B1A14",
        soft="#24352F",
        accent="#E3BE77",
    ),
    priority=100,
)

DEFAULT_PACK: tuple[MenuDefinition, ...] = (GUEST, MEMBER, VIP)


def blank() -> MenuDefinition:
    """One tab with four tiles: where a menu of one's own begins."""
    tiles = _grid(
        ["card", "points", "coupons", "staff"], 2, left=0, top=0, width=WIDTH, height=HALF_HEIGHT
    )
    tab = Tab(
        "main",
        "main",
        Words("เมนู", "Menu"),
        "shop",
        Words("เมนู", "Menu"),
        tuple(tiles),
        height=HALF_HEIGHT,
    )
    return MenuDefinition(key="blank", name=Words("เมนูใหม่", "New menu"), audience={}, tabs=(tab,))


#: Chat commands that a tile may give, by what they are called; the words are what the customer
#: seems to say.
COMMANDS: Mapping[str, tuple[Words, Words]] = {
    **{postback: (label, word) for _icon, label, postback, word in _TILES.values()},
    "coupons.enter_code": (Words("ใส่โค้ด", "Enter a code"), Words("โค้ด", "code")),
    "draws.show": (Words("ลุ้นโชค", "Lucky draw"), Words("ลุ้นโชค", "lucky draw")),
    "topics.show": (
        Words("เลือกข่าวที่อยากรับ", "Choose what news to get"),
        Words("รับข่าวอะไรบ้าง", "what news"),
    ),
    **{
        f"links.open?page={page}": (label, label)
        for page, label in (
            ("home", Words("หน้าสมาชิก", "Member page")),
            ("card", Words("หน้าบัตรสมาชิก", "Card page")),
            ("points", Words("หน้าแต้ม", "Points page")),
            ("stamps", Words("หน้าแสตมป์", "Stamps page")),
            ("coupons", Words("หน้าคูปอง", "Coupons page")),
            ("my_data", Words("หน้าข้อมูลของฉัน", "My data page")),
        )
    },
}
