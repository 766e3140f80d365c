"""The picture of a stamp card: what is on it, in one of three designs, with shaped Thai text.

A design says its colours and draws its own marks; where things stand is the same for all, so that
every design holds every size from 1 to 50 stamps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, cos, pi, sin

from PIL import Image, ImageDraw

from bot import theme
from bot.drawing import (
    Colour,
    Pen,
    blend,
    palette_picture,
    png,
    rgb,
    rounded,
    star,
    write,
)

WIDTH, HEIGHT = 1000, 650
HEAD = 128
MARGIN = 36
PICTURES_KEPT = 256

LEAF, LEAF_DARK, PAPER = rgb(theme.LEAF), rgb(theme.LEAF_DARK), rgb(theme.PAPER)
CREAM, AMBER, SAND = rgb(theme.CREAM), rgb(theme.AMBER), rgb(theme.SAND)
AMBER_DARK, COFFEE, HAIR = rgb(theme.AMBER_DARK), rgb(theme.COFFEE), rgb(theme.LINE_COLOUR)
MUTED, MINT, INK = rgb(theme.MUTED), rgb(theme.MINT), rgb(theme.INK)
NIGHT, GOLD = rgb(theme.NIGHT), rgb(theme.GOLD)
#: Colours of the designs that no other picture uses.
ROSE, PETAL, BLOSSOM = rgb("#B5486A"), rgb("#F4D3DC"), rgb("#FDF3F5")
PINK = rgb("#E594AC")
DUSK, HOLLOW = rgb("#22332F"), rgb("#3A4B46")


@dataclass(frozen=True)
class Design:
    """How a card looks: its grounds, its head, and who draws a stamped and an open place."""

    ground: Colour
    head: Colour
    title: Colour
    pill: Colour
    pill_text: Colour
    stamped: Callable[[Pen, bool], None]
    open: Callable[[Pen, bool], None]
    #: The number on an open place.
    number: Colour
    edges: tuple[tuple[Colour, Colour], ...]


def _cup_stamped(pen: Pen, is_prize: bool) -> None:
    """A cup with steam on a leaf, on amber where it gave something."""
    ground, ink = (AMBER, COFFEE) if is_prize else (LEAF, PAPER)
    pen.disc(50, 50, 48, ground)
    pen.ring(50, 50, 41, 2, ink)
    pen.slab(30, 42, 64, 70, 10, ink)
    pen.slab(30, 42, 64, 54, 3, ink)
    pen.ring(66, 53, 7, 4, ink)
    pen.slab(28, 73, 68, 77, 2, ink)
    for x in (38, 47, 56):
        pen.line([(x, 37), (x + 2, 32), (x, 27)], 3, ink)


def _cup_open(pen: Pen, is_prize: bool) -> None:
    """A plain round place; a star where a prize waits."""
    pen.disc(50, 50, 48, SAND if is_prize else PAPER)
    pen.ring(50, 50, 46, 4, AMBER if is_prize else HAIR)
    if is_prize:
        pen.shape(star(50, 52, 27), AMBER)


def _flower_stamped(pen: Pen, is_prize: bool) -> None:
    """An open flower; the one that gave something has an amber heart and a darker ground."""
    petal, heart = (ROSE, AMBER) if is_prize else (PINK, PAPER)
    if is_prize:
        pen.disc(50, 50, 48, PETAL)
    for number in range(6):
        angle = -pi / 2 + number * pi / 3
        pen.disc(50 + 26 * cos(angle), 50 + 26 * sin(angle), 18, petal)
    pen.disc(50, 50, 22, petal)
    pen.disc(50, 50, 13, heart)


def _flower_open(pen: Pen, is_prize: bool) -> None:
    """A ring to be filled; a wrapped gift where a prize waits."""
    pen.disc(50, 50, 46, PAPER)
    pen.ring(50, 50, 44, 3, ROSE if is_prize else PETAL)
    if is_prize:
        pen.slab(28, 46, 72, 72, 3, PETAL)
        pen.slab(25, 37, 75, 48, 3, ROSE)
        pen.slab(46, 37, 54, 72, 0, ROSE)
        pen.ring(42, 31, 6, 4, ROSE)
        pen.ring(58, 31, 6, 4, ROSE)


def _star_stamped(pen: Pen, is_prize: bool) -> None:
    """A golden star in a square frame; on gold where it gave something."""
    ground, ink = (GOLD, NIGHT) if is_prize else (DUSK, GOLD)
    pen.slab(3, 3, 97, 97, 20, ground)
    if not is_prize:
        pen.frame(5, 5, 95, 95, 18, 3, GOLD)
    pen.shape(star(50, 53, 34), ink)


def _star_open(pen: Pen, is_prize: bool) -> None:
    """A dim square; a golden outline with a small crown where a prize waits."""
    pen.slab(3, 3, 97, 97, 20, DUSK)
    pen.frame(5, 5, 95, 95, 18, 3, GOLD if is_prize else HOLLOW)
    if is_prize:
        crown = [(26, 66), (22, 36), (38, 50), (50, 30), (62, 50), (78, 36), (74, 66)]
        pen.shape(crown, GOLD)
        pen.slab(26, 70, 74, 76, 2, GOLD)


_FAINT = blend(MUTED, CREAM, 0.3)
_ROSE_FAINT = blend(ROSE, PAPER, 0.35)
_NIGHT_FAINT = blend(GOLD, DUSK, 0.35)
DESIGNS: dict[str, Design] = {
    "classic": Design(
        ground=CREAM, head=LEAF, title=PAPER, pill=AMBER, pill_text=COFFEE,
        stamped=_cup_stamped, open=_cup_open, number=_FAINT,
        edges=(
            (CREAM, LEAF), (LEAF, PAPER), (LEAF, AMBER), (AMBER, COFFEE), (CREAM, AMBER),
            (CREAM, HAIR), (PAPER, HAIR), (PAPER, _FAINT), (SAND, AMBER), (CREAM, SAND),
        ),
    ),
    "blossom": Design(
        ground=BLOSSOM, head=ROSE, title=PAPER, pill=PAPER, pill_text=ROSE,
        stamped=_flower_stamped, open=_flower_open, number=_ROSE_FAINT,
        edges=(
            (BLOSSOM, ROSE), (ROSE, PAPER), (BLOSSOM, PINK), (PINK, PAPER), (BLOSSOM, PETAL), (PETAL, ROSE), (PAPER, PETAL),
            (ROSE, AMBER), (PAPER, _ROSE_FAINT), (BLOSSOM, PAPER),
        ),
    ),
    "night": Design(
        ground=NIGHT, head=NIGHT, title=GOLD, pill=GOLD, pill_text=NIGHT,
        stamped=_star_stamped, open=_star_open, number=_NIGHT_FAINT,
        edges=((NIGHT, GOLD), (NIGHT, DUSK), (DUSK, GOLD), (DUSK, HOLLOW), (DUSK, _NIGHT_FAINT)),
    ),
}  # fmt: skip
DEFAULT_DESIGN = "classic"


@dataclass(frozen=True)
class Face:
    """What a card shows. `prizes_at` are the stamps that give something, the goal among them."""

    title: str
    count: str
    filled: int
    size: int
    prizes_at: tuple[int, ...] = ()
    design: str = DEFAULT_DESIGN


@lru_cache(maxsize=PICTURES_KEPT)
def draw(face: Face) -> bytes:
    """The PNG of a card, 1000 × 650, well below LINE's limits; an unknown design is the first."""
    key = face.design if face.design in DESIGNS else DEFAULT_DESIGN
    look = DESIGNS[key]
    picture = Image.new("RGB", (WIDTH, HEIGHT), look.ground)
    pen = ImageDraw.Draw(picture)
    if look.head != look.ground:
        rounded(picture, (0, 0, WIDTH, HEAD), 0, look.head)
    else:
        pen.rectangle((MARGIN, HEAD - 3, WIDTH - MARGIN - 1, HEAD - 2), fill=look.pill)
    write(
        pen, (MARGIN, HEAD // 2), face.title, weight="Bold", size=52, width=WIDTH - 330,
        colour=look.title, anchor="lm",
    )  # fmt: skip
    rounded(picture, (WIDTH - 256, 34, WIDTH - MARGIN, HEAD - 34), 28, look.pill)
    write(
        pen, (WIDTH - 146, HEAD // 2), face.count, weight="Bold", size=36, width=190,
        colour=look.pill_text,
    )  # fmt: skip
    columns, rows, cell = _grid(face.size)
    left = (WIDTH - columns * cell) // 2
    top = HEAD + (HEIGHT - HEAD - rows * cell) // 2
    for number in range(1, face.size + 1):
        row, column = divmod(number - 1, columns)
        in_row = min(columns, face.size - row * columns)
        shift = (columns - in_row) * cell // 2  # a short last row stands in the middle
        place = (left + shift + column * cell, top + row * cell)
        _place_mark(picture, place, cell, number, face, key)
    return png(picture, _palette(key))


def _grid(size: int) -> tuple[int, int, int]:
    """Columns, rows and the side of a cell: as large as the picture allows."""
    room_wide, room_high = WIDTH - 2 * MARGIN, HEIGHT - HEAD - MARGIN
    choices = [
        (min(room_wide // columns, room_high // ceil(size / columns)), columns)
        for columns in range(1, size + 1)
    ]
    cell, columns = max(choices)
    return columns, ceil(size / columns), min(cell, 230)


def _place_mark(
    picture: Image.Image,
    place: tuple[int, int],
    cell: int,
    number: int,
    face: Face,
    design: str,
) -> None:
    side = int(cell * 0.88)
    is_prize = number in face.prizes_at
    if number <= face.filled:
        mark = _stamped(design, side, is_prize)
    else:
        mark = _open(design, side, number, is_prize)
    offset = (cell - side) // 2
    picture.paste(mark, (place[0] + offset, place[1] + offset))


@lru_cache(maxsize=96)
def _stamped(design: str, side: int, is_prize: bool) -> Image.Image:
    """A place with its stamp."""
    look = DESIGNS[design]
    pen = Pen(side, look.ground)
    look.stamped(pen, is_prize)
    return pen.picture()


@lru_cache(maxsize=96)
def _empty(design: str, side: int, is_prize: bool) -> Image.Image:
    """An empty place, without its number."""
    look = DESIGNS[design]
    pen = Pen(side, look.ground)
    look.open(pen, is_prize)
    return pen.picture()


@lru_cache(maxsize=512)
def _open(design: str, side: int, number: int, is_prize: bool) -> Image.Image:
    """An empty place: its number, or its own mark where a prize waits."""
    if is_prize:
        return _empty(design, side, is_prize)
    mark = _empty(design, side, is_prize).copy()
    write(
        ImageDraw.Draw(mark), (side / 2, side / 2), str(number), weight="SemiBold",
        size=max(18, side // 3), width=side, colour=DESIGNS[design].number,
    )  # fmt: skip
    return mark


@lru_cache(maxsize=len(DESIGNS))
def _palette(design: str) -> Image.Image:
    return palette_picture(DESIGNS[design].edges)
