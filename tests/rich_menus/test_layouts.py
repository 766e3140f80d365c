"""Layouts fill a tab exactly, new areas find room, and overlaps are seen."""

from __future__ import annotations

import copy

import pytest

from rich_menus import icons
from rich_menus.definitions import DEFAULT_PACK, MenuDefinition, problems
from rich_menus.layouts import LAYOUTS, add, arrange, box_of, cells, changes, overlap

MEMBER = next(one for one in DEFAULT_PACK if one.key == "member").to_dict()


@pytest.mark.parametrize("has_strip", [True, False])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_covers_the_tab_once(name, has_strip):
    boxes = cells(name, 2500, 1686, has_strip=has_strip)
    top = 230 if has_strip else 0
    assert sum(width * height for _, _, width, height in boxes) == 2500 * (1686 - top)
    assert not any(
        overlap(one, other) for place, one in enumerate(boxes) for other in boxes[place + 1 :]
    )


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_arranged_tab_is_fit_to_publish(name):
    draft = copy.deepcopy(MEMBER)
    for tab in draft["tabs"]:
        arrange(tab, name, has_strip=True)
    assert problems(MenuDefinition.from_dict(draft), icons.NAMES) == []


def test_areas_are_added_while_there_is_room():
    draft = copy.deepcopy(MEMBER)
    tab = draft["tabs"][0]
    assert not add(tab, has_strip=True)  # the default pack leaves none
    arrange(tab, "1", has_strip=True)
    tab["areas"][0]["height"] = 500
    while add(tab, has_strip=True):
        assert len(tab["areas"]) < 20
    assert len(tab["areas"]) > 5
    assert len({area["key"] for area in tab["areas"]}) == len(tab["areas"])
    assert problems(MenuDefinition.from_dict(draft), icons.NAMES) == []


def test_overlapping_areas_and_areas_on_the_strip_are_problems():
    for change in ({"width": 2500}, {"y": 0}):
        draft = copy.deepcopy(MEMBER)
        draft["tabs"][0]["areas"][0].update(change)
        found = problems(MenuDefinition.from_dict(draft), icons.NAMES)
        assert "menus.problem_overlap" in found


def test_what_changed_is_named():
    after = copy.deepcopy(MEMBER)
    tab = after["tabs"][0]
    first, second, gone = tab["areas"][0], tab["areas"][1], tab["areas"].pop()
    first["label"] = {"th": "ใหม่", "en": "New"}
    second["x"] += 50
    after["colours"]["accent"] = "#000000"
    assert changes(MEMBER, MEMBER) == []
    assert set(changes(MEMBER, after)) == {
        ("accent", "colours"),
        (f"{tab['key']}/{gone['key']}", "removed"),
        (f"{tab['key']}/{first['key']}", "label"),
        (f"{tab['key']}/{second['key']}", "place"),
    }
    assert box_of(first) == box_of(MEMBER["tabs"][0]["areas"][0])
