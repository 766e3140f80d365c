"""The shop's own colour: a few shades made of one, legible whatever colour an owner picks.

Everything Taem draws is written in its built-in shades (`bot/theme.py`); `repaint` swaps them in
a finished message, a style sheet puts them on pages. So no builder needs to know of the shop.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import lru_cache

from bot import theme

#: Contrast of text to its ground (WCAG 2.2, 1.4.3).
LEGIBLE = 4.5
WHITE, INK, NIGHT_PAPER = "#FFFFFF", theme.INK, "#1A2422"
#: Offered in the settings, each legible as it is: leaf, berry, brick, coffee, sea, night, plum.
PRESETS = (theme.LEAF, "#A62B4B", "#A8401B", "#6B4226", "#1B5E93", "#2F3E6E", "#6A3D8A")
#: Where a console page shows LINE as it is: by day, whatever the page itself looks like.
CHAT = ".previews, .phone, .phone-bubble, .offer-card"
_HEX = re.compile(r"#[0-9A-F]{6}", re.ASCII)


@dataclass(frozen=True)
class Palette:
    """Five shades, `#RRGGBB`: white is legible on `main` and `dark`, these two on `pale`."""

    main: str
    dark: str
    pale: str
    soft: str
    #: The main colour as text on dark paper.
    bright: str


BUILT_IN = Palette(theme.LEAF, theme.LEAF_DARK, theme.MINT, theme.ON_LEAF_SOFT, "#7FD6C1")


def parse(text: str) -> str | None:
    """`#a62b4b` as `#A62B4B`; None for anything that is no colour."""
    colour = text.strip().upper()
    return colour if _HEX.fullmatch(colour) else None


@lru_cache(maxsize=64)
def palette_of(colour: str) -> Palette:
    """The shades of a colour, darkened until white text on it can be read."""
    if not colour or colour == BUILT_IN.main:
        return BUILT_IN
    main = _until(colour, "#000000", lambda shade: contrast(shade, _pale(shade)) >= LEGIBLE)
    return Palette(
        main=main,
        dark=mix(main, "#000000", 0.3),
        pale=_pale(main),
        soft=_until(mix(main, WHITE, 0.8), WHITE, lambda shade: contrast(shade, main) >= LEGIBLE),
        bright=_until(main, WHITE, lambda shade: _is_bright(shade, main)),
    )


def repaint(content: bytes, colour: str) -> bytes:
    """LINE messages as JSON, their built-in shades swapped for the shop's."""
    palette = palette_of(colour)
    if palette is BUILT_IN:
        return content
    for before, after in zip(astuple(BUILT_IN), astuple(palette), strict=True):
        content = content.replace(b'"%b"' % before.encode(), b'"%b"' % after.encode())
    return content


def sheet(colour: str) -> str:
    """The style sheet that puts the shop's shades on a page, and on the chat drawn in one."""
    shades = palette_of(colour)
    return (
        f":root, {CHAT} {{ --leaf: {shades.main}; --leaf-dark: {shades.dark}; --leaf-ink: {shades.main}; "
        f"--leaf-ink-dark: {shades.dark}; --mint: {shades.pale}; "
        f"--bs-link-color-rgb: {_rgb(shades.main)}; "
        f"--bs-link-hover-color-rgb: {_rgb(shades.dark)}; }}\n"
        f'[data-bs-theme="dark"] {{ --leaf: {shades.main}; --leaf-dark: {shades.dark}; '
        f"--leaf-ink: {shades.bright}; --leaf-ink-dark: {mix(shades.bright, WHITE, 0.3)}; "
        f"--mint: {_night(shades.main)}; --bs-link-color-rgb: {_rgb(shades.bright)}; "
        f"--bs-link-hover-color-rgb: {_rgb(shades.bright)}; }}\n"
    )


def contrast(one: str, other: str) -> float:
    """1 to 21 (WCAG 2.2, "contrast ratio")."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def mix(colour: str, other: str, share: float) -> str:
    """`share` of the other colour in this one."""
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in pairs)


def _pale(colour: str) -> str:
    """The ground of quiet buttons and pills by day."""
    return mix(colour, WHITE, 0.88)


def _night(colour: str) -> str:
    """The same ground in the dark."""
    return mix(colour, NIGHT_PAPER, 0.75)


def _is_bright(shade: str, main: str) -> bool:
    return min(contrast(shade, ground) for ground in (NIGHT_PAPER, _night(main))) >= LEGIBLE


def _until(colour: str, towards: str, is_good: Callable[[str], bool]) -> str:
    """The nearest shade on the way to another colour that is good."""
    steps = (mix(colour, towards, step / 50) for step in range(51))
    return next(shade for shade in steps if is_good(shade))


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _rgb(colour: str) -> str:
    return "{}, {}, {}".format(*_channels(colour))


def _luminance(colour: str) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (channel / 255 for channel in _channels(colour))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
