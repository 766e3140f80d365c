"""Where the tiles of a tab lie: ready layouts, a place for one more, and what overlaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from rich_menus.definitions import FULL_HEIGHT, TAB_STRIP_HEIGHT, WIDTH

#: name -> (columns, rows, cells as column, row, columns wide, rows high), reading order.
LAYOUTS: dict[str, tuple[int, int, tuple[tuple[int, int, int, int], ...]]] = {
    "1": (1, 1, ((0, 0, 1, 1),)),
    "2_side": (2, 1, ((0, 0, 1, 1), (1, 0, 1, 1))),
    "3_side": (3, 1, ((0, 0, 1, 1), (1, 0, 1, 1), (2, 0, 1, 1))),
    "4": (2, 2, ((0, 0, 1, 1), (1, 0, 1, 1), (0, 1, 1, 1), (1, 1, 1, 1))),
    "6": (3, 2, tuple((column, row, 1, 1) for row in range(2) for column in range(3))),
    "hero_2": (2, 2, ((0, 0, 2, 1), (0, 1, 1, 1), (1, 1, 1, 1))),
    "hero_3": (3, 2, ((0, 0, 3, 1), (0, 1, 1, 1), (1, 1, 1, 1), (2, 1, 1, 1))),
    "left_4": (5, 2, ((0, 0, 2, 2), (2, 0, 1, 1), (3, 0, 2, 1), (2, 1, 1, 1), (3, 1, 2, 1))),
}
SNAP = 50
NEW_WIDTH, NEW_HEIGHT = 500, 400
Box = tuple[int, int, int, int]


def box_of(area: Mapping[str, Any]) -> Box:
    """x, y, width, height in picture pixels."""
    return int(area["x"]), int(area["y"]), int(area["width"]), int(area["height"])


def top_of(*, has_strip: bool) -> int:
    """Where tiles may begin: below the strip of tabs."""
    return TAB_STRIP_HEIGHT if has_strip else 0


def cells(name: str, width: int, height: int, *, has_strip: bool) -> list[Box]:
    """The boxes of a layout; edges meet exactly, so that no pixel belongs to nobody."""
    columns, rows, places = LAYOUTS[name]
    top = top_of(has_strip=has_strip)
    across = [width * number // columns for number in range(columns + 1)]
    down = [top + (height - top) * number // rows for number in range(rows + 1)]
    return [
        (
            across[column],
            down[row],
            across[column + wide] - across[column],
            down[row + high] - down[row],
        )
        for column, row, wide, high in places
    ]


def arrange(tab: dict[str, Any], name: str, *, has_strip: bool) -> None:
    """Lay a tab's areas out anew; missing ones are added, those without a place go."""
    boxes = cells(name, tab["width"], tab["height"], has_strip=has_strip)
    areas = list(tab["areas"][: len(boxes)])
    while len(areas) < len(boxes):
        areas.append(new_area(areas, boxes[len(areas)]))
    for area, box in zip(areas, boxes, strict=True):
        area["x"], area["y"], area["width"], area["height"] = box
    tab["areas"] = areas


def resize(tab: dict[str, Any], height: int, *, has_strip: bool) -> None:
    """Give a tab another height; its areas keep their share of it."""
    top, before = top_of(has_strip=has_strip), tab["height"]
    if height == before:
        return

    def moved(y: int) -> int:
        return top + (y - top) * (height - top) // (before - top)

    for area in tab["areas"]:
        y, bottom = moved(area["y"]), moved(area["y"] + area["height"])
        area["y"], area["height"] = y, bottom - y
    tab["height"] = height


def add(tab: dict[str, Any], *, has_strip: bool) -> bool:
    """One more area where there is room; False where there is none."""
    taken = [box_of(area) for area in tab["areas"]]
    for y in range(top_of(has_strip=has_strip), tab["height"] - NEW_HEIGHT + 1, SNAP):
        for x in range(0, tab["width"] - NEW_WIDTH + 1, SNAP):
            box = (x, y, NEW_WIDTH, NEW_HEIGHT)
            if not any(overlap(box, other) for other in taken):
                tab["areas"] = [*tab["areas"], new_area(tab["areas"], box)]
                return True
    return False


def add_tab(definition: dict[str, Any]) -> str:
    """One more tab with four tiles; where it is the second, the first makes room for the strip.

    Returns its key.
    """
    tabs = definition["tabs"]
    known = {tab["key"] for tab in tabs}
    key = next(f"tab{number}" for number in count(2) if f"tab{number}" not in known)
    if len(tabs) == 1:
        _set_strip(tabs, is_on=True)
    made = {
        **tabs[0],
        "key": key,
        "alias": f"{definition['key']}-{key}",
        "label": {"th": "แท็บใหม่", "en": "New tab"},
        "chat_bar_text": dict(tabs[0]["chat_bar_text"]),
        "areas": [],
        "pictures": {},
    }
    arrange(made, "4", has_strip=True)
    definition["tabs"] = [*tabs, made]
    return key


def drop_tab(definition: dict[str, Any], key: str) -> None:
    """One tab less, and the areas that led to it; the last one left takes the strip's place."""
    gone = next(tab for tab in definition["tabs"] if tab["key"] == key)
    tabs = [tab for tab in definition["tabs"] if tab["key"] != key]
    for tab in tabs:
        leads = [area for area in tab["areas"] if not _leads_to(area, gone["alias"])]
        tab["areas"] = leads or [new_area([], (0, TAB_STRIP_HEIGHT, NEW_WIDTH, NEW_HEIGHT))]
    if len(tabs) == 1:
        _set_strip(tabs, is_on=False)
    definition["tabs"] = tabs


def _leads_to(area: Mapping[str, Any], alias: str) -> bool:
    return area["action"]["type"] == "richmenuswitch" and area["action"]["value"] == alias


def _set_strip(tabs: Sequence[dict[str, Any]], *, is_on: bool) -> None:
    """Move areas out of the strip's place, or into it once there is none; edges stay together."""
    for tab in tabs:
        before, after = (0, TAB_STRIP_HEIGHT) if is_on else (TAB_STRIP_HEIGHT, 0)
        height = tab["height"]
        for area in tab["areas"]:
            y = after + (area["y"] - before) * (height - after) // (height - before)
            end = area["y"] + area["height"]
            bottom = after + (end - before) * (height - after) // (height - before)
            area["y"], area["height"] = y, bottom - y


def new_area(others: Sequence[Mapping[str, Any]], box: Box) -> dict[str, Any]:
    """A tile that shows the help, until it is told what to do."""
    known = {area["key"] for area in others}
    key = next(f"area{number}" for number in count(1) if f"area{number}" not in known)
    x, y, width, height = box
    return {
        "key": key,
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "icon": "help",
        "label": {"th": "ช่วยเหลือ", "en": "Help"},
        "action": {"type": "postback", "value": "members.help"},
    }


def overlap(one: Box, other: Box) -> bool:
    """Whether two boxes share a pixel."""
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What differs between two definitions, as (where, which part): `("home/points", "label")`."""
    found = [
        (name, "colours")
        for name in sorted(after["colours"])
        if before["colours"].get(name) != after["colours"][name]
    ]
    old = parts_of(before)
    new = parts_of(after)
    found += [(place, "removed") for place in old if place not in new]
    for place, parts in new.items():
        if place not in old:
            found.append((place, "added"))
            continue
        found += [(place, name) for name, part in parts.items() if old[place].get(name) != part]
    return found


def parts_of(definition: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a definition is made of, by place: `home` for a tab, `home/points` for an area."""
    parts: dict[str, dict[str, Any]] = {}
    for tab in definition["tabs"]:
        parts[tab["key"]] = {
            "chat_bar_text": tab["chat_bar_text"],
            "tab_label": tab["label"],
            "size": (tab.get("width", WIDTH), tab.get("height", FULL_HEIGHT)),
            "pictures": dict(tab.get("pictures") or {}),
        }
        for area in tab["areas"]:
            parts[f"{tab['key']}/{area['key']}"] = {
                "label": area["label"],
                "hint": area.get("hint"),
                "shows": area.get("shows"),
                "icon": area["icon"],
                "action": {k: v for k, v in area["action"].items() if v is not None},
                "place": box_of(area),
                "hero": bool(area.get("is_hero")),
            }
    return parts
