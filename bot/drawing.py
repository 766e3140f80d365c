"""The drawing board behind every picture: shaped Thai text, smooth shapes, small PNG files.

Text goes through libraqm, without which Thai vowels and tone marks land in the wrong places. Shapes
are drawn several times too large and reduced, which is how Pillow gets smooth edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from io import BytesIO
from math import cos, pi, sin
from pathlib import Path

import fontpkg_sarabun
from PIL import Image, ImageDraw, ImageFont, features

from bot import theme

Colour = tuple[int, int, int]
Point = tuple[float, float]

_FONTS = Path(fontpkg_sarabun.ROOT) / "files"
_UNASSIGNED = (
    "\U000e0fff"  # no typeface draws it: what it looks like is what a missing letter looks like
)
_JOINED = ("Mn", "Me", "Mc", "Cf")


class ShapingMissingError(RuntimeError):
    """Pillow cannot shape Thai here; drawing anyway would spell names wrongly."""


@cache
def require_shaping() -> None:
    """Refuse to draw without libraqm."""
    if not features.check("raqm"):
        raise ShapingMissingError(
            "Pillow was built without libraqm, so Thai text cannot be drawn correctly. "
            "Install the Pillow wheel from requirements.txt instead of a system build."
        )


@lru_cache(maxsize=64)
def font(weight: str, size: int) -> ImageFont.FreeTypeFont:
    """Open Sarabun in a weight (`Regular`, `SemiBold`, `Bold`…) at a pixel size."""
    require_shaping()
    path = str(_FONTS / f"Sarabun-{weight}.ttf")
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.RAQM)


def rgb(colour: str) -> Colour:
    """Read `#RRGGBB`."""
    return (int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16))


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """Mix two colours; `share` is how much of the second."""
    mixed = [round(a + (b - a) * share) for a, b in zip(first, second, strict=True)]
    return (mixed[0], mixed[1], mixed[2])


# --- Text --------------------------------------------------------------------------------------
@lru_cache(maxsize=2_048)
def _is_drawable(letter: str) -> bool:
    """Tell whether Sarabun has this letter, by comparing it with how a missing one is drawn."""
    probe = font("Regular", 24)
    missing = bytes(probe.getmask(_UNASSIGNED))
    return bytes(probe.getmask(letter)) != missing


def drawable(value: str) -> str:
    """Leave out what the typeface lacks (emoji, other scripts), which would show as empty boxes."""
    kept = "".join(
        letter for letter in theme.plain(value) if letter in " \n" or _is_drawable(letter)
    )
    return " ".join(kept.split())


def fitting(
    value: str, weight: str, size: int, width: int, *, smallest: int = 18
) -> tuple[str, int]:
    """Choose the size at which a text fits a width; at the smallest, shorten it."""
    length = font(weight, size).getlength(value)
    if length <= width:
        return value, size
    smaller = max(smallest, int(size * width / length))
    if font(weight, smaller).getlength(value) <= width:
        return value, smaller
    clusters = theme.graphemes(value)
    low, high = 0, len(clusters)
    while low < high:  # the longest beginning that fits, found by halving
        middle = (low + high + 1) // 2
        shortened = "".join(clusters[:middle]).rstrip() + "…"
        if font(weight, smaller).getlength(shortened) <= width:
            low = middle
        else:
            high = middle - 1
    return "".join(clusters[:low]).rstrip() + "…", smaller


def write(
    draw: ImageDraw.ImageDraw,
    at: Point,
    value: str,
    *,
    weight: str,
    size: int,
    width: int,
    colour: Colour,
    anchor: str = "mm",
) -> None:
    """Draw one line, made to fit. Anchors on the baseline (`ms`, `ls`) keep lines of words level."""
    shown, fitted = fitting(drawable(value), weight, size, width)
    draw.text(at, shown, font=font(weight, fitted), fill=colour, anchor=anchor)


# --- Shapes ------------------------------------------------------------------------------------
@lru_cache(maxsize=32)
def _corner(radius: int) -> Image.Image:
    """Draw the smooth top left corner of a rounded box, as a mask."""
    scale = 4
    mask = Image.new("L", (radius * scale, radius * scale), 0)
    ImageDraw.Draw(mask).ellipse((0, 0, 2 * radius * scale - 1, 2 * radius * scale - 1), fill=255)
    return mask.reduce(scale)


def rounded(
    picture: Image.Image,
    box: tuple[int, int, int, int],
    radius: int,
    colour: Colour,
    *,
    corners: str = "abcd",
) -> None:
    """Fill a box with smooth round corners: a top left, b top right, c bottom right, d bottom left."""
    left, top, right, bottom = box
    radius = max(0, min(radius, (right - left) // 2, (bottom - top) // 2))
    draw = ImageDraw.Draw(picture)
    if radius == 0:
        draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
        return
    draw.rectangle((left + radius, top, right - radius - 1, bottom - 1), fill=colour)
    draw.rectangle((left, top + radius, left + radius - 1, bottom - radius - 1), fill=colour)
    draw.rectangle((right - radius, top + radius, right - 1, bottom - radius - 1), fill=colour)
    quarter = _corner(radius)
    places = {
        "a": (left, top, None),
        "b": (right - radius, top, Image.Transpose.FLIP_LEFT_RIGHT),
        "c": (right - radius, bottom - radius, Image.Transpose.ROTATE_180),
        "d": (left, bottom - radius, Image.Transpose.FLIP_TOP_BOTTOM),
    }
    for name, (x, y, turn) in places.items():
        if name in corners:
            picture.paste(colour, (x, y), quarter.transpose(turn) if turn is not None else quarter)
        else:
            draw.rectangle((x, y, x + radius - 1, y + radius - 1), fill=colour)


class Pen:
    """Draw on a square whose side is 100 units, whatever its size in pixels."""

    def __init__(self, size: int, ground: Colour, *, scale: int = 4) -> None:
        self.size = size
        self.scale = scale
        self.image = Image.new("RGB", (size * scale, size * scale), ground)
        self.unit = size * scale / 100
        self._draw = ImageDraw.Draw(self.image)

    def picture(self) -> Image.Image:
        """Give the finished square at its real size."""
        return self.image.reduce(self.scale)

    def _at(self, points: Iterable[Point]) -> list[Point]:
        return [(x * self.unit, y * self.unit) for x, y in points]

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        self.oval(x - radius, y - radius, x + radius, y + radius, colour)

    def oval(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill an ellipse."""
        (a, b) = self._at([(left, top), (right, bottom)])
        self._draw.ellipse((*a, *b), fill=colour)

    def ring(self, x: float, y: float, radius: float, stroke: float, colour: Colour) -> None:
        """Draw a circle's line; `radius` is to the middle of the line."""
        self.hoop(x - radius, y - radius, x + radius, y + radius, stroke, colour)

    def hoop(
        self, left: float, top: float, right: float, bottom: float, stroke: float, colour: Colour
    ) -> None:
        """Draw an ellipse's line."""
        half = stroke / 2
        (a, b) = self._at([(left - half, top - half), (right + half, bottom + half)])
        self._draw.ellipse((*a, *b), outline=colour, width=round(stroke * self.unit))

    def slab(
        self, left: float, top: float, right: float, bottom: float, radius: float, colour: Colour
    ) -> None:
        """Fill a rounded box."""
        (a, b) = self._at([(left, top), (right, bottom)])
        self._draw.rounded_rectangle((*a, *b), radius * self.unit, fill=colour)

    def frame(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        radius: float,
        stroke: float,
        colour: Colour,
    ) -> None:
        """Draw a rounded box's line."""
        half = stroke / 2
        (a, b) = self._at([(left - half, top - half), (right + half, bottom + half)])
        self._draw.rounded_rectangle(
            (*a, *b), (radius + half) * self.unit, outline=colour, width=round(stroke * self.unit)
        )

    def line(self, points: Sequence[Point], stroke: float, colour: Colour) -> None:
        """Draw a line with round ends and joints."""
        self._draw.line(self._at(points), fill=colour, width=round(stroke * self.unit))
        for x, y in points:
            self.disc(x, y, stroke / 2, colour)

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon(self._at(points), fill=colour)

    def arc(
        self,
        x: float,
        y: float,
        radius: float,
        start: float,
        end: float,
        stroke: float,
        colour: Colour,
    ) -> None:
        """Draw part of a circle, clockwise from `start` to `end` degrees, 0 being three o'clock."""
        half = stroke / 2
        (a, b) = self._at(
            [(x - radius - half, y - radius - half), (x + radius + half, y + radius + half)]
        )
        self._draw.arc((*a, *b), start, end, fill=colour, width=round(stroke * self.unit))
        for degrees in (start, end):
            angle = degrees * pi / 180
            self.disc(x + radius * cos(angle), y + radius * sin(angle), half, colour)

    def slice(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        start: float,
        end: float,
        colour: Colour,
    ) -> None:
        """Fill part of an ellipse cut by a straight line."""
        (a, b) = self._at([(left, top), (right, bottom)])
        self._draw.chord((*a, *b), start, end, fill=colour)


def star(x: float, y: float, radius: float, *, points: int = 5, inner: float = 0.45) -> list[Point]:
    """Give the corners of a star standing on two points."""
    corners = []
    for number in range(points * 2):
        reach = radius if number % 2 == 0 else radius * inner
        angle = -pi / 2 + number * pi / points
        corners.append((x + reach * cos(angle), y + reach * sin(angle)))
    return corners


# --- Files -------------------------------------------------------------------------------------
RAMP_STEPS = 10


def palette_picture(pairs: Iterable[tuple[Colour, Colour]]) -> Image.Image:
    """Make the palette of a picture from the pairs of colours whose edges meet in it."""
    colours: dict[Colour, None] = {}
    listed = list(pairs)
    for first, second in listed:
        colours[first] = colours[second] = None
    for first, second in listed:
        for step in range(1, RAMP_STEPS):
            colours[blend(first, second, step / RAMP_STEPS)] = None
    flat = [part for colour in list(colours)[:256] for part in colour]
    palette = Image.new("P", (1, 1))
    palette.putpalette(flat)
    return palette


def png(
    picture: Image.Image, palette: Image.Image | None = None, *, compress_level: int = 5
) -> bytes:
    """Write a PNG; with a palette a byte a pixel, which is smaller and several times faster."""
    if palette is not None:
        picture = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    written = BytesIO()
    picture.save(written, "PNG", compress_level=compress_level)
    return written.getvalue()
