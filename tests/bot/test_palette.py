"""The shop's own colour: legible whatever it is, and everywhere in a message."""

from __future__ import annotations

import json
from dataclasses import astuple

from hypothesis import given
from hypothesis import strategies as st

from bot import palette, theme
from bot.palette import BUILT_IN, LEGIBLE, PRESETS, WHITE, contrast, palette_of

COLOURS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06X}")


@given(COLOURS)
def test_every_colour_becomes_one_that_can_be_read(colour):
    shades = palette_of(colour)
    assert contrast(shades.main, WHITE) >= LEGIBLE
    assert contrast(shades.dark, WHITE) >= LEGIBLE
    assert contrast(shades.main, shades.pale) >= LEGIBLE
    assert contrast(shades.soft, shades.main) >= LEGIBLE
    assert contrast(shades.bright, palette.NIGHT_PAPER) >= LEGIBLE


def test_the_colours_we_offer_stay_as_they_are():
    assert contrast("#777777", WHITE) < LEGIBLE < contrast("#767676", WHITE)  # the known border
    for colour in PRESETS:
        assert palette_of(colour).main == colour
    assert palette_of("") is BUILT_IN
    assert palette_of("#FFFF00").main != "#FFFF00"


def test_a_message_is_repainted_and_its_words_are_not():
    message = theme.flex(
        f"สี {theme.LEAF}", theme.bubble(theme.column(theme.text("สวัสดี", color=theme.LEAF)))
    )
    content = json.dumps([message, theme.LEAF_DARK, theme.MINT, theme.CORAL]).encode()
    painted = json.loads(palette.repaint(content, "#A62B4B"))
    shades = palette_of("#A62B4B")
    assert painted[0]["altText"] == f"สี {theme.LEAF}"
    assert shades.main in json.dumps(painted[0]["contents"])
    assert painted[1:] == [shades.dark, shades.pale, theme.CORAL]
    assert palette.repaint(content, "") == content
    assert not set(astuple(shades)) & set(astuple(BUILT_IN))


def test_only_colours_are_colours():
    assert palette.parse(" #a62b4b ") == "#A62B4B"
    for odd in ("", "a62b4b", "#fff", "#GGGGGG", "#A62B4B;}", "#A62B4B\n", "red", "#\u0665" * 6):
        assert palette.parse(odd) in (None, "#A62B4B")
    assert palette.parse("#A62B4B;}") is None
