"""The drawn menus: pictures LINE accepts, in both languages, in the colours the owner chose."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image

from rich_menus import icons, images
from rich_menus.definitions import DEFAULT_PACK, LOCALES, Words

TABS = [(menu, tab) for menu in DEFAULT_PACK for tab in menu.tabs]


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("menu, tab", TABS, ids=[f"{m.key}-{t.key}" for m, t in TABS])
def test_draws_what_line_accepts(menu, tab, locale):
    data = images.draw_menu(menu, tab, locale)
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "PNG"
    assert picture.size == (tab.width, tab.height)
    assert len(data) < 1_000_000


def test_the_chosen_colour_is_in_the_picture():
    menu = DEFAULT_PACK[0]
    red = replace(menu, colours=replace(menu.colours, primary="#B00020"))
    picture = Image.open(io.BytesIO(images.draw_menu(red, red.tabs[0], "th"))).convert("RGB")
    assert (0xB0, 0x00, 0x20) in {colour for _, colour in picture.getcolors(1 << 24)}


def test_draws_an_over_long_label_and_an_unknown_icon():
    menu = DEFAULT_PACK[0]
    area = replace(menu.tabs[0].areas[0], label=Words("ยาวมาก" * 30, "x" * 200), icon="no_such")
    tab = replace(menu.tabs[0], areas=(area, *menu.tabs[0].areas[1:]))
    assert images.draw_menu(menu, tab, "th")


@pytest.mark.parametrize("name", icons.NAMES)
def test_every_icon_draws_something(name):
    ink = icons.Ink((0, 0, 0), (255, 0, 0), (255, 255, 255))
    picture = icons.badge(name, 100, (255, 255, 255), ink)
    assert len(picture.getcolors(1 << 16)) > 2
