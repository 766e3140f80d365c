"""The picture of a stamp card: what is on it, in the shop's colours, with shaped Thai text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from PIL import Image, ImageDraw

from bot import theme
from bot.drawing import Pen, blend, palette_picture, png, rgb, rounded, star, write

WIDTH, HEIGHT = 1000, 650
HEAD = 128
MARGIN = 36
PICTURES_KEPT = 256

LEAF, LEAF_DARK, PAPER = rgb(theme.LEAF), rgb(theme.LEAF_DARK), rgb(theme.PAPER)
CREAM, AMBER, SAND = rgb(theme.CREAM), rgb(theme.AMBER), rgb(theme.SAND)
AMBER_DARK, COFFEE, HAIR = rgb(theme.AMBER_DARK), rgb(theme.COFFEE), rgb(theme.LINE_COLOUR)
MUTED = rgb(theme.MUTED)
SOFT = rgb(theme.ON_LEAF_SOFT)


@dataclass(frozen=True)
class Face:
    """What a card shows. `prizes_at` are the stamps that give something, the goal among them."""

    title: str
    count: str
    filled: int
    size: int
    prizes_at: tuple[int, ...] = ()


@lru_cache(maxsize=PICTURES_KEPT)
def draw(face: Face) -> bytes:
    """The PNG of a card, 1000 × 650, well below LINE's limits."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), CREAM)
    rounded(picture, (0, 0, WIDTH, HEAD), 0, LEAF)
    pen = ImageDraw.Draw(picture)
    write(
        pen, (MARGIN, HEAD // 2), face.title, weight="Bold", size=52, width=WIDTH - 330,
        colour=PAPER, anchor="lm",
    )  # fmt: skip
    rounded(picture, (WIDTH - 256, 34, WIDTH - MARGIN, HEAD - 34), 28, AMBER)
    write(
        pen, (WIDTH - 146, HEAD // 2), face.count, weight="Bold", size=36, width=190,
        colour=COFFEE,
    )  # fmt: skip
    columns, rows, cell = _grid(face.size)
    left = (WIDTH - columns * cell) // 2
    top = HEAD + (HEIGHT - HEAD - rows * cell) // 2
    for number in range(1, face.size + 1):
        row, column = divmod(number - 1, columns)
        in_row = min(columns, face.size - row * columns)
        shift = (columns - in_row) * cell // 2  # a short last row stands in the middle
        place = (left + shift + column * cell, top + row * cell)
        _place_mark(picture, place, cell, number, face)
    return png(picture, _palette())


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
    picture: Image.Image, place: tuple[int, int], cell: int, number: int, face: Face
) -> None:
    side = int(cell * 0.88)
    is_prize = number in face.prizes_at
    if number <= face.filled:
        mark = _stamped(side, is_prize)
    else:
        mark = _open(side, number, is_prize)
    offset = (cell - side) // 2
    picture.paste(mark, (place[0] + offset, place[1] + offset))


@lru_cache(maxsize=32)
def _stamped(side: int, is_prize: bool) -> Image.Image:
    """A place with its stamp: a cup with steam on a leaf, on amber where it gave something."""
    pen = Pen(side, CREAM)
    ground = AMBER if is_prize else LEAF
    ink = COFFEE if is_prize else PAPER
    pen.disc(50, 50, 48, ground)
    pen.ring(50, 50, 41, 2, ink)
    pen.slab(30, 42, 64, 70, 10, ink)
    pen.slab(30, 42, 64, 54, 3, ink)
    pen.ring(66, 53, 7, 4, ink)
    pen.slab(28, 73, 68, 77, 2, ink)
    for x in (38, 47, 56):
        pen.line([(x, 37), (x + 2, 32), (x, 27)], 3, ink)
    return pen.picture()


@lru_cache(maxsize=256)
def _open(side: int, number: int, is_prize: bool) -> Image.Image:
    """An empty place: its number, or a star where a prize waits."""
    pen = Pen(side, CREAM)
    pen.disc(50, 50, 48, SAND if is_prize else PAPER)
    pen.ring(50, 50, 46, 4, AMBER if is_prize else HAIR)
    if is_prize:
        pen.shape(star(50, 52, 27), AMBER)
    mark = pen.picture()
    if not is_prize:
        write(
            ImageDraw.Draw(mark), (side / 2, side / 2), str(number), weight="SemiBold",
            size=max(18, side // 3), width=side, colour=blend(MUTED, CREAM, 0.3),
        )  # fmt: skip
    return mark


@lru_cache(maxsize=1)
def _palette() -> Image.Image:
    return palette_picture(
        [
            (CREAM, LEAF), (LEAF, PAPER), (LEAF, AMBER), (AMBER, COFFEE), (CREAM, AMBER),
            (CREAM, HAIR), (PAPER, HAIR), (PAPER, blend(MUTED, CREAM, 0.3)), (SAND, AMBER),
            (CREAM, SAND),
        ]
    )  # fmt: skip
