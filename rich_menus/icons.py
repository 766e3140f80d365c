"""The icons of rich menus, drawn by code: a line in the main colour, a touch of the accent.

Each icon is a function that draws inside the middle of a 100-unit square; `ICONS` names them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from bot.drawing import Colour, Pen, star

STROKE = 4.6


@dataclass(frozen=True)
class Ink:
    """The colours an icon is drawn with; `ground` is what lies under it."""

    line: Colour
    accent: Colour
    ground: Colour


Icon = Callable[[Pen, Ink], None]
ICONS: dict[str, Icon] = {}


def _icon(draw: Icon) -> Icon:
    ICONS[draw.__name__] = draw
    return draw


@lru_cache(maxsize=128)
def badge(name: str, size: int, tile: Colour, ink: Ink) -> Image.Image:
    """Draw an icon on its round badge, on a tile of that colour; an unknown name draws a star."""
    pen = Pen(size, tile, scale=3)
    pen.disc(50, 50, 49.5, ink.ground)
    ICONS.get(name, ICONS["star"])(pen, ink)
    return pen.picture()


@_icon
def card(pen: Pen, ink: Ink) -> None:
    pen.slab(23, 33, 77, 69, 6, ink.line)
    pen.slab(27.5, 37.5, 72.5, 64.5, 2.5, ink.ground)
    pen.slab(24, 42, 76, 49, 0, ink.accent)
    pen.line([(33, 57.5), (45, 57.5)], STROKE, ink.line)
    pen.disc(64, 57.5, 3, ink.accent)


@_icon
def points(pen: Pen, ink: Ink) -> None:
    pen.disc(50, 50, 27, ink.line)
    pen.disc(50, 50, 22.4, ink.ground)
    pen.shape(star(50, 50.5, 15.5, inner=0.5), ink.accent)


@_icon
def stamp(pen: Pen, ink: Ink) -> None:
    pen.frame(23, 29, 77, 71, 6, STROKE, ink.line)
    for number in range(6):
        x, y = 34.5 + number % 3 * 15.5, 42 + number // 3 * 16
        if number < 4:
            pen.disc(x, y, 5.6, ink.accent)
        else:
            pen.ring(x, y, 4.3, 2.6, ink.line)


@_icon
def history(pen: Pen, ink: Ink) -> None:
    pen.arc(51, 51, 24, 215, 520, STROKE, ink.line)
    pen.shape([(20.5, 39), (38, 37.5), (29.5, 24)], ink.line)
    pen.line([(51, 36), (51, 52), (62, 58)], STROKE, ink.accent)


@_icon
def coupon(pen: Pen, ink: Ink) -> None:
    pen.slab(21, 33, 79, 67, 6, ink.line)
    pen.slab(25.4, 37.4, 74.6, 62.6, 2.5, ink.ground)
    for side in (21, 79):
        pen.disc(side, 50, 8.2, ink.line)
        pen.disc(side, 50, 4, ink.ground)
        outside = 11 if side == 21 else 79.4
        pen.slab(outside, 40, outside + 9.6, 60, 0, ink.ground)
    pen.line([(43, 57), (57, 43)], 4, ink.accent)
    pen.disc(44, 44.5, 3.8, ink.accent)
    pen.disc(56, 55.5, 3.8, ink.accent)


@_icon
def gift(pen: Pen, ink: Ink) -> None:
    pen.hoop(34.5, 24.5, 49, 38, STROKE, ink.line)
    pen.hoop(51, 24.5, 65.5, 38, STROKE, ink.line)
    pen.slab(27, 45, 73, 77, 5, ink.line)
    pen.slab(31.5, 46, 68.5, 72.5, 2, ink.ground)
    pen.slab(22, 37, 78, 51, 4.5, ink.line)
    pen.slab(45, 37, 55, 77, 0, ink.accent)


@_icon
def user(pen: Pen, ink: Ink) -> None:
    pen.ring(50, 38, 11.5, STROKE, ink.line)
    pen.slice(25, 54, 75, 104, 180, 360, ink.line)
    pen.slice(29.6, 58.6, 70.4, 99.4, 180, 360, ink.accent)
    pen.slab(20, 74, 80, 84, 0, ink.ground)
    pen.line([(27.5, 74.5), (72.5, 74.5)], STROKE, ink.line)


@_icon
def chat(pen: Pen, ink: Ink) -> None:
    pen.slab(22, 28, 78, 66, 13, ink.line)
    pen.shape([(33, 60), (33, 79), (51, 63)], ink.line)
    pen.slab(26.6, 32.6, 73.4, 61.4, 9, ink.ground)
    for x in (38.5, 50, 61.5):
        pen.disc(x, 47, 3.8, ink.accent)


@_icon
def map(pen: Pen, ink: Ink) -> None:  # noqa: A001  (named as the console lists it)
    pen.disc(50, 42, 20, ink.line)
    pen.shape([(31.5, 49.5), (68.5, 49.5), (50, 79)], ink.line)
    pen.disc(50, 42, 10, ink.accent)


@_icon
def star_icon(pen: Pen, ink: Ink) -> None:
    pen.shape(star(50, 52, 29, inner=0.48), ink.line)
    pen.shape(star(50, 52, 18.5, inner=0.48), ink.accent)


ICONS["star"] = ICONS.pop("star_icon")


@_icon
def invite(pen: Pen, ink: Ink) -> None:
    pen.ring(42, 39, 10.5, STROKE, ink.line)
    pen.slice(20, 55, 64, 99, 180, 360, ink.line)
    pen.slice(24.6, 59.6, 59.4, 94.4, 180, 360, ink.ground)
    pen.slab(15, 73.5, 70, 82, 0, ink.ground)
    pen.line([(22.3, 74), (61.7, 74)], STROKE, ink.line)
    pen.disc(68, 47, 11.5, ink.ground)
    pen.line([(68, 38), (68, 56)], 5.4, ink.accent)
    pen.line([(59, 47), (77, 47)], 5.4, ink.accent)


@_icon
def help(pen: Pen, ink: Ink) -> None:  # noqa: A001  (named as the console lists it)
    pen.ring(50, 50, 26, STROKE, ink.line)
    pen.arc(50, 43.5, 8.6, 180, 405, STROKE, ink.accent)
    pen.line([(56.1, 49.6), (50, 55.2), (50, 57)], STROKE, ink.accent)
    pen.disc(50, 65.5, 3.1, ink.accent)


@_icon
def crown(pen: Pen, ink: Ink) -> None:
    pen.shape([(23, 38), (37, 50), (50, 28), (63, 50), (77, 38), (71, 66), (29, 66)], ink.line)
    for x, y in ((23, 37), (50, 27.5), (77, 37)):
        pen.disc(x, y, 4.6, ink.accent)
    pen.slab(29, 70, 71, 76, 2, ink.line)
    pen.disc(50, 56, 4.2, ink.accent)


@_icon
def shop(pen: Pen, ink: Ink) -> None:
    pen.slab(27, 45, 73, 76, 3, ink.line)
    pen.slab(31.5, 45, 68.5, 71.5, 1, ink.ground)
    pen.shape([(29, 26), (71, 26), (79, 45), (21, 45)], ink.line)
    for number in range(4):
        left = 21 + number * 14.5
        colour = ink.accent if number % 2 == 0 else ink.line
        pen.slice(left, 36, left + 14.5, 53, 0, 180, colour)
    pen.slab(43, 58, 57, 74, 2, ink.accent)


@_icon
def globe(pen: Pen, ink: Ink) -> None:
    pen.ring(50, 50, 26, STROKE, ink.line)
    pen.hoop(39, 24, 61, 76, 3.8, ink.line)
    pen.line([(25, 50), (75, 50)], 3.8, ink.accent)
    pen.line([(29.5, 37), (70.5, 37)], 3.4, ink.accent)
    pen.line([(29.5, 63), (70.5, 63)], 3.4, ink.accent)


@_icon
def join(pen: Pen, ink: Ink) -> None:
    pen.slab(20, 35, 72, 70, 6, ink.line)
    pen.slab(24.4, 39.4, 67.6, 65.6, 2.5, ink.ground)
    pen.disc(35, 49, 5, ink.line)
    pen.slice(27.5, 55.5, 42.5, 70, 180, 360, ink.line)
    pen.line([(49, 50), (60, 50)], 3.8, ink.line)
    pen.line([(49, 58.5), (56, 58.5)], 3.8, ink.line)
    pen.disc(71, 37, 14.5, ink.ground)
    pen.disc(71, 37, 11.8, ink.accent)
    pen.line([(71, 31.6), (71, 42.4)], 3.8, ink.ground)
    pen.line([(65.6, 37), (76.4, 37)], 3.8, ink.ground)


@_icon
def code(pen: Pen, ink: Ink) -> None:
    pen.frame(21, 36, 79, 64, 7, STROKE, ink.line)
    for x in (33, 43.5, 54):
        pen.disc(x, 50, 3.7, ink.line)
    pen.line([(66, 43.5), (66, 56.5)], STROKE, ink.accent)


@_icon
def cup(pen: Pen, ink: Ink) -> None:
    cup_shape(pen, ink.line, ink.ground)
    for x in (42, 54):
        pen.line([(x, 34), (x + 2, 30), (x, 26), (x + 2, 22)], 3.4, ink.accent)


def cup_shape(pen: Pen, colour: Colour, ground: Colour) -> None:
    """Draw a coffee cup on its saucer."""
    pen.disc(68, 50, 10, colour)
    pen.disc(68, 50, 5.2, ground)
    pen.slab(28, 40, 68, 50, 2.5, colour)
    pen.slice(28, 22, 68, 70, 0, 180, colour)
    pen.line([(28, 75), (68, 75)], STROKE, colour)


@_icon
def heart(pen: Pen, ink: Ink) -> None:
    pen.disc(38, 42, 14.5, ink.line)
    pen.disc(62, 42, 14.5, ink.line)
    pen.shape([(25.2, 49), (74.8, 49), (50, 78)], ink.line)
    pen.shape([(38, 42), (62, 42), (62, 56), (38, 56)], ink.line)
    pen.disc(37, 41, 5, ink.accent)


@_icon
def bell(pen: Pen, ink: Ink) -> None:
    pen.slice(31, 25, 69, 73, 180, 360, ink.line)
    pen.slab(31, 48.5, 69, 64, 0, ink.line)
    pen.line([(25, 65.5), (75, 65.5)], 5.4, ink.line)
    pen.disc(50, 25, 4.2, ink.line)
    pen.slice(42, 63, 58, 79, 0, 180, ink.accent)


@_icon
def calendar(pen: Pen, ink: Ink) -> None:
    pen.frame(25, 30, 75, 75, 6, STROKE, ink.line)
    pen.slab(25, 30, 75, 44, 5, ink.line)
    for x in (38, 62):
        pen.line([(x, 24), (x, 35)], 5, ink.accent)
    for number in range(6):
        pen.disc(
            37.5 + number % 3 * 12.5,
            54 + number // 3 * 11,
            3,
            ink.accent if number == 4 else ink.line,
        )


@_icon
def qr(pen: Pen, ink: Ink) -> None:
    for x, y in ((25, 25), (57, 25), (25, 57)):
        pen.frame(x + 2, y + 2, x + 16, y + 16, 2.5, 4, ink.line)
        pen.slab(x + 6.5, y + 6.5, x + 11.5, y + 11.5, 1, ink.accent)
    for left, top in (
        (56.0, 56.0),
        (67.0, 56.0),
        (61.5, 62.0),
        (56.0, 68.0),
        (67.0, 68.0),
        (72.5, 62.0),
    ):
        pen.slab(left, top, left + 5.5, top + 5.5, 1, ink.line)


@_icon
def phone(pen: Pen, ink: Ink) -> None:
    pen.frame(35, 22, 65, 78, 7, STROKE, ink.line)
    pen.slab(37, 30, 63, 66, 0, ink.accent)
    pen.disc(50, 72, 2.6, ink.line)


@_icon
def percent(pen: Pen, ink: Ink) -> None:
    pen.line([(34, 67), (66, 33)], 5.2, ink.line)
    pen.ring(36.5, 37, 8, STROKE, ink.accent)
    pen.ring(63.5, 63, 8, STROKE, ink.accent)


@_icon
def cake(pen: Pen, ink: Ink) -> None:
    pen.slab(25, 52, 75, 76, 5, ink.line)
    pen.slab(29.5, 63, 70.5, 71.5, 1, ink.ground)
    for number in range(4):
        left = 25 + number * 12.5
        pen.slice(left, 51, left + 12.5, 68, 0, 180, ink.accent)
    pen.slab(25, 52, 75, 60, 4, ink.accent)
    for x in (38, 50, 62):
        pen.line([(x, 41), (x, 50)], 3.6, ink.line)
        pen.disc(x, 33.5, 2.9, ink.accent)


NAMES: tuple[str, ...] = tuple(sorted(ICONS))
