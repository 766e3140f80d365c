"""Where the tiles of a tab lie: ready layouts, a place for one more, and what overlaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from rich_menus.definitions import TAB_STRIP_HEIGHT

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
    old = _parts(before)
    new = _parts(after)
    found += [(place, "removed") for place in old if place not in new]
    for place, parts in new.items():
        if place not in old:
            found.append((place, "added"))
            continue
        found += [(place, name) for name, part in parts.items() if old[place].get(name) != part]
    return found


def _parts(definition: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    parts: dict[str, dict[str, Any]] = {}
    for tab in definition["tabs"]:
        parts[tab["key"]] = {"chat_bar_text": tab["chat_bar_text"]}
        for area in tab["areas"]:
            parts[f"{tab['key']}/{area['key']}"] = {
                "label": area["label"],
                "icon": area["icon"],
                "action": {k: v for k, v in area["action"].items() if v is not None},
                "place": box_of(area),
                "hero": bool(area.get("is_hero")),
            }
    return parts
