"""The default pack and its checks: fit to publish, kept as JSON, and wrong edits are named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from handlers.router import POSTBACKS
from rich_menus import icons
from rich_menus.definitions import (
    DEFAULT_PACK,
    LOCALES,
    AreaAction,
    MenuDefinition,
    Words,
    line_object,
    problems,
)
from simulator.validation.menus import check_menu

GUEST, MEMBER, VIP = DEFAULT_PACK


@pytest.mark.parametrize("menu", DEFAULT_PACK, ids=lambda menu: menu.key)
def test_the_default_pack_has_no_problems(menu):
    assert problems(menu, icons.NAMES) == []


@pytest.mark.parametrize("menu", DEFAULT_PACK, ids=lambda menu: menu.key)
def test_is_the_same_after_being_kept_as_json(menu):
    assert MenuDefinition.from_dict(json.loads(json.dumps(menu.to_dict()))) == menu


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("menu", DEFAULT_PACK, ids=lambda menu: menu.key)
def test_line_would_take_every_tab(menu, locale):
    assert [check_menu(line_object(menu, tab, locale)) for tab in menu.tabs] == [None] * len(
        menu.tabs
    )


@pytest.mark.parametrize("menu", DEFAULT_PACK, ids=lambda menu: menu.key)
def test_every_postback_leads_somewhere(menu):
    wanted = {
        area.action.value.partition("?")[0]
        for tab in menu.tabs
        for area in tab.areas
        if area.action.type == "postback"
    }
    assert wanted <= set(POSTBACKS)


def changed(**changes) -> MenuDefinition:
    area = replace(GUEST.tabs[0].areas[0], **changes)
    tab = replace(GUEST.tabs[0], areas=(area, *GUEST.tabs[0].areas[1:]))
    return replace(GUEST, tabs=(tab,))


@pytest.mark.parametrize(
    "definition, problem",
    [
        (changed(label=Words("", "x")), "menus.problem_label"),
        (changed(label=Words("ก" * 21, "x")), "menus.problem_label"),
        (changed(width=9999), "menus.problem_bounds"),
        (changed(x=-1), "menus.problem_bounds"),
        (changed(icon="no_such"), "menus.problem_icon"),
        (changed(action=AreaAction("uri", "javascript:alert(1)")), "menus.problem_uri"),
        (changed(action=AreaAction("uri", "http://[")), "menus.problem_uri"),
        (changed(action=AreaAction("uri", "https://taem.example/เมนู")), "menus.problem_uri"),
        (changed(action=AreaAction("uri", "https://taem.example/a|b")), "menus.problem_uri"),
        (changed(action=AreaAction("uri", "https:///a")), "menus.problem_uri"),
        (changed(action=AreaAction("richmenuswitch", "nowhere")), "menus.problem_switch"),
        (changed(action=AreaAction("postback", "x" * 301)), "menus.problem_postback"),
        (replace(GUEST, colours=replace(GUEST.colours, ink="red")), "menus.problem_colour"),
        (replace(GUEST, tabs=()), "menus.problem_no_tabs"),
    ],
)
def test_names_what_is_wrong(definition, problem):
    assert problem in problems(definition, icons.NAMES)


@pytest.mark.parametrize(
    "address", ["https://taem.example/%E0%B9%80", "line://app/1-a", "tel:021234567"]
)
def test_takes_the_addresses_that_line_takes(address):
    assert problems(changed(action=AreaAction("uri", address)), icons.NAMES) == []


def test_vip_is_for_those_set_by_hand_and_goes_first():
    assert VIP.audience == {"override": "vip"}
    assert VIP.priority < MEMBER.priority
