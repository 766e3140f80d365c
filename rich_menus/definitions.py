"""What the rich menus are: tabs, areas, words, actions, colours. Data only, no drawing, no LINE calls.

The default pack at the end seeds the tables; from then on versions live as JSON (`to_dict`,
`from_dict`) and are edited in the console. A *menu* is what one audience sees; its *tabs* are rich
menus at LINE, tied together by aliases, one set per language.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

import regex

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
URI_SCHEMES = ("http", "https", "line", "tel")
ACTION_TYPES = ("postback", "message", "uri", "richmenuswitch")
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


@dataclass(frozen=True)
class AreaAction:
    """What a tap does.

    `value` is, by type: postback data, the words a message says (Thai; `say` holds both
    languages), an address, or the alias of the tab to switch to.
    """

    type: str
    value: str
    #: What the customer seems to say (postback) or says (message).
    say: Words | None = None
    #: Postback only: `openKeyboard` and the words it starts with.
    input_option: str | None = None
    fill_in: Words | None = None

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> AreaAction:
        return cls(
            type=str(given["type"]),
            value=str(given["value"]),
            say=Words.from_dict(given["say"]) if given.get("say") else None,
            input_option=given.get("input_option"),
            fill_in=Words.from_dict(given["fill_in"]) if given.get("fill_in") else None,
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
class MenuDefinition:
    """Everything about one menu. `audience` is read by `assign.py`, the lowest priority first."""

    key: str
    name: Words
    audience: Mapping[str, str]
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


# --- What LINE is given ------------------------------------------------------------------------
def localized_alias(alias: str, locale: str) -> str:
    """Name a tab's alias in one language: Thai has the bare name."""
    return alias if locale == "th" else f"{alias}-{locale}"


def strip_bounds(definition: MenuDefinition, tab: Tab) -> list[tuple[Tab, int, int]]:
    """Say where each tab of the strip lies: (tab, x, width), together exactly the picture's width."""
    count = len(definition.tabs)
    edges = [tab.width * number // count for number in range(count + 1)]
    return [
        (each, edges[number], edges[number + 1] - edges[number])
        for number, each in enumerate(definition.tabs)
    ]


def line_object(definition: MenuDefinition, tab: Tab, locale: str) -> dict[str, Any]:
    """Make the body of LINE's create-rich-menu call for one tab in one language."""
    areas = [
        {
            "bounds": {"x": area.x, "y": area.y, "width": area.width, "height": area.height},
            "action": line_action(area, locale),
        }
        for area in tab.areas
    ]
    if definition.has_strip:
        areas = [*_switches(definition, tab, locale), *areas]
    return {
        "size": {"width": tab.width, "height": tab.height},
        "selected": True,
        "name": f"{definition.key}/{tab.key}/{locale}",
        "chatBarText": tab.chat_bar_text.of(locale),
        "areas": areas,
    }


def _switches(definition: MenuDefinition, tab: Tab, locale: str) -> list[dict[str, Any]]:
    """Make the tab strip's areas; the tab that is open has none."""
    return [
        {
            "bounds": {"x": x, "y": 0, "width": width, "height": TAB_STRIP_HEIGHT},
            "action": {
                "type": "richmenuswitch",
                "label": _clip(other.label.of(locale)),
                "richMenuAliasId": localized_alias(other.alias, locale),
                "data": f"menus.switched?tab={other.key}",
            },
        }
        for other, x, width in strip_bounds(definition, tab)
        if other.key != tab.key
    ]


def line_action(area: Area, locale: str) -> dict[str, Any]:
    """Make LINE's action object of one area."""
    action = area.action
    made: dict[str, Any] = {"type": action.type, "label": _clip(area.label.of(locale))}
    if action.type == "message":
        made["text"] = action.say.of(locale) if action.say else action.value
    elif action.type == "uri":
        made["uri"] = action.value
    elif action.type == "richmenuswitch":
        made["richMenuAliasId"] = localized_alias(action.value, locale)
        made["data"] = "menus.switched"
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
def problems(definition: MenuDefinition, icons: Sequence[str] = ()) -> list[str]:
    """List what LINE would refuse or nobody could use, as locale keys; empty means fit to publish."""
    found: list[str] = []
    aliases = {tab.alias for tab in definition.tabs}
    if not definition.tabs:
        found.append("menus.problem_no_tabs")
    if len(aliases) != len(definition.tabs):
        found.append("menus.problem_alias_twice")
    if any(not COLOUR.match(colour) for colour in asdict(definition.colours).values()):
        found.append("menus.problem_colour")
    for tab in definition.tabs:
        found += _tab_problems(definition, tab)
        for area in tab.areas:
            found += _area_problems(tab, area, aliases, icons)
    return list(dict.fromkeys(found))


def _tab_problems(definition: MenuDefinition, tab: Tab) -> list[str]:
    switches = len(definition.tabs) - 1 if definition.has_strip else 0
    checks = {
        "menus.problem_alias": not all(
            ALIAS.match(localized_alias(tab.alias, locale)) for locale in LOCALES
        ),
        "menus.problem_size": not (
            800 <= tab.width <= WIDTH
            and tab.height >= 250
            and tab.width / tab.height >= SMALLEST_RATIO
        ),
        "menus.problem_too_many_areas": len(tab.areas) + switches > AREAS,
        "menus.problem_no_areas": not tab.areas,
        "menus.problem_chat_bar": not _fit(tab.chat_bar_text, CHAT_BAR_TEXT),
        "menus.problem_overlap": _is_any_overlap(definition, tab),
    }
    return [key for key, is_wrong in checks.items() if is_wrong]


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


def _area_problems(tab: Tab, area: Area, aliases: set[str], icons: Sequence[str]) -> list[str]:
    is_inside = (
        area.width > 0
        and area.height > 0
        and area.x >= 0
        and area.y >= 0
        and area.x + area.width <= tab.width
        and area.y + area.height <= tab.height
    )
    checks = {
        "menus.problem_bounds": not is_inside,
        "menus.problem_label": not _fit(area.label, LABEL),
        "menus.problem_icon": bool(icons) and area.icon not in icons,
        "menus.problem_action": not _is_sound(area.action, aliases),
    }
    return [key for key, is_wrong in checks.items() if is_wrong]


def _fit(words: Words, limit: int) -> bool:
    return all(
        words.of(locale).strip() and len(regex.findall(r"\X", words.of(locale))) <= limit
        for locale in LOCALES
    )


def _is_sound(action: AreaAction, aliases: set[str]) -> bool:
    """Tell whether LINE would take the action and the tap would lead somewhere."""
    rules: dict[str, Callable[[], bool]] = {
        "postback": lambda: bool(action.value) and len(action.value) <= DATA,
        "message": lambda: bool(action.value.strip()) and len(action.value) <= DATA,
        "uri": lambda: (
            len(action.value) <= URI
            and urlsplit(action.value).scheme in URI_SCHEMES
            and not any(character.isspace() for character in action.value)
        ),
        "richmenuswitch": lambda: action.value in aliases,
    }
    rule = rules.get(action.type)
    said = [action.say.th, action.say.en] if action.say else []
    if rule is None or any(len(regex.findall(r"\X", words)) > DATA for words in said):
        return False
    try:
        return rule()
    except ValueError:  # an address that cannot be parsed
        return False


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
