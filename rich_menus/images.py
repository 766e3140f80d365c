"""Draws a tab of a rich menu: tiles with icons and shaped Thai labels, and the strip of tabs.

A palette of the menu's own colours keeps the picture far below LINE's 1 MB. An uploaded picture
takes the place of the tiles; the strip is drawn above it.
"""

from __future__ import annotations

import io
from dataclasses import replace

from PIL import Image, ImageDraw, ImageOps

from bot.drawing import (
    Colour,
    blend,
    drawable,
    fitting,
    palette_picture,
    png,
    rgb,
    rounded,
    write,
)
from core.pictures import as_jpeg
from rich_menus.definitions import (
    PLAIN,
    TAB_STRIP_HEIGHT,
    Area,
    MenuDefinition,
    Tab,
    Variant,
    strip_bounds,
)
from rich_menus.icons import Ink, badge

#: Raised whenever the drawing changes, so that published menus are drawn again.
VERSION = 4
MARGIN = 20
RADIUS = 56
LABEL_SIZE = 104
SMALLEST_LABEL = 64
MAX_BYTES = 1_000_000
#: A card with more places is shown by its share; the row of dots takes this much of the tile.
MOST_DOTS = 12
DOTS_ROOM = 96


class _Inks:
    """The menu's colours, read once."""

    def __init__(self, definition: MenuDefinition) -> None:
        colours = definition.colours
        self.ground = rgb(colours.ground)
        self.tile = rgb(colours.tile)
        self.ink = rgb(colours.ink)
        self.muted = rgb(colours.muted)
        self.primary = rgb(colours.primary)
        self.on_primary = rgb(colours.on_primary)
        self.soft = rgb(colours.soft)
        self.accent = rgb(colours.accent)
        self.edge = blend(self.ground, self.ink, 0.10)
        self.hero_badge = blend(self.primary, self.on_primary, 0.16)

    def palette(self) -> Image.Image:
        """Every pair of colours whose edges meet in the picture."""
        return palette_picture(
            [
                (self.ground, self.tile),
                (self.ground, self.primary),
                (self.ground, self.edge),
                (self.edge, self.tile),
                (self.tile, self.ink),
                (self.tile, self.muted),
                (self.tile, self.soft),
                (self.soft, self.primary),
                (self.soft, self.accent),
                (self.primary, self.on_primary),
                (self.primary, self.hero_badge),
                (self.hero_badge, self.on_primary),
                (self.hero_badge, self.accent),
                (self.soft, self.ink),
                (self.ground, self.muted),
                (self.ground, self.ink),
                (self.primary, self.accent),
                (self.soft, self.muted),
            ]
        )


def draw_menu(
    definition: MenuDefinition,
    tab: Tab,
    locale: str,
    variant: Variant = PLAIN,
    upload: bytes | None = None,
) -> bytes:
    """The picture of one tab in one language, at most 1 MB: a PNG, or a JPEG where one was uploaded."""
    inks = _Inks(definition)
    picture = Image.new("RGB", (tab.width, tab.height), inks.ground)
    if definition.has_strip:
        _strip(picture, definition, tab, locale, inks)
    if upload is not None:
        top = TAB_STRIP_HEIGHT if definition.has_strip else 0
        with Image.open(io.BytesIO(upload)) as given:
            picture.paste(
                ImageOps.fit(given.convert("RGB"), (tab.width, tab.height - top)), (0, top)
            )
        return as_jpeg(picture, MAX_BYTES)
    common = _common_size(tab, locale)
    for area in tab.areas:
        shown = replace(area, hint=variant.words) if area.shows and variant.words else area
        has_card = bool(area.shows and variant.size)
        _tile(picture, shown, locale, inks, common, below=DOTS_ROOM if has_card else 0)
        if has_card:
            _dots(picture, area, variant, inks)
    data = png(picture, inks.palette())
    assert len(data) <= MAX_BYTES, len(data)
    return data


def type_of(picture: bytes) -> str:
    """What LINE is told a finished picture is."""
    return "image/jpeg" if picture.startswith(b"\xff\xd8") else "image/png"


def _dots(picture: Image.Image, area: Area, variant: Variant, inks: _Inks) -> None:
    """The card of a living area along its lower edge: one dot for each place, filled for a stamp."""
    room = area.width - 6 * MARGIN
    across = min(variant.size, MOST_DOTS)
    step = min(80, room // across)
    radius = int(step * 0.32)
    draw = ImageDraw.Draw(picture)
    left = area.x + (area.width - step * across) // 2
    y = area.y + area.height - MARGIN - DOTS_ROOM // 2 - 8
    shown = variant.filled if variant.size <= MOST_DOTS else variant.filled * across // variant.size
    empty = inks.hero_badge if area.is_hero else inks.edge
    for place in range(across):
        x = left + step * place + step // 2
        fill = inks.accent if place < shown else empty
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _strip(
    picture: Image.Image, definition: MenuDefinition, tab: Tab, locale: str, inks: _Inks
) -> None:
    """The tabs on top: the open one grows out of the ground, the others wait behind."""
    ImageDraw.Draw(picture).rectangle((0, 0, tab.width, TAB_STRIP_HEIGHT - 1), fill=inks.edge)
    for other, x, width in strip_bounds(definition, tab):
        is_open = other.key == tab.key
        box = (
            x + (12 if not is_open else 0),
            34 if not is_open else 14,
            x + width - (12 if not is_open else 0),
            TAB_STRIP_HEIGHT,
        )
        fill = inks.ground if is_open else blend(inks.edge, inks.tile, 0.45)
        rounded(picture, box, RADIUS, fill, corners="ab")
        colour = inks.primary if is_open else inks.muted
        label = other.label.of(locale)
        draw = ImageDraw.Draw(picture)
        middle = x + width // 2
        baseline = TAB_STRIP_HEIGHT // 2 + 42
        write(
            draw,
            (middle, baseline),
            label,
            weight="Bold" if is_open else "SemiBold",
            size=84,
            width=width - 120,
            colour=colour,
            anchor="ms",
        )
        if is_open:
            rounded(
                picture,
                (middle - 90, TAB_STRIP_HEIGHT - 26, middle + 90, TAB_STRIP_HEIGHT - 10),
                5,
                inks.accent,
            )


def _common_size(tab: Tab, locale: str) -> int:
    """One letter height for all tall tiles, so that neighbours read alike."""
    sizes = [LABEL_SIZE]
    for area in tab.areas:
        width, height = area.width - 2 * MARGIN, area.height - 2 * MARGIN
        if not _is_wide(width, height):
            wanted = min(LABEL_SIZE, int(height * 0.16))
            label = drawable(area.label.of(locale))
            sizes.append(fitting(label, "Bold", wanted, width - 60, smallest=SMALLEST_LABEL)[1])
    return min(sizes)


def _is_wide(width: int, height: int) -> bool:
    return width > 2.2 * height


def _tile(
    picture: Image.Image, area: Area, locale: str, inks: _Inks, common: int, *, below: int = 0
) -> None:
    """One tile with its words; `below` pixels at its lower edge are kept free."""
    left, top = area.x + MARGIN, area.y + MARGIN
    right, bottom = area.x + area.width - MARGIN, area.y + area.height - MARGIN
    fill = inks.primary if area.is_hero else inks.tile
    rounded(picture, (left, top + 8, right, bottom + 8), RADIUS, inks.edge)  # a quiet shadow
    rounded(picture, (left, top, right, bottom), RADIUS, fill)
    box = (left, top, right, bottom - below)
    if _is_wide(right - left, bottom - top):
        _wide(picture, area, box, locale, inks)
    else:
        _tall(picture, area, box, locale, inks, common)


def _look(area: Area, inks: _Inks) -> tuple[Colour, Ink, Colour, Colour]:
    """(tile, icon's ink, label's colour, hint's colour)."""
    if area.is_hero:
        ink = Ink(inks.on_primary, inks.accent, inks.hero_badge)
        return inks.primary, ink, inks.on_primary, inks.on_primary
    return inks.tile, Ink(inks.primary, inks.accent, inks.soft), inks.ink, inks.muted


def _tall(
    picture: Image.Image,
    area: Area,
    box: tuple[int, int, int, int],
    locale: str,
    inks: _Inks,
    common: int,
) -> None:
    """Icon above, words below, all in the middle."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    tile, ink, colour, soft = _look(area, inks)
    side = int(min(width * 0.56, height * (0.5 if area.hint else 0.56)))
    size = min(common, int(height * 0.16))
    gap = int(height * 0.05)
    hint_size = int(size * 0.62) if area.hint else 0
    total = side + gap + size + (hint_size + gap // 2 if area.hint else 0)
    y = top + (height - total) // 2
    picture.paste(badge(area.icon, side, tile, ink), (left + (width - side) // 2, y))
    draw = ImageDraw.Draw(picture)
    baseline = y + side + gap + size
    write(
        draw,
        (left + width / 2, baseline),
        area.label.of(locale),
        weight="Bold",
        size=size,
        width=width - 60,
        colour=colour,
        anchor="ms",
    )
    if area.hint:
        write(
            draw,
            (left + width / 2, baseline + gap // 2 + hint_size),
            area.hint.of(locale),
            weight="Regular",
            size=hint_size,
            width=width - 60,
            colour=soft,
            anchor="ms",
        )


def _wide(
    picture: Image.Image, area: Area, box: tuple[int, int, int, int], locale: str, inks: _Inks
) -> None:
    """Icon on the left, words beside it."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    tile, ink, colour, soft = _look(area, inks)
    side = int(height * 0.66)
    size = min(128, int(height * 0.25))
    pad = int(height * 0.17)
    picture.paste(badge(area.icon, side, tile, ink), (left + pad, top + (height - side) // 2))
    x = left + pad + side + int(pad * 0.8)
    room = right - x - pad
    draw = ImageDraw.Draw(picture)
    middle = top + height // 2
    baseline = middle + (size // 3 if not area.hint else -int(size * 0.02))
    write(
        draw,
        (x, baseline),
        area.label.of(locale),
        weight="Bold",
        size=size,
        width=room,
        colour=colour,
        anchor="ls",
    )
    if area.hint:
        write(
            draw,
            (x, baseline + int(size * 0.95)),
            area.hint.of(locale),
            weight="Regular",
            size=int(size * 0.6),
            width=room,
            colour=soft,
            anchor="ls",
        )
    del width
